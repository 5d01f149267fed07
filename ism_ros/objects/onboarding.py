"""Onboarding: from the CAD file or template folder of an object to a KnownObject, in five steps.

key of all that the object depends on -> descriptors in the cache? -> else templates, read or rendered -> described by
the model and cached -> patch tokens placed on the device, on the host or on the disk.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import torch

from ism_ros.descriptors.base import Descriptor
from ism_ros.objects.grayscale import LazyVariant, grayscale_images, grayscale_surface, grayscale_views
from ism_ros.objects.known_object import KnownObject
from ism_ros.objects.object_descriptors import DescribedTemplates, PlacedDescriptors, describe_templates, known_object
from ism_ros.objects.spec import ObjectSpec
from ism_ros.objects.stores.cache_keys import descriptors_key, templates_key
from ism_ros.objects.stores.descriptor_cache import (
    read_descriptors,
    warn_damaged,
    write_descriptors,
)
from ism_ros.objects.stores.patch_tokens import DamagedFileError, PatchFile, PatchStorage
from ism_ros.objects.template_builder import (
    ObjectTemplates,
    Progress,
    TemplateBuilder,
    build_templates,
)
from ism_ros.rendering.templates import TemplateError, read_templates
from ism_ros.runtime.out_of_memory import is_out_of_memory

IN_MEMORY_IF_IT_FITS = PatchStorage()
"""Storage of patch tokens where nothing else is wanted."""

Variant = Literal["color", "grayscale"]

logger = logging.getLogger(__name__)


class PatchStorageError(ValueError):
    """Patch tokens that do not fit where they were wanted; the message is one line that says what to set."""


def onboard(
    spec: ObjectSpec,
    descriptor: Descriptor,
    cache_dir: Path,
    device: str = "cpu",
    progress: Progress | None = None,
    storage: PatchStorage = IN_MEMORY_IF_IT_FITS,
    template_builder: TemplateBuilder = build_templates,
) -> KnownObject:
    """Make an object known: read or render its templates, and describe them.

    Templates and descriptors are kept in `cache_dir` under keys made of all that they depend on: the bytes of the files
    (with the materials and textures that a CAD file names), units, color, renderer, descriptor and precision of the
    patch tokens. A damaged cache is rebuilt. A cache that cannot be written is only worth a warning; patch tokens meant
    for the disk are in memory then.

    Args:
        spec: The object.
        descriptor: The model that describes its templates.
        cache_dir: Folder of cached templates and descriptors.
        device: Where the tensors of the object go.
        progress: Called while rendering with (views rendered, views); what it raises ends the onboarding.
        storage: Where and how its patch tokens are kept.
        template_builder: Builds the templates, here or in another process.

    Returns:
        The object on `device`.

    Raises:
        CadError: Its CAD file cannot be used.
        TemplateError: Its folder of templates cannot be used, or it has neither.
        PatchStorageError: Its patch tokens do not fit into the memory of the device.
    """
    if spec.cad is None and spec.templates is None:
        raise TemplateError(f"object '{spec.id}' needs a CAD file, a template folder, or both")
    onboarding = Onboarding(spec, descriptor, cache_dir, device, storage, template_builder, templates_key(spec))
    known = known_object(spec, onboarding.load_or_build("color", progress), device)
    return replace(known, grayscale=LazyVariant(partial(onboarding.grayscale_variant, known)))


@dataclass(frozen=True)
class Onboarding:
    """The onboarding of one object, kept by what may have to rebuild a part of it later.

    Attributes:
        spec: The object.
        descriptor: The model that describes its templates.
        cache_dir: Folder of cached templates and descriptors.
        device: Where the tensors of the object go.
        storage: Where and how its patch tokens are kept.
        template_builder: Builds the templates, here or in another process.
        key: `templates_key(spec)` at the start.
    """

    spec: ObjectSpec
    descriptor: Descriptor
    cache_dir: Path
    device: str
    storage: PatchStorage
    template_builder: TemplateBuilder
    key: str

    def load_or_build(self, variant: Variant, progress: Progress | None = None) -> PlacedDescriptors:
        """Read the descriptors of one variant from the cache, or else build and cache them.

        Args:
            variant: Of templates as they are, or in grayscale.
            progress: As of `onboard`.

        Returns:
            The descriptors, their patch tokens where `storage` says.

        Raises:
            CadError: As of `onboard`; so are TemplateError and PatchStorageError.
            OSError: The files of the object have changed since `key` was made (grayscale alone).
        """
        placed = self._load(variant)
        if placed is None:
            described, file = self._build(variant, progress)
            on_disk = file is not None and self.storage.place_for(file.nbytes, self.device) == "disk"
            tokens = file if file is not None and on_disk else torch.from_numpy(described.patch_tokens)
            placed = PlacedDescriptors(described.arrays, tokens, described.warnings)
        return replace(placed, patch_tokens=self._placed(placed.patch_tokens))

    def grayscale_variant(self, known: KnownObject) -> KnownObject:
        """Describe the object as a camera without colors sees it.

        Args:
            known: The object as onboarded.

        Returns:
            Its grayscale variant; `known` itself, with a warning in the log, where that cannot be made.
        """
        try:
            placed = self.load_or_build("grayscale")
        except (OSError, ValueError) as error:
            logger.warning("object '%s' cannot be described in gray: %s", self.spec.id, error)
            return known
        return replace(
            known,
            class_tokens=torch.from_numpy(placed.arrays["class_tokens"]).to(self.device),
            patch_tokens=placed.patch_tokens,
            views=None if known.views is None else grayscale_views(known.views),
            surface=None if known.surface is None else grayscale_surface(known.surface),
            grayscale=None,
        )

    def rebuild_patches(self, variant: Variant) -> PatchFile:
        """Describe the object again, because the file of its patch tokens is damaged.

        Args:
            variant: Whose patch tokens they are.

        Returns:
            The new file in the place of the damaged one.

        Raises:
            OSError: The files of the object have changed since it was onboarded, or the cache cannot be written.
            CadError: As of `onboard`; so is TemplateError.
        """
        self._check_unchanged()
        _, file = self._build(variant, None)
        if file is None:
            raise OSError(f"patch tokens of object '{self.spec.id}' cannot be written to {self._stem(variant).parent}")
        return file

    def _stem(self, variant: Variant) -> Path:
        name = descriptors_key(self.key, self.descriptor.fingerprint, self.storage.precision, variant)
        return self.cache_dir / "descriptors" / name

    def _load(self, variant: Variant) -> PlacedDescriptors | None:
        """Read what is cached; None where nothing is, or it is damaged."""
        stem = self._stem(variant)
        cached = read_descriptors(stem, partial(self.rebuild_patches, variant))
        if cached is None:
            return None
        tokens: torch.Tensor | PatchFile = cached.patches
        if self.storage.place_for(cached.patches.nbytes, self.device) != "disk":
            try:
                tokens = cached.patches.read_all()
            except (OSError, DamagedFileError) as error:
                warn_damaged(stem, error)
                return None
        return PlacedDescriptors(cached.arrays, tokens, cached.warnings)

    def _build(self, variant: Variant, progress: Progress | None) -> tuple[DescribedTemplates, PatchFile | None]:
        """Describe the templates and cache the result; the file is None where the cache cannot be written."""
        templates = self._templates(progress) if variant == "color" else self._grayscale_templates()
        described = describe_templates(templates, self.descriptor, self.device, self.storage.precision)
        if variant == "color" and "rotations" not in described.arrays:
            logger.warning(
                "object '%s': its %d templates have no poses.npy, so it is found without geometric score and pose",
                self.spec.id,
                len(described.patch_tokens),
            )
        rebuild = partial(self.rebuild_patches, variant)
        file = write_descriptors(
            self._stem(variant), described.arrays, described.patch_tokens, described.warnings, rebuild
        )
        return described, file

    def _templates(self, progress: Progress | None) -> ObjectTemplates:
        return self.template_builder(self.spec, self.cache_dir / "templates" / self.key, progress)

    def _grayscale_templates(self) -> ObjectTemplates:
        """Make the templates gray; only what the descriptor looks at, as all else is that of the color templates."""
        self._check_unchanged()
        folder = self.spec.templates or self.cache_dir / "templates" / self.key
        # there is no folder where the cache cannot be written
        seen = read_templates(folder, self.spec.units) if folder.is_dir() else self._templates(None)
        gray = grayscale_images(seen.rgb)
        return ObjectTemplates(gray, seen.masks, None, None, None, seen.bounds_m, depth_px=seen.depth_px)

    def _check_unchanged(self) -> None:
        if templates_key(self.spec) != self.key:
            raise OSError(f"the files of object '{self.spec.id}' have changed since it was added; add it again")

    def _placed(self, tokens: torch.Tensor | PatchFile) -> torch.Tensor | PatchFile:
        if isinstance(tokens, PatchFile) or self.storage.place_for(tokens.nbytes, self.device) != "device":
            return tokens
        try:
            return tokens.to(self.device)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise PatchStorageError(
                f"patch tokens of object '{self.spec.id}' ({tokens.nbytes / 1e6:.0f} MB) do not fit into the memory of "
                f"{self.device}; set patch_tokens to auto, host or disk"
            ) from None
