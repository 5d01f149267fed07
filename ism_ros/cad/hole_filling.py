"""Small holes of torn meshes, which careless decimation and scanning leave by the hundred, found and filled.

Holes that are meant (of nuts, open boxes, perforated plates) have walls, or rims of many edges, and stay. Of a torn
mesh single faces are missing: holes of three edges that exactly one face of the usual size fills. A mesh that has many
of those is torn, and then its larger holes are filled as well, face by face from their rims, each with the vertex that
a Delaunay triangulation would take, as by ball pivoting (Bernardini et al., The ball-pivoting algorithm for surface
reconstruction, 1999). Loops are not followed, as those of a badly torn mesh meet in most of their vertices.

F faces, E open edges: those that only one face has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import trimesh
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

MIN_OPEN_EDGE_RATIO = 0.02
"""Least ratio of open edges to all edges of a torn mesh: one face in 150 is missing."""
MIN_MISSING_FACES = 10
"""Least number of holes that exactly one face fills in a torn mesh."""
MAX_SIZE_RATIO = 3.0
"""Area of a missing face at most, in areas of its largest neighbour; cut-outs between struts are larger."""
MIN_HEIGHT_RATIO = 0.2
"""Height of a missing face at least, in lengths of its longest side; cracks between patches are slimmer."""
_SAME_PLACE = 1e-6
"""Distance of vertices that are one, in diagonals of the mesh."""
_NEIGHBOURS = 12
"""Number of vertices near an open edge that are looked at."""
_MAX_ROUNDS = 12
"""Number of rounds of a stage at most, each of which adds faces to those of the one before."""
_MAX_OVERLAPPING_ROUNDS = 2
"""Number of rounds at most where faces may overlap, which would go on for long."""
_LAST_ROUND_RATIO = 0.02
"""Ratio of new faces to open edges below which a stage ends."""
_ON_FACE_RATIO = 0.35
"""Distance from a face below which something lies on it, in square roots of twice its area."""
_TINY = 1e-100
"""What is divided by instead of zero."""

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class FilledHoles:
    """What was filled of a torn mesh.

    Attributes:
        count: Number of holes.
        open_edge_ratio: Ratio of the edges that only one face had to all.
    """

    count: int
    open_edge_ratio: float

    @property
    def text(self) -> str:
        """A sentence that goes on after 'object NAME: '."""
        return (
            f"its CAD model is torn: it has {self.count:,} small holes ({100 * self.open_edge_ratio:.2g} % of its "
            "edges have a face on one side only), which are filled as well as may be: export it without decimation, or "
            "mend it in MeshLab or Blender"
        )


@dataclass(frozen=True)
class _Stage:
    """What new faces may be like.

    Attributes:
        bend_deg: Angle by which the surface bends at the open edge at most.
        radius_ratio: Radius of the circle through the corners at most, in median lengths of edges.
        may_overlap: Whether they may lie on others.
    """

    bend_deg: float
    radius_ratio: float
    may_overlap: bool = False


_STAGES = (_Stage(60.0, 2.0), _Stage(90.0, 3.0), _Stage(60.0, 3.0, may_overlap=True))
"""Flat ones come first, so that they stay in the sheet that they belong to where another lies close behind it; then
those around corners, and last what closes slits between the others. Openings that are larger than that stay."""


@dataclass(frozen=True)
class _Edges:
    """Edges of faces.

    Attributes:
        keys: (U,) sorted keys of the edges, each once, as of `_keys`.
        face_counts: (U,) number of faces that have it.
        ends: (E, 2) vertices of the open edges, in the order in which their face has them.
        faces: (E,) their faces.
        apexes: (E,) the third vertices of these.
    """

    keys: IntArray
    face_counts: IntArray
    ends: IntArray
    faces: IntArray
    apexes: IntArray

    def count_at(self, keys: IntArray) -> IntArray:
        """Return how many faces have the edges of these keys."""
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[at] == keys, self.face_counts[at], 0)


def fill_small_holes(mesh: trimesh.Trimesh) -> tuple[trimesh.Trimesh, FilledHoles | None]:
    """Fill the small holes of a torn mesh.

    Args:
        mesh: Of any kind, its vertices split along seams of textures or not.

    Returns:
        A new mesh, its first faces those of `mesh`, the others with colors of their neighbours, and what was filled;
        `mesh` itself and None where it is not torn.
    """
    points, faces, corners = _merged(mesh)
    edges = _edges_of(faces, len(points))
    ratio = float((edges.face_counts == 1).mean()) if len(edges.keys) else 0.0
    if ratio < MIN_OPEN_EDGE_RATIO or _missing_count(points, faces, edges) < MIN_MISSING_FACES:
        return mesh, None
    filled, beside = _filled(points, faces)
    new = filled[len(faces) :]
    return _with_faces(mesh, points[new], corners[new], beside), FilledHoles(_joined_count(new, len(points)), ratio)


def _merged(mesh: trimesh.Trimesh) -> tuple[FloatArray, IntArray, IntArray]:
    """Make one of vertices in the same place.

    Returns:
        Points (P, 3), the points of each face (F, 3), and a vertex of the mesh at each point (P,).
    """
    corners = np.asarray(mesh.triangles, np.float64).reshape(-1, 3)
    low = corners.min(axis=0)
    step = max(_SAME_PLACE * float(np.linalg.norm(corners.max(axis=0) - low)), _TINY)
    cells = np.rint((corners - low) / step).astype(np.int64)
    side = int(1 / _SAME_PLACE) + 2  # its cube fits into 64 bits
    _, first, place = np.unique(
        (cells[:, 0] * side + cells[:, 1]) * side + cells[:, 2], return_index=True, return_inverse=True
    )
    return corners[first], place.reshape(-1, 3).astype(np.int64), np.asarray(mesh.faces).reshape(-1)[first]


def _keys(first: IntArray, second: IntArray, point_count: int) -> IntArray:
    """Return a number for the edge between two points, whatever their order."""
    return np.minimum(first, second) * point_count + np.maximum(first, second)


def _edges_of(faces: IntArray, point_count: int) -> _Edges:
    """Collect the edges of faces (F, 3); those without area, two corners of which are one point, count for nothing."""
    rows = np.flatnonzero((faces != np.roll(faces, 1, axis=1)).all(axis=1))
    starts, ends, apexes = (np.roll(faces[rows], -shift, axis=1).reshape(-1) for shift in range(3))
    keys, first, counts = np.unique(_keys(starts, ends, point_count), return_index=True, return_counts=True)
    is_open = first[counts == 1]
    return _Edges(keys, counts, np.stack([starts, ends], axis=1)[is_open], rows[is_open // 3], apexes[is_open])


def _missing_count(points: FloatArray, faces: IntArray, edges: _Edges) -> int:
    """Count the holes that exactly one face fills, of about the size of its neighbours."""
    new, parents = _next_faces(points, edges, _STAGES[0], _median_length_m(points, faces))
    is_hole = (edges.count_at(_keys(new, np.roll(new, -1, axis=1), len(points))) == 1).all(axis=1)
    new, parents = new[is_hole], parents[is_hole]
    area, longest = _area_and_longest(points[new])
    area_beside, _ = _area_and_longest(points[faces[edges.faces[parents]]])
    is_missing = (2 * area > MIN_HEIGHT_RATIO * longest**2) & (area < MAX_SIZE_RATIO * area_beside)
    return len(np.unique(np.sort(new[is_missing], axis=1), axis=0))  # each is found from up to three edges


def _median_length_m(points: FloatArray, faces: IntArray) -> float:
    return float(np.median(np.linalg.norm(points[faces] - points[np.roll(faces, 1, axis=1)], axis=2)))


def _area_and_longest(triangles: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Compute areas and longest sides (N,) of triangles (N, 3, 3)."""
    sides = np.roll(triangles, -1, axis=1) - triangles
    area = np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]), axis=1) / 2
    return area, np.linalg.norm(sides, axis=2).max(axis=1, initial=0.0)


def _filled(points: FloatArray, faces: IntArray) -> tuple[IntArray, IntArray]:
    """Add faces at open edges until hardly any more fit.

    Returns:
        All faces (F + N, 3), the given ones first, and for each new one the face (N,) whose color it takes.
    """
    length_m = _median_length_m(points, faces)
    filled, beside = faces, np.arange(len(faces))
    for stage in _STAGES:
        for _ in range(_MAX_OVERLAPPING_ROUNDS if stage.may_overlap else _MAX_ROUNDS):
            edges = _edges_of(filled, len(points))
            new, parents = _next_faces(points, edges, stage, length_m)
            chosen = _compatible(points, new)
            if not stage.may_overlap:
                chosen = chosen[~_covered(points, filled, new[chosen])]
            filled = np.concatenate([filled, new[chosen]])
            beside = np.concatenate([beside, beside[edges.faces[parents[chosen]]]])
            if len(chosen) <= _LAST_ROUND_RATIO * len(edges.ends):
                break
    return filled, beside[len(faces) :]


def _next_faces(points: FloatArray, edges: _Edges, stage: _Stage, length_m: float) -> tuple[IntArray, IntArray]:
    """Choose a face for each open edge that one fits to.

    Of the vertices of open edges nearby it takes the one that closes a hole of three edges, else the one that sees the
    edge at the largest angle, as of a Delaunay triangulation.

    Args:
        points: (P, 3) metres.
        edges: Of the faces so far.
        stage: What new faces may be like.
        length_m: Median length of the edges.

    Returns:
        Faces (N, 3), wound as their neighbours, and the row of the open edge of each, (N,).
    """
    radius_m = stage.radius_ratio * length_m
    row, third = _candidates(points, edges, 2 * radius_m)
    starts, ends = edges.ends[row].T
    angle, circle_m, bend = _fit(points[starts], points[ends], points[edges.apexes[row]], points[third])
    fits = np.flatnonzero((circle_m < radius_m) & (bend < np.radians(stage.bend_deg)))
    sides = edges.count_at(_keys(third[fits, None], edges.ends[row[fits]], len(points)))
    # an edge that has two faces has no room for another
    is_free, is_hole = (sides < 2).all(axis=1), (sides == 1).all(axis=1)
    score = (angle[fits] + 2 * np.pi * is_hole)[is_free]
    row, third = row[fits[is_free]], third[fits[is_free]]
    order = np.lexsort([-score, row])
    best = order[np.diff(row[order], prepend=-1) > 0]
    row, third = row[best], third[best]
    return np.stack([edges.ends[row, 1], edges.ends[row, 0], third], axis=1), row


def _candidates(points: FloatArray, edges: _Edges, farthest_m: float) -> tuple[IntArray, IntArray]:
    """Find the vertices of open edges that lie near an open edge, on the side where it has no face.

    Returns:
        Rows of open edges (N,), and a vertex (N,) near each.
    """
    rims = np.unique(edges.ends)
    if len(rims) < 2:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    starts, ends = edges.ends.T
    middles = (points[starts] + points[ends]) / 2
    count = min(_NEIGHBOURS, len(rims))
    distance_m, near = cKDTree(points[rims]).query(middles, k=count, distance_upper_bound=farthest_m)
    row, column = np.nonzero(np.isfinite(distance_m))
    third = rims[near[row, column]]
    along, behind = points[ends] - points[starts], points[edges.apexes] - points[starts]
    outwards = _across(along, -behind)
    beyond = np.einsum("ij,ij->i", points[third] - points[starts[row]], outwards[row]) > 0
    is_other = (third != starts[row]) & (third != ends[row])
    return row[beyond & is_other], third[beyond & is_other]


def _across(along: FloatArray, vectors: FloatArray) -> FloatArray:
    """Return the part of vectors (N, 3) that is perpendicular to others."""
    share = np.einsum("ij,ij->i", vectors, along) / np.maximum(np.einsum("ij,ij->i", along, along), _TINY)
    return vectors - share[:, None] * along


def _fit(
    start: FloatArray, end: FloatArray, apex: FloatArray, third: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Describe triangles beyond an edge; all arguments (N, 3).

    Returns:
        Their angle opposite of the edge, the radius of the circle through their corners, and the angle to the triangle
        with the apex, 0 where both lie in a plane, each (N,).
    """
    beyond, behind = (_across(end - start, other - start) for other in (third, apex))
    height, height_behind = np.linalg.norm(beyond, axis=1), np.linalg.norm(behind, axis=1)
    to_start, to_end = start - third, end - third
    product = np.linalg.norm(to_start, axis=1) * np.linalg.norm(to_end, axis=1)
    cosine = np.einsum("ij,ij->i", to_start, to_end) / np.maximum(product, _TINY)
    straight = -np.einsum("ij,ij->i", beyond, behind) / np.maximum(height * height_behind, _TINY)
    return (
        np.arccos(np.clip(cosine, -1, 1)),
        product / np.maximum(2 * height, _TINY),
        np.arccos(np.clip(straight, -1, 1)),
    )


def _compatible(points: FloatArray, faces: IntArray) -> IntArray:
    """Choose of faces (N, 3) those that are the smallest of all that share an edge with them, each once."""
    rank = np.empty(len(faces), np.int64)
    rank[np.lexsort([*np.sort(faces, axis=1).T, _area_and_longest(points[faces])[1]])] = np.arange(len(faces))
    _, edge = np.unique(_keys(faces, np.roll(faces, -1, axis=1), len(points)), return_inverse=True)
    edge = edge.reshape(-1, 3)
    first = np.full(edge.size, len(faces))
    np.minimum.at(first, edge, rank[:, None])
    return np.flatnonzero((first[edge] == rank[:, None]).all(axis=1))


def _covered(points: FloatArray, faces: IntArray, new: IntArray) -> NDArray[np.bool_]:
    """Tell of new faces (N, 3) whether their middle lies on one of `faces`, or on one of `new` before them."""
    triangles = points[np.concatenate([faces, new])]
    middles = triangles.mean(axis=1)
    own = len(faces) + np.arange(len(new))
    _, near = cKDTree(middles).query(middles[own], k=min(_NEIGHBOURS, len(middles)))
    first, second, third = np.moveaxis(triangles[near], 2, 0)
    to_second, to_third, to_middle = second - first, third - first, middles[own, None] - first
    normal = np.cross(to_second, to_third)
    squared = np.maximum((normal**2).sum(axis=2), _TINY)
    along_second = (np.cross(to_middle, to_third) * normal).sum(axis=2) / squared
    along_third = (np.cross(to_second, to_middle) * normal).sum(axis=2) / squared
    is_inside = (along_second > 0) & (along_third > 0) & (along_second + along_third < 1)
    is_near = np.abs((to_middle * normal).sum(axis=2)) < _ON_FACE_RATIO * squared**0.75
    return np.asarray((is_inside & is_near & (near < own[:, None])).any(axis=1))


def _joined_count(faces: IntArray, point_count: int) -> int:
    """Count the groups of faces (N, 3) that edges join."""
    keys = _keys(faces, np.roll(faces, -1, axis=1), point_count).reshape(-1)
    order = np.argsort(keys, kind="stable")
    same = np.diff(keys[order]) == 0
    first, second = order[:-1][same] // 3, order[1:][same] // 3
    links = coo_matrix((np.ones(len(first), np.int8), (first, second)), shape=(len(faces), len(faces)))
    return int(connected_components(links, directed=False)[0])


def _with_faces(mesh: trimesh.Trimesh, triangles_m: FloatArray, corners: IntArray, beside: IntArray) -> trimesh.Trimesh:
    """Add triangles (N, 3, 3) to a mesh, colored as its vertices `corners` (N, 3) or its faces `beside` (N,)."""
    larger = trimesh.Trimesh(
        np.concatenate([mesh.vertices, triangles_m.reshape(-1, 3)]),
        np.concatenate([mesh.faces, len(mesh.vertices) + np.arange(corners.size).reshape(-1, 3)]),
        process=False,
    )
    visual: Any = mesh.visual
    if visual.kind == "vertex":
        colors = np.concatenate([visual.vertex_colors, visual.vertex_colors[corners.reshape(-1)]])
        larger.visual = trimesh.visual.ColorVisuals(larger, vertex_colors=colors)
    elif visual.kind == "face":
        colors = np.concatenate([visual.face_colors, visual.face_colors[beside]])
        larger.visual = trimesh.visual.ColorVisuals(larger, face_colors=colors)
    elif visual.kind == "texture":
        uv = visual.uv
        if uv is not None:
            uv = np.concatenate([uv, np.repeat(uv[mesh.faces[beside]].mean(axis=1), 3, axis=0)])
        larger.visual = trimesh.visual.TextureVisuals(uv=uv, material=visual.material)
    return larger
