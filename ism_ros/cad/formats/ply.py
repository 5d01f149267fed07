"""PLY files: the names of their textures, and their colors."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ism_ros.cad.colors import as_rgb8
from ism_ros.cad.companion_files import CompanionFiles, is_readable_image


def ply_for_trimesh(content: bytes, path: Path, files: CompanionFiles) -> bytes:
    """Rewrite the header of a PLY so that it names one texture, as the resolver has it, or none.

    Args:
        content: Of the file.
        path: The file.
        files: The resolver that trimesh gets; what is not found is noted in `files.missing`.

    Returns:
        The content for trimesh.
    """
    end = content.find(b"end_header")
    if end < 0:
        return content
    lines = content[:end].split(b"\n")
    word = b"texturefile"
    named = [line for line in lines if word in line.lower() and not line.strip().startswith((b"element", b"property"))]
    has_uv = re.search(rb"property[ \t]+\w+[ \t]+(?:texture_u|u|s)\s|property[ \t]+list.*texcoord", content[:end])
    image = None
    for line in named:
        name = line[line.lower().find(word) + len(word) :].decode("utf-8", errors="replace").strip()
        image = files.find(name) or files.image_named(PurePosixPath(name.replace("\\", "/")).stem)
        if image is None or not is_readable_image(image):
            image = None
            files.miss(name)
    if not named and has_uv:
        image = files.image_named(path.stem)
        image = image if image is not None and is_readable_image(image) else None
    lines = [line for line in lines if line not in named]
    if image is not None:
        files.offer("picture", image)
        lines.insert(2, b"comment TextureFile picture")
    return b"\n".join(lines) + content[end:]


def ply_colors(mesh: Any) -> tuple[str, NDArray[np.uint8]] | None:
    """Read the colors of the vertices or faces of a PLY as its file has them.

    Args:
        mesh: A mesh that trimesh read of a PLY, its vertices and faces in the order of the file.

    Returns:
        vertex_colors or face_colors, and (N, 3) uint8; None where there are none.
    """
    raw = mesh.metadata.get("_ply_raw") or {}
    found = {}
    for element, name, count in (("vertex", "vertex_colors", len(mesh.vertices)), ("face", "face_colors", None)):
        colors = _ply_element_colors(raw.get(element))
        if colors is not None and count is None and len(mesh.faces) == 2 * len(colors):
            colors = np.tile(colors, (2, 1))  # quads, of which trimesh takes first all first halves
        if colors is not None and len(colors) == (len(mesh.faces) if count is None else count):
            found[name] = colors
    if len(found) == 2 and not np.ptp(found["vertex_colors"], axis=0).any():
        del found["vertex_colors"]  # one for all, where faces differ
    return next(iter(found.items()), None)


def _ply_element_colors(element: Any) -> NDArray[np.uint8] | None:
    if not element or "data" not in element:
        return None
    for prefix in ("", "diffuse_"):
        try:
            columns = [np.asarray(element["data"][f"{prefix}{name}"]).reshape(-1) for name in ("red", "green", "blue")]
            return as_rgb8(np.column_stack(columns))
        except (KeyError, ValueError, IndexError, TypeError):
            continue
    return None
