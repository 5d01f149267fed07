"""From an object's CAD file or template folder to a KnownObject; rendering and describing happen once."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ism_ros.descriptors import Descriptor
from ism_ros.masks import boxes_from_masks, crop_resize_pad
from ism_ros.objects.cad_files import referenced_files
from ism_ros.objects.library import KnownObject
from ism_ros.objects.objects_file import ObjectSpec
from ism_ros.objects.render import RENDERER_VERSION, TEMPLATE_SIZE_PX, render_templates
from ism_ros.objects.templates import TemplateError, TemplateSet, read_templates, write_templates

POINT_COUNT = 2048
_CACHE_VERSION = 1
_ARRAYS = ("class_tokens", "patch_tokens", "rotations", "points_m")

Progress = Callable[[int, int], None]
Arrays = dict[str, NDArray[np.float32]]

logger = logging.getLogger(__name__)


def onboard(
    spec: ObjectSpec,
    descriptor: Descriptor,
    cache_dir: Path,
    device: str = "cpu",
    progress: Progress | None = None,
) -> KnownObject:
    """The object that `spec` describes, on `device`.

    Templates are read from spec.templates or else rendered from spec.cad. Both they and their descriptors are kept in
    `cache_dir` under keys made of all that they depend on: the bytes of the files (with the materials and textures
    that a CAD file names), units, renderer and descriptor. A cache that is damaged is made anew; one that cannot be
    written is done without. progress: told (views rendered, views) while rendering.

    Raises CadError or TemplateError.
    """
    if spec.cad is None and spec.templates is None:
        raise TemplateError(f"object '{spec.id}' needs a CAD file, a template folder, or both")
    templates_key = _key_of_templates(spec)
    file = (
        cache_dir
        / "descriptors"
        / f"{_key(['descriptors', _CACHE_VERSION, templates_key, descriptor.fingerprint])}.npz"
    )
    arrays = _read_arrays(file)
    if arrays is None:
        templates = _templates(spec, cache_dir / "templates" / templates_key, progress)
        arrays = _describe(templates, descriptor, device)
        points_m = _points_m(spec, templates)
        if points_m is not None:
            arrays["points_m"] = points_m
        if templates.rotations is None:
            logger.warning(
                "object '%s': its %d templates have no poses.npy, so it is found without geometric score and pose",
                spec.id,
                len(templates),
            )
        _write_arrays(file, arrays)

    def tensor(name: str) -> torch.Tensor | None:
        return torch.from_numpy(arrays[name]).to(device) if name in arrays else None

    return KnownObject(
        id=spec.id,
        category_id=spec.category_id,
        class_tokens=torch.from_numpy(arrays["class_tokens"]).to(device),
        patch_tokens=torch.from_numpy(arrays["patch_tokens"]).to(device),
        rotations=tensor("rotations"),
        points_m=tensor("points_m"),
        source=str(spec.templates or spec.cad),
    )


def cad_key(cad: Path, units: str) -> str:
    """A name for what is rendered of a CAD file: its bytes, the files it names, units, renderer and picture size."""
    files = [cad, *referenced_files(cad)]
    return _key(["cad", RENDERER_VERSION, TEMPLATE_SIZE_PX, units, cad.suffix.lower(), *_contents(files)])


def _key_of_templates(spec: ObjectSpec) -> str:
    if spec.templates is None:
        assert spec.cad is not None
        if not spec.cad.is_file():
            from ism_ros.objects.cad import load_cad

            load_cad(spec.cad, spec.units)  # raises what is wrong with it
        return cad_key(spec.cad, spec.units)
    patterns = ["rgb_*.png", "mask_*.png", "poses.npy", "templates.json"]
    if spec.cad is None:
        patterns.append("xyz_*.npy")
    files = sorted(file for pattern in patterns for file in spec.templates.glob(pattern))
    xyz_count = len(list(spec.templates.glob("xyz_*.npy")))
    geometry = "xyz" if spec.cad is None else cad_key(spec.cad, spec.units)
    names = [file.name for file in files]
    return _key(["templates", xyz_count, spec.units, geometry, *names, *_contents(files)])


def _templates(spec: ObjectSpec, cached: Path, progress: Progress | None) -> TemplateSet:
    if spec.templates is not None:
        return read_templates(spec.templates, spec.units)
    if cached.is_dir():
        try:
            return read_templates(cached)
        except TemplateError as error:
            logger.warning("object '%s': cached templates are damaged and rendered anew (%s)", spec.id, error)
    from ism_ros.objects.cad import load_cad

    assert spec.cad is not None
    templates = render_templates(load_cad(spec.cad, spec.units), size_px=TEMPLATE_SIZE_PX, progress=progress)
    try:
        write_templates(cached, templates, {"cad": spec.cad.name, "cad_units": spec.units})
    except (OSError, TemplateError) as error:
        logger.warning("cannot keep rendered templates in %s (%s); going on without", cached.parent, _reason(error))
    return templates


@torch.no_grad()
def _describe(templates: TemplateSet, descriptor: Descriptor, device: str) -> Arrays:
    masks = torch.from_numpy(templates.masks).to(device)
    images = torch.from_numpy(templates.rgb).to(device).permute(0, 3, 1, 2).float() / 255.0
    # The reference takes templates whole, where it drops the last row and column of a proposal.
    boxes_xyxy = boxes_from_masks(masks) + torch.tensor([0, 0, 1, 1], device=masks.device)
    crops, crop_masks = crop_resize_pad(images, masks, boxes_xyxy, descriptor.crop_size)
    described = descriptor.describe_templates(crops, crop_masks)
    arrays = {
        "class_tokens": described.class_tokens.float().cpu().numpy(),
        "patch_tokens": described.patch_tokens.float().cpu().numpy(),
    }
    if templates.rotations is not None:
        arrays["rotations"] = templates.rotations.astype(np.float32)
    return arrays


def _points_m(spec: ObjectSpec, templates: TemplateSet) -> NDArray[np.float32] | None:
    """(POINT_COUNT, 3) points of the surface: of the CAD file, or else of what the templates show."""
    if spec.cad is not None:
        from ism_ros.objects.cad import load_cad, sample_surface_m

        return sample_surface_m(load_cad(spec.cad, spec.units), POINT_COUNT)
    if templates.rotations is None:
        return None
    seen = templates.xyz_m[templates.masks]
    return seen[np.random.default_rng(0).integers(len(seen), size=POINT_COUNT)]


def _read_arrays(file: Path) -> Arrays | None:
    """What _write_arrays wrote, or None where there is nothing usable. Zip checksums tell damage."""
    if not file.exists():
        return None
    try:
        with np.load(file, allow_pickle=False) as content:
            arrays = {name: content[name] for name in content.files if name in _ARRAYS}
        if len(arrays["class_tokens"]) != len(arrays["patch_tokens"]):
            raise ValueError("arrays of different lengths")
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, NotImplementedError) as error:
        logger.warning("cached descriptors %s are damaged and made anew (%s)", file, _reason(error))
        return None
    return arrays


def _write_arrays(file: Path, arrays: Arrays) -> None:
    """Writes whole or not at all; a cache that cannot be written is only worth a warning."""
    made: Path | None = None
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{file.stem}.", dir=file.parent)
        made = Path(name)
        with os.fdopen(handle, "wb") as stream:
            np.savez(stream, **arrays)  # type: ignore[arg-type]
        os.replace(made, file)
    except OSError as error:
        if made is not None:
            made.unlink(missing_ok=True)
        logger.warning("cannot keep descriptors in %s (%s); going on without", file.parent, _reason(error))


def _contents(files: Iterable[Path]) -> list[str]:
    """A checksum of each file's bytes."""
    return [hashlib.blake2b(file.read_bytes(), digest_size=20).hexdigest() for file in files]


def _key(parts: Iterable[object]) -> str:
    return hashlib.blake2b("\n".join(map(str, parts)).encode(), digest_size=16).hexdigest()


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
