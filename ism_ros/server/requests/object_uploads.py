"""From an upload to files that may be onboarded: what they are called, how large they are, what they refer to."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from pathlib import Path

from fastapi import UploadFile

from ism_ros.cad.referenced_files import names_in
from ism_ros.server.errors import RequestError
from ism_ros.server.objects.object_jobs import Upload
from ism_ros.server.requests.template_archives import unpack_templates
from ism_ros.server.settings import ServerSettings

CAD_SUFFIXES = (".ply", ".obj", ".stl", ".glb", ".gltf", ".off")
MAX_ID = 64
_BLOCK = 1 << 20


def checked_id(object_id: str) -> str:
    """Raises RequestError where it is no name for an object."""
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


def writer(cad: UploadFile | None, templates: UploadFile | None, server: ServerSettings) -> Callable[[Path], Upload]:
    """Puts the uploaded files into a folder. Raises RequestError where one of them cannot be used."""
    if cad is None and templates is None:
        raise RequestError(400, "send a file as cad, a zip of templates as templates, or both")
    suffix = "" if cad is None else cad_suffix(cad)

    def write(folder: Path) -> Upload:
        if cad is not None:
            write_cad(cad, folder / f"model{suffix}")
        if templates is not None:
            archive = folder / "templates.zip"
            _save(templates, archive)
            target = folder / "templates"
            target.mkdir()
            unpack_templates(archive, target, server.max_unzipped, server.max_pixels)
            archive.unlink()
        return Upload(f"model{suffix}" if cad is not None else None, "templates" if templates is not None else None)

    return write


def cad_suffix(cad: UploadFile) -> str:
    """Of the name that the client gave, which is used for nothing else. Raises RequestError."""
    suffix = Path(cad.filename or "").suffix.lower()
    if suffix not in CAD_SUFFIXES:
        raise RequestError(400, f"cad is a '{suffix or 'file without suffix'}'; send one of {', '.join(CAD_SUFFIXES)}")
    return suffix


def write_cad(cad: UploadFile, file: Path) -> None:
    """Raises RequestError where it plainly refers to files in other folders, which do not come with it.

    This is told at once as a courtesy; that none is ever read is up to ObjectSpec.root.
    """
    _save(cad, file)
    for name in names_in(file):
        if Path(name).is_absolute() or len(Path(name.replace("\\", "/")).parts) != 1 or name == "..":
            raise RequestError(400, f"cad refers to the file {name!r}: send a mesh that holds all, such as GLB")


def _save(upload: UploadFile, file: Path) -> None:
    upload.file.seek(0)
    with file.open("wb") as target:
        while block := upload.file.read(_BLOCK):
            target.write(block)
    if not file.stat().st_size:
        raise RequestError(400, f"{upload.filename or 'a file'} is empty")
