"""Zip files of templates, unpacked and packed; what comes in is checked before a byte of it is unpacked."""

from __future__ import annotations

import errno
import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np
from PIL import Image

from ism_ros.server.errors import RequestError

TEMPLATE_FILE = re.compile(r"(rgb|mask)_\d{1,4}\.png|xyz_\d{1,4}\.npy|poses\.npy|templates\.(json|png)")
"""Names of files that a template folder may hold."""
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Methods of compression that are read."""
MAX_FILES = 4096
"""Files in one zip, at most."""
_BLOCK_BYTES = 1 << 16


def unpack_templates(archive: Path, folder: Path, max_bytes: int, max_pixels: int) -> None:
    """Unpack the template files of a zip, all of which must be in one folder of it.

    Args:
        archive: The zip.
        folder: Where the files go; must exist.
        max_bytes: Most bytes once unpacked, whatever the zip's own list of contents says.
        max_pixels: Most pixels of each picture.

    Raises:
        RequestError: 400 or 413, with some of the files written, where it is no zip or holds anything else or more.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = _members(opened, max_bytes)
            left = max_bytes
            for member in members:
                file = folder / PurePosixPath(member.filename).name
                left -= _write(opened, member, file, left, max_bytes)
                _check_contents(file, max_pixels)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, RuntimeError, ValueError) as error:
        raise RequestError(400, f"the templates cannot be unpacked ({error}): send a plain zip") from None
    except OSError as error:
        if error.errno != errno.EINVAL:  # which reading at a place that only the zip's own list has gives
            raise
        raise RequestError(400, "the templates cannot be unpacked (its list is damaged): send a plain zip") from None


def zip_folder(folder: Path) -> bytes:
    """Pack the files of a folder, without subfolders.

    Args:
        folder: The folder.

    Returns:
        The bytes of the zip.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:  # PNG is compressed already
        for file in sorted(folder.iterdir()):
            kind = zipfile.ZIP_DEFLATED if file.suffix == ".npy" else zipfile.ZIP_STORED
            archive.write(file, file.name, compress_type=kind)
    return buffer.getvalue()


def _members(archive: zipfile.ZipFile, max_bytes: int) -> list[zipfile.ZipInfo]:
    members = [member for member in archive.infolist() if not member.is_dir()]
    if len(members) > MAX_FILES:
        raise RequestError(413, f"the zip has {len(members)} files; at most {MAX_FILES} are taken")
    if sum(member.file_size for member in members) > max_bytes:
        raise RequestError(413, f"the zip holds more than {max_bytes} bytes once unpacked")
    folders = set()
    for member in members:
        path = PurePosixPath(member.filename)
        if path.is_absolute() or ".." in path.parts or "\\" in member.filename or _is_link(member):
            raise RequestError(400, f"the zip names a file outside of itself: {member.filename!r}")
        if not TEMPLATE_FILE.fullmatch(path.name):
            raise RequestError(
                400, f"the zip holds {member.filename!r}; only rgb_N.png, mask_N.png, xyz_N.npy, poses.npy and "
                "templates.json belong there"
            )  # fmt: skip
        if member.compress_type not in COMPRESSIONS:
            raise RequestError(400, f"{member.filename!r} is not stored or deflated in the zip: send a plain zip")
        folders.add(path.parent)
    if len(folders) > 1:
        raise RequestError(400, f"the zip has templates in {len(folders)} folders: send those of one object")
    if not members:
        raise RequestError(400, "the zip is empty")
    return members


def _is_link(member: zipfile.ZipInfo) -> bool:
    return (member.external_attr >> 16) & 0o170000 == 0o120000


def _write(archive: zipfile.ZipFile, member: zipfile.ZipInfo, file: Path, left: int, max_bytes: int) -> int:
    written = 0
    with archive.open(member) as stream, file.open("wb") as target:
        for block in _blocks(stream):
            written += len(block)
            if written > left:
                raise RequestError(413, f"the zip holds more than {max_bytes} bytes once unpacked")
            target.write(block)
    return written


def _blocks(stream: IO[bytes]) -> Iterator[bytes]:
    while block := stream.read(_BLOCK_BYTES):
        yield block


def _check_contents(file: Path, max_pixels: int) -> None:
    """Check that a file is what its header promises, and that no picture has more than `max_pixels`."""
    if file.suffix == ".npy":
        try:
            np.load(file, mmap_mode="r", allow_pickle=False)
        except Exception:  # a header is Python's syntax, and numpy raises whatever its tokenizer and parser do
            raise RequestError(400, f"{file.name} is no array that can be read") from None
    elif file.suffix == ".png":
        try:
            with Image.open(file, formats=("PNG",)) as picture:
                width, height = picture.size
        except Image.DecompressionBombError:
            raise RequestError(413, f"{file.name} has too many pixels; at most {max_pixels} are taken") from None
        except (OSError, SyntaxError, ValueError):
            raise RequestError(400, f"{file.name} is no PNG that can be read") from None
        if width * height > max_pixels:
            raise RequestError(413, f"{file.name} is {width} x {height} pixels; at most {max_pixels} are taken")
