"""Which files a CAD file consists of, found without parsing its geometry."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import unquote


def referenced_files(path: Path, root: Path | None = None) -> tuple[Path, ...]:
    """Files next to a CAD file that its text names: materials and textures of OBJ, PLY and glTF.

    Files that do not exist, or lie outside of `root`, are left out; formats that hold everything themselves (STL, GLB)
    give none.
    """
    found: list[Path] = []
    queue = [path]
    while queue:
        for name in names_in(queue.pop()):
            other = path.parent / name
            if other.is_file() and other not in found and (root is None or _lies_in(other, root)):
                found.append(other)
                queue.append(other)
    return tuple(sorted(found))


def _lies_in(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


def names_in(path: Path) -> list[str]:
    """File names that an OBJ, MTL, PLY header, glTF or GLB mentions."""
    suffix = path.suffix.lower()
    if suffix in (".gltf", ".glb"):
        return _uris(_glb_text(path) if suffix == ".glb" else path.read_bytes())
    if suffix == ".ply":
        lines = _ply_textures(path)
    elif suffix == ".obj":
        lines = _after_keyword(path, rb"mtllib")
    elif suffix == ".mtl":
        lines = _after_keyword(path, rb"map_\w+|bump|disp|refl")
    else:
        return []
    values = [line.decode("utf-8", errors="replace").strip() for line in lines]
    # A name may hold spaces; options of a map stand before it.
    return [name for value in values if value for name in (value, value.split()[-1])]


def _after_keyword(path: Path, keywords: bytes) -> list[bytes]:
    pattern = rb"^[ \t]*(?:" + keywords + rb")[ \t]+([^\r\n]+)"
    return re.findall(pattern, path.read_bytes(), re.MULTILINE | re.IGNORECASE)


def _ply_textures(path: Path) -> list[bytes]:
    """What follows the word in any line of the header, however long that is: readers want neither `comment` before
    it nor a space behind it."""
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
    """Of the buffers and images of a glTF; those of one that is damaged are none."""
    try:
        tree = json.loads(text)
        uris = [item.get("uri") for item in [*tree.get("buffers", []), *tree.get("images", [])]]
    except (ValueError, TypeError, AttributeError, RecursionError):
        return []
    return [unquote(uri) for uri in uris if isinstance(uri, str) and uri and not uri.startswith("data:")]


def _glb_text(path: Path) -> bytes:
    """The first chunk, which is JSON, after 12 bytes about the file and 8 about the chunk."""
    with path.open("rb") as file:
        head = file.read(20)
        return file.read(int.from_bytes(head[12:16], "little"))
