"""Names under which templates and descriptors are cached: digests of all that they depend on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from ism_ros.cad.colors import Rgb
from ism_ros.cad.referenced_files import referenced_files
from ism_ros.objects.spec import ObjectSpec
from ism_ros.rendering.template_renderer import RENDERER_VERSION, TEMPLATE_SIZE_PX

TEMPLATES_VERSION = 2
"""Version of what is made of a folder of templates."""
DESCRIPTORS_VERSION = 7
"""Version of the cached descriptors; it grows whenever they hold something else."""

_TEMPLATE_FILES = ("rgb_*.png", "mask_*.png", "xyz_*.npy", "poses.npy", "templates.json")


def templates_key(spec: ObjectSpec) -> str:
    """Make the cache key of the templates of an object.

    Args:
        spec: The object, with a CAD file, a folder of templates, or both.

    Returns:
        32 hexadecimal digits: a digest of the bytes of its files, units, color, renderer and size of the templates.

    Raises:
        CadError: The CAD file cannot be used.
        OSError: A file cannot be read.
    """
    if spec.templates is None:
        assert spec.cad is not None
        if not spec.cad.is_file():
            from ism_ros.cad.mesh_loading import load_cad

            load_cad(spec.cad, spec.units)  # raises what is wrong with it
        return _geometry_key(spec)
    files = sorted(file for pattern in _TEMPLATE_FILES for file in spec.templates.glob(pattern))
    xyz_count = len(list(spec.templates.glob("xyz_*.npy")))
    names = [file.name for file in files]
    parts = ["templates", TEMPLATES_VERSION, xyz_count, spec.units, _geometry_key(spec)]
    return digest([*parts, *names, *_checksums(files)])


def cad_key(cad: Path, units: str, color: Rgb | None = None, root: Path | None = None) -> str:
    """Make the cache key of the templates that are rendered of a CAD file.

    Args:
        cad: The file. Files that it names count with their bytes, and with their names, by which it finds them.
        units: Its units.
        color: The one color that it is given, or None.
        root: Folder outside of which no file is read, or None.

    Returns:
        32 hexadecimal digits.

    Raises:
        OSError: A file cannot be read.
    """
    files = referenced_files(cad, root)
    names = [file.name for file in files]
    parts = ["cad", RENDERER_VERSION, TEMPLATE_SIZE_PX, units, color, cad.suffix.lower()]
    return digest([*parts, *_checksums([cad]), *names, *_checksums(files)])


def descriptors_key(templates: str, fingerprint: str, precision: str, variant: str = "color") -> str:
    """Make the cache key of the descriptors of an object.

    Args:
        templates: Key of its templates.
        fingerprint: Of the descriptor model, its checkpoint included.
        precision: Of the patch tokens.
        variant: "color" or "grayscale".

    Returns:
        32 hexadecimal digits.
    """
    parts: list[object] = ["descriptors", DESCRIPTORS_VERSION, templates, fingerprint, precision]
    return digest(parts if variant == "color" else [*parts, "grey"])


def digest(parts: Iterable[object]) -> str:
    """Hash what something depends on.

    Args:
        parts: Its parts, which count as their texts, in this order.

    Returns:
        32 hexadecimal digits (BLAKE2b of 16 bytes).
    """
    return hashlib.blake2b("\n".join(map(str, parts)).encode(), digest_size=16).hexdigest()


def _geometry_key(spec: ObjectSpec) -> str:
    return "xyz" if spec.cad is None else cad_key(spec.cad, spec.units, spec.color, spec.root)


def _checksums(files: Iterable[Path]) -> list[str]:
    return [hashlib.blake2b(file.read_bytes(), digest_size=20).hexdigest() for file in files]
