"""The files that a CAD file consists of, found without parsing its geometry."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from ism_ros.cad.companion_files import CompanionFiles


def referenced_files(path: Path, root: Path | None = None) -> tuple[Path, ...]:
    """Find the files that a CAD file names: materials and textures of OBJ, PLY and glTF, and what those name.

    Args:
        path: The CAD file.
        root: Folder outside of which nothing is looked at; None = no limit.

    Returns:
        Files as `CompanionFiles` finds them, sorted, without those that do not exist; formats that hold everything
        themselves (STL, GLB) give none.

    Raises:
        OSError: The CAD file cannot be read.
    """
    files = CompanionFiles(path, root)
    found: list[Path] = []
    queue = [path]
    while queue:
        mother = queue.pop()
        is_material = mother != path and path.suffix.lower() == ".obj"
        stems = [path.stem] if mother == path and path.suffix.lower() in (".obj", ".ply") else []
        for name in _names_in_materials(mother) if is_material else names_in(mother):
            other = files.find(name, mother)
            if other is None:
                stems.append(PurePosixPath(name.replace("\\", "/")).stem)
            elif other not in found and not _same(other, path):
                found.append(other)
                queue.append(other)
        for stem in stems:  # of a material library or image that is missing
            image = files.image_named(stem)
            if image is not None and image not in found:
                found.append(image)
    return tuple(sorted(found))


def _same(first: Path, second: Path) -> bool:
    return os.path.realpath(first) == os.path.realpath(second)


def names_in(path: Path) -> list[str]:
    """Read the file names that a CAD file mentions.

    Args:
        path: An OBJ, MTL, PLY, glTF or GLB; other formats have none.

    Returns:
        Names as they stand in the file, some in two spellings.

    Raises:
        OSError: The file cannot be read.
    """
    suffix = path.suffix.lower()
    if suffix in (".gltf", ".glb"):
        return _uris(glb_json(path) if suffix == ".glb" else path.read_bytes())
    if suffix == ".ply":
        lines = _ply_textures(path)
    elif suffix == ".obj":
        lines = _after_keyword(path, rb"mtllib")
    elif suffix == ".mtl":
        return _names_in_materials(path)
    else:
        return []
    return _names_of(lines)


def _names_in_materials(path: Path) -> list[str]:
    return _names_of(_after_keyword(path, rb"map_\w+|bump|disp|refl"))


def _names_of(lines: list[bytes]) -> list[str]:
    """Read names from the values of keywords: a name may hold spaces, and options of a map stand before it."""
    values = [line.decode("utf-8", errors="replace").strip() for line in lines]
    return [name for value in values if value for name in (value, value.split()[-1])]


def _after_keyword(path: Path, keywords: bytes) -> list[bytes]:
    pattern = rb"^[ \t]*(?:" + keywords + rb")[ \t]+([^\r\n]+)"
    return re.findall(pattern, path.read_bytes(), re.MULTILINE | re.IGNORECASE)


def _ply_textures(path: Path) -> list[bytes]:
    """Read what follows `texturefile` in any line of the header, however long that is.

    Readers expect neither `comment` before the word nor a space behind it.
    """
    word = b"texturefile"
    found = []
    with path.open("rb") as file:
        for line in file:
            if b"end_header" in line.split():
                break
            if (at := line.lower().find(word)) >= 0:
                found.append(line[at + len(word) :])
    return found


def _uris(text: bytes) -> list[str]:
    """Read the URIs of the buffers and images of a glTF; none where it is damaged."""
    try:
        tree = json.loads(text)
        uris = [item.get("uri") for item in [*tree.get("buffers", []), *tree.get("images", [])]]
    except (ValueError, TypeError, AttributeError, RecursionError):
        return []
    return [unquote(uri) for uri in uris if isinstance(uri, str) and uri and not uri.startswith("data:")]


def glb_json(path: Path) -> bytes:
    """Read the JSON of a GLB: its first chunk, after 12 bytes about the file and 8 about the chunk.

    Args:
        path: The file.

    Returns:
        The bytes of the chunk.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(20)
        return file.read(int.from_bytes(head[12:16], "little"))
