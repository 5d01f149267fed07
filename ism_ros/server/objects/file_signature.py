"""Signatures of the files of an object, by which changes are noticed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from ism_ros.cad.referenced_files import referenced_files
from ism_ros.objects.spec import ObjectSpec

FileSignature = tuple[object, ...]
"""Names, modification times and sizes of files."""


def file_signature(spec: ObjectSpec) -> FileSignature:
    """Take the signature of all files of an object, materials and textures that its CAD file names included.

    It is read in a hundredth of the time that the contents would take.

    Args:
        spec: The object.

    Returns:
        A value that changes when one of the files does.
    """
    files = [] if spec.cad is None else [spec.cad, *_referenced_by(spec.cad, spec.root)]
    if spec.templates is not None and spec.templates.is_dir():
        files += sorted(spec.templates.iterdir())
    return _stat(files)


def _referenced_by(cad: Path, root: Path | None) -> tuple[Path, ...]:
    """Find the files that a CAD file names, again only where they, it or its folder changed."""
    now = _stat([cad, cad.parent])
    files, then = _find_references(cad, root, now, ())
    current = _stat(files)
    return files if current == then else _find_references(cad, root, now, current)[0]


@lru_cache(maxsize=1024)
def _find_references(
    cad: Path, root: Path | None, cad_signature: FileSignature, others: FileSignature
) -> tuple[tuple[Path, ...], FileSignature]:
    """Return the files and their signature then; both signatures given are what that depends on."""
    files = referenced_files(cad, root) if cad.is_file() else ()
    return files, _stat(files)


def _stat(paths: Iterable[Path]) -> FileSignature:
    found = []
    for path in paths:
        with contextlib.suppress(OSError):
            stat = path.stat()
            found.append((str(path), stat.st_mtime_ns, stat.st_size))
    return tuple(found)
