"""From the upload of an object to files that may be onboarded: names, sizes, and what CAD files refer to."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fastapi import UploadFile

from ism_ros.cad.referenced_files import names_in
from ism_ros.server.errors import RequestError
from ism_ros.server.requests.template_archives import unpack_templates
from ism_ros.server.settings import ServerSettings

CAD_SUFFIXES = (".ply", ".obj", ".stl", ".glb", ".gltf", ".off")
"""Suffixes of CAD files that are taken."""
MAX_ID = 64
"""Characters of an object's id, at most."""
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class UploadedFiles:
    """Names of the files of an upload, in its folder.

    Attributes:
        cad: Name of the CAD file, or None.
        templates: Name of the template folder, or None.
    """

    cad: str | None
    templates: str | None


def checked_id(object_id: str) -> str:
    """Check the id of an object.

    Args:
        object_id: What the client sent.

    Returns:
        The same.

    Raises:
        RequestError: 400 where it is no name for an object.
    """
    kinds = [unicodedata.category(character)[0] for character in object_id]
    is_name = 0 < len(object_id) <= MAX_ID and kinds[0] in "LN"
    others = (character for character, kind in zip(object_id, kinds, strict=True) if kind not in "LMN")
    if not is_name or not set(others) <= set("_ .()+-"):
        raise RequestError(
            400,
            f"id must be 1 to {MAX_ID} letters (of any alphabet), digits, or any of '_ .()+-', and start with one of "
            "the first two",
        )
    return object_id


def upload_writer(
    cad: UploadFile | None, templates: UploadFile | None, server: ServerSettings
) -> Callable[[Path], UploadedFiles]:
    """Make the function that puts uploaded files into a folder.

    Args:
        cad: The CAD file, or None.
        templates: A zip of a template folder, or None.
        server: Limits of what is unpacked.

    Returns:
        A function of the folder, which raises RequestError and OSError.

    Raises:
        RequestError: 400 where there is no file, or the CAD file has another suffix.
    """
    if cad is None and templates is None:
        raise RequestError(400, "send a file as cad, a zip of templates as templates, or both")
    suffix = "" if cad is None else cad_suffix(cad)

    def write(folder: Path) -> UploadedFiles:
        if cad is not None:
            write_cad(cad, folder / f"model{suffix}")
        if templates is not None:
            archive = folder / "templates.zip"
            _save(templates, archive)
            target = folder / "templates"
            target.mkdir()
            unpack_templates(archive, target, server.max_unzipped, server.max_pixels)
            archive.unlink()
        return UploadedFiles(
            f"model{suffix}" if cad is not None else None, "templates" if templates is not None else None
        )

    return write


def cad_suffix(cad: UploadFile) -> str:
    """Return the suffix of a CAD file's name, which is used for nothing else.

    Args:
        cad: The upload.

    Returns:
        One of `CAD_SUFFIXES`.

    Raises:
        RequestError: 400 for another one.
    """
    suffix = Path(cad.filename or "").suffix.lower()
    if suffix not in CAD_SUFFIXES:
        raise RequestError(400, f"cad is a '{suffix or 'file without suffix'}'; send one of {', '.join(CAD_SUFFIXES)}")
    return suffix


def write_cad(cad: UploadFile, file: Path) -> None:
    """Write an uploaded CAD file.

    One that plainly refers to files in other folders is refused at once as a courtesy; that none of them is ever read
    is up to ObjectSpec.root.

    Args:
        cad: The upload.
        file: Where it goes.

    Raises:
        RequestError: 400 where it is empty, or refers to files that do not come with it.
        OSError: It cannot be written.
    """
    _save(cad, file)
    for name in names_in(file):
        if Path(name).is_absolute() or len(Path(name.replace("\\", "/")).parts) != 1 or name == "..":
            raise RequestError(400, f"cad refers to the file {name!r}: send a mesh that holds all, such as GLB")


def _save(upload: UploadFile, file: Path) -> None:
    upload.file.seek(0)
    with file.open("wb") as target:
        while block := upload.file.read(_BLOCK_BYTES):
            target.write(block)
    if not file.stat().st_size:
        raise RequestError(400, f"{upload.filename or 'a file'} is empty")
