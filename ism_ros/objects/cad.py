"""CAD files in, triangle meshes in metres out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from numpy.typing import NDArray
from trimesh.resolvers import Resolver

from ism_ros.objects.atlas import atlas_mesh
from ism_ros.objects.surfaces import surface_of

METRES = {"mm": 0.001, "m": 1.0}
SMALLEST_M, LARGEST_M = 0.001, 50.0
"""Between these lie the diameters of objects that somebody wants to find; outside, the units must be wrong."""


class CadError(ValueError):
    """A CAD file that cannot be used; the message names it and says what to do."""


def load_cad(
    path: Path | str, units: str, max_triangles: int | None = None, root: Path | None = None
) -> trimesh.Trimesh:
    """The mesh in a CAD file of any format that trimesh reads, in metres.

    Parts of a scene are placed and joined; vertex colours, face colours or textures are kept. units: mm or m, as
    the file's numbers are. root: files that it names are read within this folder alone; None = anywhere. Raises
    CadError where the file is missing, cannot be read, has no triangles, more than `max_triangles` or, in these units,
    the size of no object.
    """
    path = Path(path)
    if units not in METRES:
        raise CadError(f"units '{units}' are unknown; choose mm or m")
    if not path.is_file():
        raise CadError(f"CAD file {path} {'is not a file' if path.exists() else 'does not exist'}")
    if path.suffix.lower().lstrip(".") not in trimesh.available_formats():
        raise CadError(f"CAD file {path}: '{path.suffix}' is no format that can be read; use PLY, OBJ, STL or GLB")
    try:
        resolver = None if root is None else FilesWithin(path.parent, root)
        scene: Any = trimesh.load(path, force="scene", resolver=resolver)
        parts = [part for part in scene.dump() if isinstance(part, trimesh.Trimesh) and len(part.faces)]
    except Exception as error:  # parsers of a dozen formats fail in as many ways
        kind = path.suffix.lstrip(".").upper()
        raise CadError(
            f"CAD file {path} is damaged or no {kind} file: export it again (its reader says: {error})"
        ) from None
    if not parts:
        raise CadError(f"CAD file {path} has no triangles: export it as a mesh, not as points, curves or solids")
    triangles = sum(len(part.faces) for part in parts)
    if max_triangles is not None and triangles > max_triangles:
        raise CadError(f"CAD file {path} has {triangles} triangles; at most {max_triangles} are taken: simplify it")
    mesh = _joined(parts)
    mesh.apply_scale(METRES[units])
    _check(mesh, path, units)
    return mesh


class FilesWithin(Resolver):
    """Gives trimesh the files beside a CAD file that lie within `root`, once all links are followed, and no others."""

    def __init__(self, folder: Path, root: Path) -> None:
        self._folder = folder
        self._root = root.resolve()

    def get(self, key: str) -> bytes:
        """Raises FileNotFoundError."""
        path = (self._folder / key.strip()).resolve()
        if not path.is_relative_to(self._root) or not path.is_file():
            raise FileNotFoundError(f"'{key}' does not come with the CAD file")
        return path.read_bytes()

    def write(self, name: str, data: object) -> None:
        raise OSError("files beside a CAD file are only read")

    def namespaced(self, namespace: str) -> FilesWithin:
        return FilesWithin(self._folder / namespace, self._root)

    def keys(self) -> list[str]:
        return [file.name for file in self._folder.iterdir() if file.is_file()]


def sample_surface_m(mesh: trimesh.Trimesh, count: int = 2048, seed: int = 0) -> NDArray[np.float32]:
    """Points spread evenly over the surface, (count, 3) float32 in the mesh's frame; same seed, same points."""
    corners = np.asarray(mesh.triangles)
    sides = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    reach = np.cumsum(np.linalg.norm(sides, axis=1))
    random = np.random.default_rng(seed)
    # Evenly spaced along the area (with a random start) rather than at random: no part goes without points.
    at = (np.arange(count) + random.random(count)) / count * reach[-1]
    face = corners[np.minimum(np.searchsorted(reach, at, side="right"), len(corners) - 1)]
    first, second = random.random((2, count, 1))
    # Uniform on a triangle: Osada et al., Shape Distributions, 2002.
    root = np.sqrt(first)
    points = (1 - root) * face[:, 0] + root * (1 - second) * face[:, 1] + root * second * face[:, 2]
    return points.astype(np.float32)


def _joined(parts: list[trimesh.Trimesh]) -> trimesh.Trimesh:
    """One mesh of all parts with the colours that each has."""
    if len(parts) == 1:
        return parts[0]
    surfaces = [surface_of(part) for part in parts]
    if any(surface.texture is not None for surface in surfaces):
        return atlas_mesh(surfaces)
    corners = np.concatenate([surface.triangles_m for surface in surfaces]).reshape(-1, 3)
    colours = np.concatenate([surface.colours for surface in surfaces]).reshape(-1, 3)
    faces = np.arange(len(corners)).reshape(-1, 3)
    return trimesh.Trimesh(corners, faces, vertex_colors=np.rint(colours).astype(np.uint8), process=False)


def _check(mesh: trimesh.Trimesh, path: Path, units: str) -> None:
    corners = np.asarray(mesh.triangles)
    if not np.isfinite(corners).all():
        raise CadError(f"CAD file {path} has coordinates that are no numbers: export it again")
    if float(np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1).sum()) == 0:
        raise CadError(f"CAD file {path} has no surface: all its triangles are empty")
    size_m = float(np.linalg.norm(np.ptp(corners.reshape(-1, 3), axis=0)))
    if not SMALLEST_M <= size_m <= LARGEST_M:
        other = "m" if units == "mm" else "mm"
        raise CadError(
            f"CAD file {path} is {_length(size_m)} across when read in {units}: units mm or m? Perhaps it is in {other}"
        )


def _length(metres: float) -> str:
    return f"{metres * 1000:.3g} mm" if metres < 1 else f"{metres:.4g} m"
