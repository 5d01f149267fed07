"""glTF files: the names of their textures, materials of vertex colors, and compression that is not read."""

from __future__ import annotations

import json
import struct
from typing import Any

from ism_ros.cad.companion_files import CompanionFiles, is_readable_image

_COMPRESSIONS = {"KHR_draco_mesh_compression": "Draco", "EXT_meshopt_compression": "meshopt"}


class CompressedError(ValueError):
    """A glTF whose geometry is compressed; the message is the name of the compression."""


def gltf_for_trimesh(content: bytes, suffix: str, files: CompanionFiles) -> bytes:
    """Rewrite the JSON of a glTF so that trimesh finds its textures and keeps its colors.

    Images get the names that the resolver has them under. Vertices that have colors get a material, as trimesh keeps
    colors as they are only there. What is no glTF is left to trimesh.

    Args:
        content: Of the file.
        suffix: ".glb" or ".gltf".
        files: The resolver that trimesh gets; what is not found is noted in `files.missing`.

    Returns:
        The content for trimesh.

    Raises:
        CompressedError: Its geometry is compressed.
    """
    binary = suffix == ".glb"
    length = int.from_bytes(content[12:16], "little") if binary else len(content)
    text = content[20 : 20 + length] if binary else content
    try:
        tree = json.loads(text)
        compressed = _compression(tree)
        if compressed is None:
            _name_images(tree, files)
            _give_materials(tree)
    except (ValueError, TypeError, AttributeError, KeyError, IndexError, RecursionError):
        return content
    if compressed is not None:
        raise CompressedError(compressed)
    changed = json.dumps(tree).encode()
    if not binary:
        return changed
    changed += b" " * (-len(changed) % 4)
    rest = content[20 + length :]
    header = struct.pack("<4sII", content[:4], int.from_bytes(content[4:8], "little"), 20 + len(changed) + len(rest))
    return header + struct.pack("<I", len(changed)) + content[16:20] + changed + rest


def _compression(tree: dict[str, Any]) -> str | None:
    """Name the compression that hides the triangles, or None; a file may hold them uncompressed as well."""
    needed = set(tree.get("extensionsRequired", []))
    for mesh in tree.get("meshes", []):
        for part in mesh["primitives"]:
            if "bufferView" not in tree["accessors"][part["attributes"]["POSITION"]]:
                needed |= set(part.get("extensions", {}))
    return next((name for extension, name in _COMPRESSIONS.items() if extension in needed), None)


def _name_images(tree: dict[str, Any], files: CompanionFiles) -> None:
    """Rename the images of base colors that are files, and note those that cannot be read."""
    images = tree.get("images", [])
    textures = tree.get("textures", [])
    for material in tree.get("materials", []):
        slots = [
            material.get("pbrMetallicRoughness", {}).get("baseColorTexture"),
            material.get("extensions", {}).get("KHR_materials_pbrSpecularGlossiness", {}).get("diffuseTexture"),
        ]
        for slot in filter(None, slots):
            texture = textures[slot["index"]]
            sources = [texture.get("source"), *(one.get("source") for one in texture.get("extensions", {}).values())]
            numbers = [number for number in sources if number is not None]
            if not any(_find_image(images[number], number, files) for number in numbers):
                image = images[numbers[0]] if numbers else {}
                files.miss(image.get("uri") or image.get("name") or image.get("mimeType") or "a picture")


def _find_image(image: dict[str, Any], number: int, files: CompanionFiles) -> bool:
    uri = image.get("uri")
    if uri is None:
        return image.get("mimeType") != "image/ktx2"
    if uri.startswith("data:"):
        return not uri.startswith("data:image/ktx2")
    if uri in files:  # named already
        return True
    found = files.find(uri)
    if found is None or not is_readable_image(found):
        return False
    image["uri"] = files.offer(f"picture-{number}{found.suffix.lower()}", found)
    return True


def _give_materials(tree: dict[str, Any]) -> None:
    bare = [part for mesh in tree.get("meshes", []) for part in mesh["primitives"]
            if "material" not in part and "COLOR_0" in part["attributes"]]  # fmt: skip
    if bare:
        tree.setdefault("materials", []).append({})
        for part in bare:
            part["material"] = len(tree["materials"]) - 1
