"""What of each format has to be set right before or after trimesh reads it: names of files, materials, colours."""

from __future__ import annotations

import io
import json
import re
import struct
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ism_ros.cad.colors import as_rgb8
from ism_ros.cad.referenced_files import CompanionFiles

_MATERIALS = "materials.mtl"
_NO_MATERIAL = "none"
_COMPRESSIONS = {"KHR_draco_mesh_compression": "Draco", "EXT_meshopt_compression": "meshopt"}
_STL_TRIANGLE = np.dtype([("geometry", "V48"), ("attribute", "<u2")])


class CompressedError(ValueError):
    """A glTF whose geometry is compressed; the message is the name of the compression."""


def content_for_trimesh(path: Path, files: CompanionFiles) -> bytes:
    """The bytes of a CAD file with names that trimesh finds, `files` being its resolver.

    What is looked for in vain is noted in `files.missing`. Raises OSError, and CompressedError.
    """
    content = path.read_bytes()
    suffix = path.suffix.lower()
    if suffix == ".obj":
        return _obj_content(content, path, files)
    if suffix == ".ply":
        return _ply_content(content, path, files)
    if suffix in (".glb", ".gltf"):
        return _gltf_content(content, suffix, files)
    return content


# --- OBJ and MTL ---


def is_of_obj_content(material: Any) -> bool:
    """Whether trimesh has this material from the library that it was given, and not out of thin air."""
    name = getattr(material, "name", None) or getattr(material, "kwargs", {}).get("name")
    return isinstance(name, str) and re.fullmatch(r"m\d+", name) is not None


@dataclass
class _Material:
    """name: as the library says it. diffuse: RGB in [0, 1] or None. picture: the key of its picture in the resolver."""

    name: str
    diffuse: tuple[float, ...] | None = None
    picture: str | None = None


def _obj_content(content: bytes, path: Path, files: CompanionFiles) -> bytes:
    """With one material library, of materials that have colours, and every material named as that has it."""
    text = content.decode("utf-8", errors="replace").replace("\r\n", "\n").replace("\\\n", " ")
    text = "\n" + text.replace("\r", "\n") + "\n"
    libraries = re.findall(r"^[ \t]*mtllib[ \t]+(.+)$", text, re.MULTILINE | re.IGNORECASE)
    used = [name.strip() for name in re.findall(r"^[ \t]*usemtl[ \t]+(.+)$", text, re.MULTILINE | re.IGNORECASE)]
    materials, missing = _materials(libraries, files)
    if not materials and "\nvt " in text:
        # a library that was lost, with the picture left behind
        stems = [PurePosixPath(name.replace("\\", "/")).stem for name in missing] + [path.stem]
        picture = next(filter(None, map(files.picture_named, stems)), None)
        if picture is not None and _is_picture(picture):
            key = files.offer("picture-of-its-name", picture)
            materials, missing = [_Material(name, picture=key) for name in dict.fromkeys(used)], []
            materials = materials or [_Material(_NO_MATERIAL, picture=key)]
    for name in missing:
        files.miss(name)
    text, has_colours = _scaled_vertex_colours(text)
    if has_colours:  # which say more than one colour for all
        materials = [material for material in materials if material.picture is not None]

    lines = [line for number, material in enumerate(materials) for line in _mtl_lines(number, material)]
    files.offer(_MATERIALS, "\n".join([*lines, ""]).encode())
    by_name = {material.name.casefold(): f"m{number}" for number, material in enumerate(materials)}
    by_name |= {material.name: f"m{number}" for number, material in enumerate(materials)}

    def renamed(match: re.Match[str]) -> str:
        name = match.group(1).strip()
        return f"usemtl {by_name.get(name, by_name.get(name.casefold(), _NO_MATERIAL))}"

    if all(material.picture is None for material in materials):
        # uv of nothing would take the place of colours
        text = re.sub(r"^[ \t]*vt[ \t].*$", "", text, flags=re.MULTILINE)
    text = re.sub(r"^[ \t]*mtllib\b.*$", "", text, flags=re.MULTILINE | re.IGNORECASE)
    text = re.sub(r"^[ \t]*usemtl(?:[ \t]+(.*)|[ \t]*)$", lambda m: renamed(m) if m.group(1) else "", text,
                  flags=re.MULTILINE | re.IGNORECASE)  # fmt: skip
    if len(materials) == 1:
        # nothing says what else the faces before the first `usemtl` should be made of
        text = text.replace("\nf ", "\nusemtl m0\nf ", 1) if _first_face_is_bare(text) else text
    return f"mtllib {_MATERIALS}{text}".encode()


def _first_face_is_bare(text: str) -> bool:
    face, material = text.find("\nf "), text.find("\nusemtl ")
    return face >= 0 and (material < 0 or face < material)


def _materials(libraries: list[str], files: CompanionFiles) -> tuple[list[_Material], list[str]]:
    """All materials of all the libraries named, and the libraries that are not there."""
    materials: list[_Material] = []
    missing: list[str] = []
    for value in map(str.strip, libraries):
        # one name with spaces, or several names
        whole = files.find(value)
        for name in [value] if whole is not None else value.split():
            library = whole if whole is not None else files.find(name)
            if library is None:
                missing.append(name if len(value.split()) < 3 else value)
            else:
                materials += _read_materials(library, files)
    return materials, list(dict.fromkeys(missing))


def _read_materials(library: Path, files: CompanionFiles) -> list[_Material]:
    materials: list[_Material] = []
    pictures: dict[int, dict[str, str]] = {}
    for line in library.read_bytes().decode("utf-8", errors="replace").splitlines():
        keyword, _, value = line.strip().partition(" ") if " " in line.strip() else line.strip().partition("\t")
        keyword, value = keyword.lower(), value.strip()
        if keyword == "newmtl":
            materials.append(_Material(value))
        elif materials and keyword == "kd":
            materials[-1].diffuse = _numbers(value)
        elif materials and keyword in ("map_kd", "map_ka") and value:
            pictures.setdefault(len(materials) - 1, {})[keyword] = value
    for number, named in pictures.items():
        name = named.get("map_kd") or named["map_ka"]
        found = files.find(name, library)
        if found is not None and _is_picture(found):
            materials[number].picture = files.offer(f"picture-{len(files.keys())}", found)
        else:
            files.miss(name)
    return materials


def _numbers(value: str) -> tuple[float, ...] | None:
    try:
        numbers = [float(number) for number in value.split()[:3]]
    except ValueError:  # a spectral curve, or another colour space
        return None
    numbers = numbers * 3 if len(numbers) == 1 else numbers
    if len(numbers) != 3 or not np.isfinite(numbers).all():
        return None
    scale = 255.0 if max(numbers) > 1 else 1.0
    return tuple(min(max(number / scale, 0.0), 1.0) for number in numbers)


def _mtl_lines(number: int, material: _Material) -> list[str]:
    lines = [f"newmtl m{number}"]
    if material.diffuse is not None:
        lines.append("Kd {:.6f} {:.6f} {:.6f}".format(*material.diffuse))
    if material.picture is not None:
        lines.append(f"map_Kd {material.picture}")
    return lines


def _scaled_vertex_colours(text: str) -> tuple[str, bool]:
    """The text of an OBJ with vertex colours of 0 to 1, and whether it has any."""
    first = re.search(r"^v[ \t]+(.+)$", text, re.MULTILINE)
    if first is None or len(first.group(1).split()) < 6:
        return text, False
    rows = [line.split() for line in re.findall(r"^v[ \t]+(.+)$", text, re.MULTILINE)]
    try:
        highest = max(float(number) for row in rows for number in row[3:6])
    except ValueError:
        return text, True
    if highest > 1:
        scale = 255.0 if highest <= 255 else 65535.0

        def scaled(match: re.Match[str]) -> str:
            row = match.group(1).split()
            return " ".join(["v", *row[:3], *(f"{float(number) / scale:.6f}" for number in row[3:6])])

        text = re.sub(r"^v[ \t]+(.+)$", scaled, text, flags=re.MULTILINE)
    return text, True


# --- PLY ---


def _ply_content(content: bytes, path: Path, files: CompanionFiles) -> bytes:
    """With one picture, by the name that the resolver has it under, or none."""
    end = content.find(b"end_header")
    if end < 0:
        return content
    lines = content[:end].split(b"\n")
    word = b"texturefile"
    named = [line for line in lines if word in line.lower() and not line.strip().startswith((b"element", b"property"))]
    has_uv = re.search(rb"property[ \t]+\w+[ \t]+(?:texture_u|u|s)\s|property[ \t]+list.*texcoord", content[:end])
    picture = None
    for line in named:
        name = line[line.lower().find(word) + len(word) :].decode("utf-8", errors="replace").strip()
        picture = files.find(name) or files.picture_named(PurePosixPath(name.replace("\\", "/")).stem)
        if picture is None or not _is_picture(picture):
            picture = None
            files.miss(name)
    if not named and has_uv:
        picture = files.picture_named(path.stem)
        picture = picture if picture is not None and _is_picture(picture) else None
    lines = [line for line in lines if line not in named]
    if picture is not None:
        files.offer("picture", picture)
        lines.insert(2, b"comment TextureFile picture")
    return b"\n".join(lines) + content[end:]


def ply_colours(mesh: Any) -> tuple[str, NDArray[np.uint8]] | None:
    """Colours of the vertices or faces of a PLY as its file has them.

    Args:
        mesh: A mesh that trimesh read of a PLY, its vertices and faces in the order of the file.

    Returns:
        vertex_colors or face_colors, and (N, 3) uint8; None where there are none.
    """
    raw = mesh.metadata.get("_ply_raw") or {}
    found = {}
    for element, name, count in (("vertex", "vertex_colors", len(mesh.vertices)), ("face", "face_colors", None)):
        colours = _ply_element_colours(raw.get(element))
        if colours is not None and count is None and len(mesh.faces) == 2 * len(colours):
            colours = np.tile(colours, (2, 1))  # quads, of which trimesh takes first all first halves
        if colours is not None and len(colours) == (len(mesh.faces) if count is None else count):
            found[name] = colours
    if len(found) == 2 and not np.ptp(found["vertex_colors"], axis=0).any():
        del found["vertex_colors"]  # one for all, beside faces that differ
    return next(iter(found.items()), None)


def _ply_element_colours(element: Any) -> NDArray[np.uint8] | None:
    if not element or "data" not in element:
        return None
    for prefix in ("", "diffuse_"):
        try:
            columns = [np.asarray(element["data"][f"{prefix}{name}"]).reshape(-1) for name in ("red", "green", "blue")]
            return as_rgb8(np.column_stack(columns))
        except (KeyError, ValueError, IndexError, TypeError):
            continue
    return None


# --- STL ---


def stl_colours(content: bytes) -> NDArray[np.uint8] | None:
    """Colours of the triangles of a binary STL, (F, 3) uint8, or None where it has none.

    Two conventions use the two bytes after each triangle: VisCAM and SolidView (bit 15 set = its own colour, blue in
    the lowest bits), and Materialise Magics (COLOR= in the header is the colour of the whole, bit 15 not set = its own,
    red in the lowest bits).
    """
    if len(content) < 84:
        return None
    count = int.from_bytes(content[80:84], "little")
    if count == 0 or len(content) != 84 + 50 * count:
        return None
    bits = np.frombuffer(content, _STL_TRIANGLE, offset=84)["attribute"].astype(np.int64)
    low, middle, high = ((bits >> shift & 31) * 255 // 31 for shift in (0, 5, 10))
    marked = (bits & 0x8000) > 0
    at = content[:80].find(b"COLOR=")
    if at >= 0 and at + 10 <= 80:
        whole = np.frombuffer(content[at + 6 : at + 9], np.uint8)
        own = ~marked & (bits > 0).any()
        return np.where(own[:, None], np.column_stack([low, middle, high]), whole).astype(np.uint8)
    if not marked.any():
        return None
    colours = np.column_stack([high, middle, low])
    return np.where(marked[:, None], colours, np.full(3, 160)).astype(np.uint8)


# --- glTF ---


def _gltf_content(content: bytes, suffix: str, files: CompanionFiles) -> bytes:
    """With pictures by the names that the resolver has them under, and a material wherever vertices have colours, as
    trimesh keeps colours as they are only there. What is no glTF is left to trimesh."""
    binary = suffix == ".glb"
    length = int.from_bytes(content[12:16], "little") if binary else len(content)
    text = content[20 : 20 + length] if binary else content
    try:
        tree = json.loads(text)
        compressed = _compression(tree)
        if compressed is None:
            _name_pictures(tree, files)
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
    """What has to be undone before there are triangles, or None; a file may hold them uncompressed as well."""
    needed = set(tree.get("extensionsRequired", []))
    for mesh in tree.get("meshes", []):
        for part in mesh["primitives"]:
            if "bufferView" not in tree["accessors"][part["attributes"]["POSITION"]]:
                needed |= set(part.get("extensions", {}))
    return next((name for extension, name in _COMPRESSIONS.items() if extension in needed), None)


def _name_pictures(tree: dict[str, Any], files: CompanionFiles) -> None:
    """Names the pictures of base colours that are files, and notes those that cannot be had."""
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
            if not any(_picture_is_there(images[number], number, files) for number in numbers):
                image = images[numbers[0]] if numbers else {}
                files.miss(image.get("uri") or image.get("name") or image.get("mimeType") or "a picture")


def _picture_is_there(image: dict[str, Any], number: int, files: CompanionFiles) -> bool:
    uri = image.get("uri")
    if uri is None:
        return image.get("mimeType") != "image/ktx2"
    if uri.startswith("data:"):
        return not uri.startswith("data:image/ktx2")
    if uri in files:  # named already
        return True
    found = files.find(uri)
    if found is None or not _is_picture(found):
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


def _is_picture(file: Path) -> bool:
    try:
        with Image.open(io.BytesIO(file.read_bytes())) as picture:
            picture.load()
        return True
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False
