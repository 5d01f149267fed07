"""From an object's CAD file or template folder to a KnownObject; rendering and describing happen once."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ism_ros.cad.colors import Rgb
from ism_ros.cad.referenced_files import referenced_files
from ism_ros.checks.input_warnings import InputWarning
from ism_ros.data.boxes import boxes_from_masks
from ism_ros.data.crops import crop_resize_pad
from ism_ros.descriptors.base import Descriptor
from ism_ros.objects.grey import MadeOnce, grey_pictures, grey_views
from ism_ros.objects.library import KnownObject
from ism_ros.objects.spec import ObjectSpec
from ism_ros.objects.stores.descriptor_cache import (
    Arrays,
    CachedDescriptors,
    read_descriptors,
    warn_damaged,
    write_descriptors,
)
from ism_ros.objects.stores.patch_tokens import DamagedFileError, PatchFile, PatchPrecision, PatchStorage
from ism_ros.objects.template_builder import Prepare, Prepared, Progress, prepare
from ism_ros.rendering.polar_maps import ViewMaps
from ism_ros.rendering.renderer import RENDERER_VERSION, TEMPLATE_SIZE_PX
from ism_ros.rendering.templates import TemplateError, TemplateSet, read_templates
from ism_ros.runtime.out_of_memory import is_out_of_memory

_CACHE_VERSION = 5
IN_MEMORY_IF_IT_FITS = PatchStorage()

Made = tuple[Arrays, NDArray[np.generic], tuple[InputWarning, ...], PatchFile | None]
"""Arrays by name, patch tokens, what is doubtful about the files, and the file that holds the tokens now."""

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
    prepare: Prepare = prepare,
) -> KnownObject:
    """The object that `spec` describes, on `device`, its patch tokens where `storage` says.

    Templates are read from spec.templates or else rendered from spec.cad. Both they and their descriptors are kept in
    `cache_dir` under keys made of all that they depend on: the bytes of the files (with the materials and textures
    that a CAD file names), units, colour, renderer, descriptor and precision of the patch tokens. A cache that is
    damaged is made anew; one that cannot be written is done without, and patch tokens meant for the disk are in memory
    then. progress: told (views rendered, views) while rendering. prepare: renders, here or in another process.

    Raises CadError, TemplateError, or PatchStorageError.
    """
    if spec.cad is None and spec.templates is None:
        raise TemplateError(f"object '{spec.id}' needs a CAD file, a template folder, or both")
    key = _key_of_templates(spec)
    parts = ["descriptors", _CACHE_VERSION, key, descriptor.fingerprint, storage.precision]
    stem = cache_dir / "descriptors" / _key(parts)

    def make() -> Made:
        prepared = prepare(spec, cache_dir / "templates" / key, progress)
        arrays, patch_tokens = _describe(prepared, descriptor, device, storage.precision)
        if "rotations" not in arrays:
            logger.warning(
                "object '%s': its %d templates have no poses.npy, so it is found without geometric score and pose",
                spec.id,
                len(patch_tokens),
            )
        file = write_descriptors(stem, arrays, patch_tokens, prepared.warnings)
        return arrays, patch_tokens, prepared.warnings, file

    def check_unchanged() -> None:
        if _key_of_templates(spec) != key:
            raise OSError(f"the files of object '{spec.id}' have changed since it was added; add it again")

    def grey_pictures_of_templates() -> Prepared:
        folder = spec.templates or cache_dir / "templates" / key
        if not folder.is_dir():  # a cache that cannot be written
            seen: Prepared | TemplateSet = prepare(spec, folder, None)
        else:
            seen = read_templates(folder, spec.units)
        return Prepared(grey_pictures(seen.rgb), seen.masks, None, None, None, seen.bounds_m)

    def make_grey() -> Made:
        check_unchanged()
        arrays, patch_tokens = _describe(grey_pictures_of_templates(), descriptor, device, storage.precision)
        return arrays, patch_tokens, (), write_descriptors(stem_of_grey, arrays, patch_tokens, ())

    def in_grey() -> KnownObject:
        try:
            arrays, _, kept = _cached_or_made(stem_of_grey, make_grey, storage, spec.id, device)
        except (OSError, ValueError) as error:
            logger.warning("object '%s' cannot be described in grey: %s", spec.id, error)
            return known
        class_tokens = torch.from_numpy(arrays["class_tokens"]).to(device)
        views = None if known.views is None else grey_views(known.views)
        return replace(known, class_tokens=class_tokens, patch_tokens=kept, views=views, in_grey=None)

    stem_of_grey = cache_dir / "descriptors" / _key([*parts, "grey"])
    arrays, warnings, kept = _cached_or_made(stem, make, storage, spec.id, device, check_unchanged)

    def tensor(name: str) -> torch.Tensor | None:
        return torch.from_numpy(arrays[name]).to(device) if name in arrays else None

    known = KnownObject(
        id=spec.id,
        category_id=spec.category_id,
        class_tokens=torch.from_numpy(arrays["class_tokens"]).to(device),
        patch_tokens=kept,
        rotations=tensor("rotations"),
        points_m=tensor("points_m"),
        source=str(spec.templates or spec.cad),
        views=_views(arrays),
        in_grey=MadeOnce(in_grey),
        warnings=tuple(InputWarning(doubt.reason, f"{label_of(spec)}: {doubt.text}") for doubt in warnings),
        bounds_m=torch.from_numpy(arrays["bounds_m"].astype(np.float64)) if "bounds_m" in arrays else None,
    )
    return known


def _cached_or_made(
    stem: Path,
    make: Callable[[], Made],
    storage: PatchStorage,
    object_id: str,
    device: str,
    check_remake: Callable[[], None] = lambda: None,
) -> tuple[Arrays, tuple[InputWarning, ...], torch.Tensor | PatchFile]:
    """Descriptors and doubts from the cache, or else made and kept there; the patch tokens where `storage` says.

    make: gives arrays, patch tokens and doubts, and the file that holds the tokens now. check_remake: raises OSError
    where that file cannot be made anew later.
    """

    def remake() -> PatchFile:
        check_remake()
        file = make()[3]
        if file is None:
            raise OSError(f"patch tokens of object '{object_id}' cannot be written to {stem.parent}")
        return file

    cached = read_descriptors(stem)
    kept: torch.Tensor | PatchFile | None = None
    if cached is not None:
        arrays, warnings, kept = cached.arrays, cached.warnings, _kept(cached, stem, storage, device)
    if kept is None:
        arrays, patch_tokens, warnings, file = make()
        kept = torch.from_numpy(patch_tokens)
        if file is not None and storage.place_for(file.nbytes, device) == "disk":
            kept = file
    if isinstance(kept, PatchFile):
        kept.remake = remake
    elif storage.place_for(kept.nbytes, device) == "device":
        kept = _on_device(kept, object_id, device)
    return arrays, warnings, kept


def label_of(spec: ObjectSpec) -> str:
    """How a warning names an object: by its id, and its file where that is called otherwise."""
    file = spec.cad or spec.templates
    return f"object '{spec.id}'" + (f" ({file.name})" if file is not None else "")


def _views(arrays: Arrays) -> ViewMaps | None:
    if "view_maps" not in arrays:
        return None
    return ViewMaps(
        maps=arrays["view_maps"].astype(np.float16),
        centroid_m=arrays["view_surface_m"].astype(np.float64),
        radius_m=float(arrays["view_reach_m"][0]),
        rotations=np.asarray(arrays["view_rotations"], np.float64),
        template_count=len(arrays["rotations"]),
        centre_m=np.asarray(arrays["view_centre_m"], np.float64),
    )


def _kept(cached: CachedDescriptors, stem: Path, storage: PatchStorage, device: str) -> torch.Tensor | PatchFile | None:
    """Patch tokens from the cache, in memory or left in their file; None where they are damaged."""
    if storage.place_for(cached.patches.nbytes, device) == "disk":
        return cached.patches
    try:
        return cached.patches.read_all()
    except (OSError, DamagedFileError) as error:
        warn_damaged(stem, error)
        return None


def _on_device(patch_tokens: torch.Tensor, object_id: str, device: str) -> torch.Tensor:
    try:
        return patch_tokens.to(device)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise PatchStorageError(
            f"patch tokens of object '{object_id}' ({patch_tokens.nbytes / 1e6:.0f} MB) do not fit into the memory of "
            f"{device}; set patch_tokens to auto, host or disk"
        ) from None


def cad_key(cad: Path, units: str, color: Rgb | None = None, root: Path | None = None) -> str:
    """A name for what is rendered of a CAD file: its bytes, the files it names (by name, as it may find one or
    another), units, colour, renderer and picture size."""
    files = referenced_files(cad, root)
    names = [file.name for file in files]
    parts = ["cad", RENDERER_VERSION, TEMPLATE_SIZE_PX, units, color, cad.suffix.lower()]
    return _key([*parts, *_contents([cad]), *names, *_contents(files)])


def _key_of_templates(spec: ObjectSpec) -> str:
    if spec.templates is None:
        assert spec.cad is not None
        if not spec.cad.is_file():
            from ism_ros.cad.mesh_loading import load_cad

            load_cad(spec.cad, spec.units)  # raises what is wrong with it
        return _geometry_key(spec)
    patterns = ["rgb_*.png", "mask_*.png", "xyz_*.npy", "poses.npy", "templates.json"]
    files = sorted(file for pattern in patterns for file in spec.templates.glob(pattern))
    xyz_count = len(list(spec.templates.glob("xyz_*.npy")))
    geometry = _geometry_key(spec)
    names = [file.name for file in files]
    return _key(["templates", xyz_count, spec.units, geometry, *names, *_contents(files)])


def _geometry_key(spec: ObjectSpec) -> str:
    return "xyz" if spec.cad is None else cad_key(spec.cad, spec.units, spec.color, spec.root)


@torch.no_grad()
def _describe(
    prepared: Prepared, descriptor: Descriptor, device: str, precision: PatchPrecision
) -> tuple[Arrays, NDArray[np.generic]]:
    """Class tokens, rotations, points and views by name, and the patch tokens."""
    masks = torch.from_numpy(prepared.masks).to(device)
    images = torch.from_numpy(prepared.rgb).to(device).permute(0, 3, 1, 2).float() / 255.0
    # The reference takes templates whole, where it drops the last row and column of a proposal.
    boxes_xyxy = boxes_from_masks(masks) + torch.tensor([0, 0, 1, 1], device=masks.device)
    crops, crop_masks = crop_resize_pad(images, masks, boxes_xyxy, descriptor.crop_size)
    described = descriptor.describe_templates(crops, crop_masks)
    arrays = {"class_tokens": described.class_tokens.float().cpu().numpy()}
    if prepared.rotations is not None:
        arrays["rotations"] = prepared.rotations
    if prepared.points_m is not None:
        arrays["points_m"] = prepared.points_m
        arrays["bounds_m"] = prepared.bounds_m
    if prepared.views is not None:
        arrays["view_maps"] = prepared.views.maps
        arrays["view_surface_m"] = prepared.views.centroid_m
        arrays["view_centre_m"] = prepared.views.centre_m
        arrays["view_reach_m"] = np.array([prepared.views.radius_m], np.float32)
        arrays["view_rotations"] = prepared.views.rotations
    return arrays, np.ascontiguousarray(described.patch_tokens.float().cpu().numpy().astype(precision))


def _contents(files: Iterable[Path]) -> list[str]:
    """A checksum of each file's bytes."""
    return [hashlib.blake2b(file.read_bytes(), digest_size=20).hexdigest() for file in files]


def _key(parts: Iterable[object]) -> str:
    return hashlib.blake2b("\n".join(map(str, parts)).encode(), digest_size=16).hexdigest()
