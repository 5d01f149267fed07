"""The bytes of a CAD file as trimesh is given them."""

from __future__ import annotations

from pathlib import Path

from ism_ros.cad.companion_files import CompanionFiles
from ism_ros.cad.formats.gltf import gltf_for_trimesh
from ism_ros.cad.formats.ply import ply_for_trimesh
from ism_ros.cad.formats.wavefront import obj_for_trimesh


def content_for_trimesh(path: Path, files: CompanionFiles) -> bytes:
    """Read a CAD file, its names changed to those that trimesh finds.

    Args:
        path: The file.
        files: The resolver that trimesh gets; what is not found is noted in `files.missing`.

    Returns:
        The content for trimesh.

    Raises:
        OSError: The file cannot be read.
        CompressedError: It is a glTF whose geometry is compressed.
    """
    content = path.read_bytes()
    suffix = path.suffix.lower()
    if suffix == ".obj":
        return obj_for_trimesh(content, path, files)
    if suffix == ".ply":
        return ply_for_trimesh(content, path, files)
    if suffix in (".glb", ".gltf"):
        return gltf_for_trimesh(content, suffix, files)
    return content
