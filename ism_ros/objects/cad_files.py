"""Which files a CAD file consists of, found without parsing its geometry."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import unquote


def referenced_files(path: Path) -> tuple[Path, ...]:
    """Files next to a CAD file that its text names: materials and textures of OBJ, PLY and glTF.

    Files that do not exist are left out; formats that hold everything themselves (STL, GLB) give none.
    """
    found: list[Path] = []
    queue = [path]
    while queue:
        for name in names_in(queue.pop()):
            other = path.parent / name
            if other.is_file() and other not in found:
                found.append(other)
                queue.append(other)
    return tuple(sorted(found))


def names_in(path: Path) -> list[str]:
    """File names that an OBJ, MTL, PLY header or glTF mentions."""
    suffix = path.suffix.lower()
    if suffix == ".gltf":
        try:
            tree = json.loads(path.read_text(encoding="utf-8"))
            uris = [item.get("uri", "") for item in [*tree.get("buffers", []), *tree.get("images", [])]]
        except (ValueError, AttributeError):
            return []
        return [unquote(uri) for uri in uris if uri and not uri.startswith("data:")]
    if suffix == ".ply":
        keywords, text = rb"comment[ \t]+texturefile", path.read_bytes()[:65536].partition(b"end_header")[0]
    elif suffix == ".obj":
        keywords, text = b"mtllib", path.read_bytes()
    elif suffix == ".mtl":
        keywords, text = rb"map_\w+|bump|disp|refl", path.read_bytes()
    else:
        return []
    lines = re.findall(rb"^[ \t]*(?:" + keywords + rb")[ \t]+([^\r\n]+)", text, re.MULTILINE | re.IGNORECASE)
    values = [line.decode("utf-8", errors="replace").strip() for line in lines]
    # A name may hold spaces; options of a map stand before it.
    return [name for value in values if value for name in (value, value.split()[-1])]
