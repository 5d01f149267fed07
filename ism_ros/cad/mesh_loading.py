"""CAD files read as triangle meshes in metres."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import trimesh
from numpy.typing import NDArray

from ism_ros.cad.colors import Rgb, as_rgb8, linear_of_srgb, rgb_picture, srgb_of_linear
from ism_ros.cad.companion_files import CompanionFiles
from ism_ros.cad.formats.gltf import CompressedError
from ism_ros.cad.formats.ply import ply_colors
from ism_ros.cad.formats.stl import stl_colors
from ism_ros.cad.formats.trimesh_content import content_for_trimesh
from ism_ros.cad.formats.wavefront import is_of_obj_content
from ism_ros.cad.hole_filling import fill_small_holes
from ism_ros.cad.surfaces import has_color, surface_of
from ism_ros.cad.texture_atlas import atlas_mesh
from ism_ros.cad.units import (
    MAX_DIAGONAL_M,
    METRES,
    MIN_DIAGONAL_M,
    UNITS_TEXT,
    checked_units,
    declared_units,
    length_text,
    other_units,
    size_warning,
)
from ism_ros.checks.input_warnings import InputWarning

SOLIDS = (".step", ".stp", ".iges", ".igs", ".sldprt", ".sldasm", ".ipt", ".iam", ".catpart", ".prt", ".x_t", ".brep")
"""Suffixes of formats that hold solids, not triangles."""
SCENES = (".blend", ".max", ".c4d", ".ma", ".skp", ".fbx", ".usd", ".usdz")
"""Suffixes of the own files of modelling programs."""


class CadError(ValueError):
    """A CAD file that cannot be used; the message names it and says what to do."""


@dataclass(frozen=True)
class CadModel:
    """What a CAD file holds.

    Attributes:
        mesh: Triangles in metres, in the file's own frame, with vertex colors, face colors or a texture.
        warnings: Doubts about it, in sentences that go on after 'object NAME: '.
    """

    mesh: trimesh.Trimesh
    warnings: tuple[InputWarning, ...] = ()


def load_cad(path: Path | str, units: str, max_triangles: int | None = None) -> trimesh.Trimesh:
    """Read the mesh of a CAD file alone.

    Args:
        path: The file.
        units: Its units, one of `units.UNITS`.
        max_triangles: Refuse meshes of more; None = no limit.

    Returns:
        The mesh in metres.

    Raises:
        CadError: As of `read_cad`.
    """
    return read_cad(path, units, max_triangles).mesh


def read_cad(
    path: Path | str,
    units: str,
    max_triangles: int | None = None,
    color: Rgb | None = None,
    root: Path | None = None,
) -> CadModel:
    """Read a CAD file of any format that trimesh reads.

    Parts of a scene are placed and joined; vertex colors, face colors or textures are kept. Small holes of a torn mesh
    are filled.

    Args:
        path: The file.
        units: Its units, one of `units.UNITS`.
        max_triangles: Refuse meshes of more; None = no limit.
        color: The one color of the whole object, instead of what the file says.
        root: Folder outside of which no file that it names is read; None = no limit.

    Returns:
        Mesh and doubts.

    Raises:
        CadError: The file is missing, cannot be read, has no triangles, too many or, in these units, the size of no
            object.
    """
    path = Path(path)
    try:
        checked_units(units)
    except ValueError as error:
        raise CadError(str(error)) from None
    if not path.is_file():
        raise CadError(f"CAD file {path} {'is not a file' if path.exists() else 'does not exist'}")
    if path.suffix.lower().lstrip(".") not in trimesh.available_formats():
        raise CadError(f"CAD file {path}: {_why_not_read(path.suffix)}; use PLY, OBJ, STL, GLB, DAE or 3MF")
    files = CompanionFiles(path, root)
    parts = _read_parts(path, files)
    triangles = sum(len(part.faces) for part in parts)
    if max_triangles is not None and triangles > max_triangles:
        raise CadError(f"CAD file {path} has {triangles} triangles; at most {max_triangles} are taken: simplify it")
    if color is not None:
        parts = [_in_one_color(part, color) for part in parts]
    warnings = [] if color is not None else _color_warnings(parts, files)
    mesh = _joined(parts)
    mesh.apply_scale(METRES[units])
    _check(mesh, path, units)
    text = size_warning(mesh.extents, units, is_declared=declared_units(path) == units)
    if text is not None:
        warnings.append(InputWarning("object_size", text))
    mesh, filled = fill_small_holes(mesh)
    if filled is not None:
        warnings.append(InputWarning("torn_mesh", filled.text))
    return CadModel(mesh, tuple(warnings))


def _why_not_read(suffix: str) -> str:
    if suffix.lower() in SOLIDS:
        return f"'{suffix}' holds solids, not the triangles of their surface: export it from its CAD program as a mesh"
    if suffix.lower() in SCENES:
        return f"'{suffix}' is the file of a program, not an exchange format: export it from there as a mesh"
    return f"'{suffix}' is no format that can be read"


def _read_parts(path: Path, files: CompanionFiles) -> list[trimesh.Trimesh]:
    """Read the meshes in a file, at least one; raise CadError where there is none or it cannot be read."""
    try:
        parts = _parts(path, files)
    except CompressedError as error:
        raise CadError(
            f"CAD file {path} is compressed with {error}, which is not read: export it without compression"
        ) from None
    except Exception as error:  # parsers of a dozen formats fail in as many ways
        kind = path.suffix.lstrip(".").upper()
        raise CadError(
            f"CAD file {path} is damaged or no {kind} file: export it again (its reader says: {error})"
        ) from None
    if not parts:
        raise CadError(f"CAD file {path} has no triangles: export it as a mesh, not as points, curves or solids")
    return parts


def _in_one_color(part: trimesh.Trimesh, color: Rgb) -> trimesh.Trimesh:
    """Return a mesh of the same triangles that is of one color."""
    plain = trimesh.Trimesh(part.vertices, part.faces, process=False)
    plain.visual = trimesh.visual.ColorVisuals(plain, vertex_colors=np.tile([*color, 255], (len(plain.vertices), 1)))
    return plain


def _parts(path: Path, files: CompanionFiles) -> list[trimesh.Trimesh]:
    """Read the meshes in a file, each where the file puts it, with colors of 8-bit sRGB."""
    suffix = path.suffix.lower()
    content = content_for_trimesh(path, files)
    # Unprocessed, as trimesh would merge vertices of different colors. A PLY's uv are of no use without a picture.
    options: dict[str, Any] = {"process": False}
    if suffix == ".ply" and "picture" not in files:
        options["fix_texture"] = False
    scene: Any = trimesh.load(
        io.BytesIO(content), file_type=suffix.lstrip("."), resolver=cast(Any, files), force="scene", **options
    )
    for mesh in scene.geometry.values():
        if isinstance(mesh, trimesh.Trimesh):
            _correct_colors(mesh, suffix, content, files)
    return [part for part in scene.dump() if isinstance(part, trimesh.Trimesh) and len(part.faces)]


def _correct_colors(mesh: trimesh.Trimesh, suffix: str, content: bytes, files: CompanionFiles) -> None:
    """Replace what trimesh made of colors by what the file means."""
    if suffix == ".ply" and "picture" not in files:
        colors = ply_colors(mesh)
        mesh.visual = trimesh.visual.ColorVisuals(mesh, **({} if colors is None else dict([colors])))
    elif suffix == ".stl":
        of_faces = stl_colors(content)
        if of_faces is not None and len(of_faces) == len(mesh.faces):
            mesh.visual = trimesh.visual.ColorVisuals(mesh, face_colors=of_faces)
    visual: Any = mesh.visual
    if visual.kind != "texture":
        return
    if suffix == ".obj" and not is_of_obj_content(visual.material):
        mesh.visual = trimesh.visual.ColorVisuals(mesh)
        return
    if suffix == ".dae" and not _has_image(visual):
        # trimesh has COLLADA's colors as glTF's, which are linear; those of COLLADA are meant as they are
        factor = getattr(visual.material, "baseColorFactor", None)
        mesh.visual = trimesh.visual.ColorVisuals(
            mesh, **({} if factor is None else {"vertex_colors": np.tile(factor, (len(mesh.vertices), 1))})
        )
        return
    colors_of_vertices = getattr(visual, "vertex_attributes", {}).get("color")
    if colors_of_vertices is not None and not _has_image(visual):
        mesh.visual = trimesh.visual.ColorVisuals(mesh, vertex_colors=_gltf_colors(colors_of_vertices, visual.material))
    elif _has_image(visual):
        try:
            _convert_image_to_rgb(visual.material)
        except (OSError, SyntaxError, ValueError):
            files.miss("a picture that cannot be read")
            mesh.visual = trimesh.visual.ColorVisuals(mesh)


def _gltf_colors(colors: NDArray[Any], material: Any) -> NDArray[np.uint8]:
    """Multiply COLOR_0 by the material's factor.

    Numbers of more than 8 bits are linear, as glTF wants them all to be; with 8 bits, writers keep sRGB as it is.
    """
    linear = colors[:, :3].astype(np.float64) / (np.iinfo(colors.dtype).max if colors.dtype.kind in "ui" else 1)
    if colors.dtype == np.uint8:
        linear = linear_of_srgb(linear)
    factor = getattr(material, "baseColorFactor", None)
    if factor is not None:
        linear = linear * (np.asarray(factor)[:3] / 255)
    return as_rgb8(np.rint(255 * srgb_of_linear(linear)).astype(np.uint8))


def _has_image(visual: Any) -> bool:
    material = visual.material
    return getattr(material, "baseColorTexture", None) is not None or getattr(material, "image", None) is not None


def _convert_image_to_rgb(material: Any) -> None:
    name = "baseColorTexture" if getattr(material, "baseColorTexture", None) is not None else "image"
    setattr(material, name, rgb_picture(getattr(material, name)))


def _color_warnings(parts: list[trimesh.Trimesh], files: CompanionFiles) -> list[InputWarning]:
    if files.missing:
        names = ", ".join(f"'{name}'" for name in files.missing[:3]) + (" and others" if len(files.missing) > 3 else "")
        return [
            InputWarning(
                "texture_missing",
                f"it is without its texture, as {names} is not to be found next to its CAD file or in a folder such as "
                "textures/, or is no readable picture: put it there, or give the object a color",
            )
        ]
    if not any(has_color(part.visual) for part in parts):
        return [
            InputWarning(
                "no_colour",
                "its CAD file has no color, so it is looked for in gray and hardly found if it is of another color: "
                "give it a color (in the objects file, the request, or --color), or export it with colors",
            )
        ]
    return []


def sample_surface_m(
    mesh: trimesh.Trimesh, count: int = 2048, seed: int = 0, about_m: NDArray[np.float64] | None = None
) -> NDArray[np.float32]:
    """Sample points spread evenly over the surface of a mesh.

    Args:
        mesh: In metres.
        count: Number of points.
        seed: The same seed gives the same points.
        about_m: (3,) of the mesh's frame, which the points are relative to; None = its origin.

    Returns:
        (count, 3) float32, metres.
    """
    corners = np.asarray(mesh.triangles) - (0.0 if about_m is None else about_m)
    sides = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    cumulative_area = np.cumsum(np.linalg.norm(sides, axis=1))
    random = np.random.default_rng(seed)
    # Evenly spaced along the area (with a random start) rather than at random: no part goes without points.
    at = (np.arange(count) + random.random(count)) / count * cumulative_area[-1]
    face = corners[np.minimum(np.searchsorted(cumulative_area, at, side="right"), len(corners) - 1)]
    first, second = random.random((2, count, 1))
    # Uniform on a triangle: Osada et al., Shape Distributions, 2002.
    root = np.sqrt(first)
    points = (1 - root) * face[:, 0] + root * (1 - second) * face[:, 1] + root * second * face[:, 2]
    return points.astype(np.float32)


def _joined(parts: list[trimesh.Trimesh]) -> trimesh.Trimesh:
    """Join the parts into one mesh with the colors that each has."""
    if len(parts) == 1:
        return parts[0]
    surfaces = [surface_of(part) for part in parts]
    if any(surface.texture is not None for surface in surfaces):
        return atlas_mesh(surfaces)
    corners = np.concatenate([surface.triangles_m for surface in surfaces]).reshape(-1, 3)
    colors = np.concatenate([surface.colors for surface in surfaces]).reshape(-1, 3)
    faces = np.arange(len(corners)).reshape(-1, 3)
    return trimesh.Trimesh(corners, faces, vertex_colors=np.rint(colors).astype(np.uint8), process=False)


def _check(mesh: trimesh.Trimesh, path: Path, units: str) -> None:
    corners = np.asarray(mesh.triangles)
    if not np.isfinite(corners).all():
        raise CadError(f"CAD file {path} has coordinates that are no numbers: export it again")
    if float(np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1).sum()) == 0:
        raise CadError(f"CAD file {path} has no surface: all its triangles are empty")
    size_m = float(np.linalg.norm(np.ptp(corners.reshape(-1, 3), axis=0)))
    if not MIN_DIAGONAL_M <= size_m <= MAX_DIAGONAL_M:
        other = other_units(size_m, units)
        raise CadError(
            f"CAD file {path} is {length_text(size_m)} across when read in {units}: "
            + (f"perhaps it is in {other}; give its units" if other else f"give its units ({UNITS_TEXT})")
        )
