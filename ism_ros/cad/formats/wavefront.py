"""OBJ files and their material libraries: what trimesh would not find, or would read otherwise than meant."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ism_ros.cad.companion_files import CompanionFiles, is_readable_image

_MATERIALS = "materials.mtl"
_NO_MATERIAL = "none"


def is_of_obj_content(material: Any) -> bool:
    """Check whether trimesh has a material from the library of `obj_for_trimesh`, and did not make it up.

    Args:
        material: Of a trimesh visual.
    """
    name = getattr(material, "name", None) or getattr(material, "kwargs", {}).get("name")
    return isinstance(name, str) and re.fullmatch(r"m\d+", name) is not None


@dataclass
class _Material:
    """A material of a library.

    Attributes:
        name: As the library says it.
        diffuse: RGB in [0, 1], or None.
        image: Key of its texture in the resolver, or None.
    """

    name: str
    diffuse: tuple[float, ...] | None = None
    image: str | None = None


def obj_for_trimesh(content: bytes, path: Path, files: CompanionFiles) -> bytes:
    """Rewrite an OBJ so that trimesh finds its colors.

    It gets one material library, offered by `files`, of materials that have colors, and names materials as that does.

    Args:
        content: Of the file.
        path: The file.
        files: The resolver that trimesh gets; what is not found is noted in `files.missing`.

    Returns:
        The content for trimesh.
    """
    text = content.decode("utf-8", errors="replace").replace("\r\n", "\n").replace("\\\n", " ")
    text = "\n" + text.replace("\r", "\n") + "\n"
    materials = _materials_of_obj(text, path, files)
    text, has_colors = _scaled_vertex_colors(text)
    if has_colors:  # which say more than one color for all
        materials = [material for material in materials if material.image is not None]
    lines = [line for number, material in enumerate(materials) for line in _mtl_lines(number, material)]
    files.offer(_MATERIALS, "\n".join([*lines, ""]).encode())
    if all(material.image is None for material in materials):
        # uv of nothing would take the place of colors
        text = re.sub(r"^[ \t]*vt[ \t].*$", "", text, flags=re.MULTILINE)
    text = _with_materials_renamed(text, materials)
    if len(materials) == 1 and _first_face_is_bare(text):
        # nothing says what else the faces before the first `usemtl` should be made of
        text = text.replace("\nf ", "\nusemtl m0\nf ", 1)
    return f"mtllib {_MATERIALS}{text}".encode()


def _materials_of_obj(text: str, path: Path, files: CompanionFiles) -> list[_Material]:
    """Read the materials of an OBJ; where its library is lost, take an image of its name for all of them."""
    libraries = re.findall(r"^[ \t]*mtllib[ \t]+(.+)$", text, re.MULTILINE | re.IGNORECASE)
    used = [name.strip() for name in re.findall(r"^[ \t]*usemtl[ \t]+(.+)$", text, re.MULTILINE | re.IGNORECASE)]
    materials, missing = _materials(libraries, files)
    if not materials and "\nvt " in text:
        stems = [PurePosixPath(name.replace("\\", "/")).stem for name in missing] + [path.stem]
        image = next(filter(None, map(files.image_named, stems)), None)
        if image is not None and is_readable_image(image):
            key = files.offer("picture-of-its-name", image)
            materials, missing = [_Material(name, image=key) for name in dict.fromkeys(used)], []
            materials = materials or [_Material(_NO_MATERIAL, image=key)]
    for name in missing:
        files.miss(name)
    return materials


def _with_materials_renamed(text: str, materials: list[_Material]) -> str:
    """Name materials m0, m1, ... in the text of an OBJ, and drop its own libraries."""
    by_name = {material.name.casefold(): f"m{number}" for number, material in enumerate(materials)}
    by_name |= {material.name: f"m{number}" for number, material in enumerate(materials)}

    def renamed(match: re.Match[str]) -> str:
        if not match.group(1):
            return ""
        name = match.group(1).strip()
        return f"usemtl {by_name.get(name, by_name.get(name.casefold(), _NO_MATERIAL))}"

    text = re.sub(r"^[ \t]*mtllib\b.*$", "", text, flags=re.MULTILINE | re.IGNORECASE)
    return re.sub(r"^[ \t]*usemtl(?:[ \t]+(.*)|[ \t]*)$", renamed, text, flags=re.MULTILINE | re.IGNORECASE)


def _first_face_is_bare(text: str) -> bool:
    face, material = text.find("\nf "), text.find("\nusemtl ")
    return face >= 0 and (material < 0 or face < material)


def _materials(libraries: list[str], files: CompanionFiles) -> tuple[list[_Material], list[str]]:
    """Read all materials of all the libraries named; return them and the libraries that are missing."""
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
    images: dict[int, dict[str, str]] = {}
    for line in library.read_bytes().decode("utf-8", errors="replace").splitlines():
        keyword, _, value = line.strip().partition(" ") if " " in line.strip() else line.strip().partition("\t")
        keyword, value = keyword.lower(), value.strip()
        if keyword == "newmtl":
            materials.append(_Material(value))
        elif materials and keyword == "kd":
            materials[-1].diffuse = _numbers(value)
        elif materials and keyword in ("map_kd", "map_ka") and value:
            images.setdefault(len(materials) - 1, {})[keyword] = value
    for number, named in images.items():
        name = named.get("map_kd") or named["map_ka"]
        found = files.find(name, library)
        if found is not None and is_readable_image(found):
            materials[number].image = files.offer(f"picture-{len(files.keys())}", found)
        else:
            files.miss(name)
    return materials


def _numbers(value: str) -> tuple[float, ...] | None:
    try:
        numbers = [float(number) for number in value.split()[:3]]
    except ValueError:  # a spectral curve, or another color space
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
    if material.image is not None:
        lines.append(f"map_Kd {material.image}")
    return lines


def _scaled_vertex_colors(text: str) -> tuple[str, bool]:
    """Return the text of an OBJ with vertex colors of 0 to 1, and whether it has any."""
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
