"""Torn meshes have their small holes filled; openings that are meant stay exactly as they are."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from ism_ros.cad.hole_filling import fill_small_holes
from ism_ros.cad.mesh_loading import read_cad
from ism_ros.cad.surfaces import surface_of
from ism_ros.rendering.template_renderer import render_templates
from ism_ros.rendering.templates import TemplateSet
from ism_ros.rendering.views.surface_samples import sample_surface
from ism_ros.rendering.views.viewpoints import object_to_camera_rotations

RED = (200, 30, 30, 255)


def sphere() -> trimesh.Trimesh:
    return trimesh.creation.icosphere(4, 0.05)


def thick_bowl() -> trimesh.Trimesh:
    """A bowl with an inner and an outer wall, closed."""
    radius = np.linspace(0.002, 0.05, 24)
    outer = np.stack([radius, 16 * radius**2], axis=1)
    inner = np.stack([0.9 * radius, 16 * radius**2 + 0.004 * (1.1 - radius / 0.05)], axis=1)[::-1]
    return trimesh.creation.revolve(np.concatenate([[[0, 0]], outer, inner, [[0, 0.0044]]]), sections=96)


def open_bowl() -> trimesh.Trimesh:
    """A single sheet, open at its top."""
    mesh = sphere()
    return with_faces(mesh, mesh.triangles_center[:, 2] < 0)


def open_box() -> trimesh.Trimesh:
    mesh = trimesh.creation.box((0.1, 0.06, 0.04))
    return with_faces(mesh, mesh.triangles_center[:, 2] < 0.019)


def square_sheet(cells: int = 40, is_hole: Callable[[np.ndarray], np.ndarray] | None = None) -> trimesh.Trimesh:
    """A flat sheet of 0.1 m, two triangles a cell, without the cells that `is_hole` names by row and column."""
    side = cells + 1
    grid = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).reshape(-1, 2)
    corner = np.arange(side * side).reshape(side, side)
    left, right, below, across = corner[:-1, :-1], corner[:-1, 1:], corner[1:, :-1], corner[1:, 1:]
    quads = np.stack([left, right, across, below], axis=-1).reshape(-1, 4)
    if is_hole is not None:
        cell = np.stack(np.divmod(np.arange(len(quads)), cells), axis=1)
        quads = quads[~is_hole(cell)]
    vertices = np.pad(grid * (0.1 / cells), ((0, 0), (0, 1)))
    return trimesh.Trimesh(vertices, np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]), process=False)


def plate_sheet() -> trimesh.Trimesh:
    """A perforated sheet: a square hole of one cell at every other one."""
    return square_sheet(is_hole=lambda cell: (cell % 2 == 1).all(axis=1))


def truss_sheet() -> trimesh.Trimesh:
    """Slim struts in a plane, with 128 triangles cut out between them, each by three edges."""
    size, strut = 8, 0.12
    corners, faces = [], []
    for row in range(size):
        for column in range(size):
            square = np.array([[column, row], [column + 1, row], [column + 1, row + 1], [column, row + 1]], float)
            for outline in (square[[0, 1, 2]], square[[0, 2, 3]]):
                hole = outline + strut * (outline.mean(axis=0) - outline)
                first = len(corners)
                corners += [*outline, *hole]
                for side in range(3):
                    after = (side + 1) % 3
                    faces += [[side, after, 3 + after], [side, 3 + after, 3 + side]]
                    faces[-2:] = [[first + corner for corner in face] for face in faces[-2:]]
    return trimesh.Trimesh(np.pad(np.array(corners) * 0.01, ((0, 0), (0, 1))), faces, process=False)


def nut() -> trimesh.Trimesh:
    return trimesh.creation.annulus(0.005, 0.01, 0.008, sections=6)


def pipe() -> trimesh.Trimesh:
    return trimesh.creation.revolve([[0.02, 0.0], [0.02, 0.1]], sections=32)


def lone_triangles() -> trimesh.Trimesh:
    """Faces that are 1 % smaller than those of a sphere, so that none touches another."""
    middles = sphere().triangles.mean(axis=1)[:, None]
    corners = middles + 0.99 * (sphere().triangles - middles)
    return trimesh.Trimesh(corners.reshape(-1, 3), np.arange(corners[..., 0].size).reshape(-1, 3), process=False)


def assembly() -> trimesh.Trimesh:
    """Thirty pieces of sheet side by side."""
    return trimesh.util.concatenate([square_sheet(1).apply_translation((0.2 * at, 0, 0)) for at in range(30)])


def cracked_patches() -> trimesh.Trimesh:
    """Bands of a cylinder of 24 and 48 sides in turn, whose edges meet at every other vertex."""
    bands = [
        trimesh.creation.revolve([[0.05, 0.01 * at], [0.05, 0.01 * (at + 1)]], sections=24 * (1 + at % 2))
        for at in range(8)
    ]
    return trimesh.util.concatenate(bands)


def with_faces(mesh: trimesh.Trimesh, kept: np.ndarray) -> trimesh.Trimesh:
    return trimesh.Trimesh(mesh.vertices, mesh.faces[kept], process=False)


def torn(mesh: trimesh.Trimesh, missing_ratio: float) -> trimesh.Trimesh:
    """The mesh without faces chosen at random."""
    return with_faces(mesh, np.random.default_rng(0).random(len(mesh.faces)) >= missing_ratio)


def views_of(mesh: trimesh.Trimesh) -> TemplateSet:
    return render_templates(mesh, size_px=160, samples=1, rotations=object_to_camera_rotations()[::5])


def group_count(mesh: trimesh.Trimesh, faces: np.ndarray) -> int:
    """How many groups edges join the given faces of a mesh to."""
    chosen = np.isin(mesh.face_adjacency, faces).all(axis=1)
    groups = trimesh.graph.connected_components(mesh.face_adjacency[chosen], nodes=faces)
    return len(groups)


@pytest.mark.parametrize("whole", [sphere(), thick_bowl()], ids=["sphere", "bowl"])
@pytest.mark.parametrize("missing_ratio", [0.03, 0.3, 0.5])
def test_a_torn_mesh_looks_like_the_whole_one(whole: trimesh.Trimesh, missing_ratio: float) -> None:
    mesh, filled = fill_small_holes(torn(whole, missing_ratio))
    assert filled is not None
    shown, expected = views_of(mesh), views_of(whole)
    both = shown.masks & expected.masks
    assert both.sum() > 0.99 * (shown.masks | expected.masks).sum()
    # nor does the far wall show through holes
    off_m = np.linalg.norm(shown.xyz_m - expected.xyz_m, axis=-1)[both]
    assert (off_m > 0.004).mean() < 0.02


def test_the_surface_is_sampled_everywhere() -> None:
    whole = sphere()
    mesh, _ = fill_small_holes(torn(whole, 0.4))
    views = views_of(mesh)
    assert views.rotations is not None
    surface = sample_surface(
        [*views.rgb], [*views.masks], [*views.xyz_m], views.rotations, np.zeros(3), views.rotations
    )
    assert surface is not None
    nearest_m = np.linalg.norm(whole.triangles_center[::20, None] - surface.points_m, axis=-1).min(axis=1)
    assert nearest_m.max() < 3 * surface.spacing_m


def test_each_hole_is_counted_once() -> None:
    whole = sphere()
    missing = np.random.default_rng(0).random(len(whole.faces)) < 0.05
    _, filled = fill_small_holes(with_faces(whole, ~missing))
    assert filled is not None
    assert filled.count == group_count(whole, np.flatnonzero(missing))
    assert filled.open_edge_ratio == pytest.approx(0.1, abs=0.02)


def test_the_rim_of_a_torn_open_bowl_stays_open() -> None:
    whole = open_bowl()
    mesh, filled = fill_small_holes(torn(whole, 0.1))
    assert filled is not None
    assert mesh.area < 1.03 * whole.area  # a lid would be half as large as the bowl


def test_the_given_faces_stay_as_they_are() -> None:
    before = torn(sphere(), 0.1)
    mesh, _ = fill_small_holes(before)
    np.testing.assert_array_equal(mesh.triangles[: len(before.faces)], before.triangles)


@pytest.mark.parametrize("kind", ["vertex", "face", "texture"])
def test_new_faces_have_the_color_of_their_neighbours(kind: str) -> None:
    mesh = torn(sphere(), 0.1)
    if kind == "vertex":
        mesh.visual = trimesh.visual.ColorVisuals(mesh, vertex_colors=np.tile(RED, (len(mesh.vertices), 1)))
    elif kind == "face":
        mesh.visual = trimesh.visual.ColorVisuals(mesh, face_colors=np.tile(RED, (len(mesh.faces), 1)))
    else:
        picture = Image.new("RGB", (8, 8), RED[:3])
        material = trimesh.visual.material.SimpleMaterial(image=picture)
        mesh.visual = trimesh.visual.TextureVisuals(uv=np.full((len(mesh.vertices), 2), 0.5), material=material)
    filled, _ = fill_small_holes(mesh)
    assert len(filled.faces) > len(mesh.faces)
    surface = surface_of(filled)
    if kind == "texture":
        assert surface.uv is not None
        assert surface.texture is not None
        np.testing.assert_allclose(surface.uv, 0.5)
    else:
        np.testing.assert_array_equal(surface.colors, np.broadcast_to(RED[:3], surface.colors.shape))


def test_a_torn_mesh_whose_vertices_are_split_is_filled_as_well() -> None:
    mesh = torn(sphere(), 0.1)
    split = trimesh.Trimesh(mesh.triangles.reshape(-1, 3), np.arange(mesh.faces.size).reshape(-1, 3), process=False)
    _, filled = fill_small_holes(split)
    _, expected = fill_small_holes(mesh)
    assert filled is not None
    assert filled == expected


@pytest.mark.parametrize(
    "mesh",
    [
        sphere(), thick_bowl(), open_bowl(), open_box(), square_sheet(), square_sheet(1), plate_sheet(), truss_sheet(),
        nut(), pipe(), lone_triangles(), assembly(), cracked_patches(),
    ],
    ids=[
        "sphere", "bowl", "open bowl", "open box", "sheet", "square", "perforated sheet", "truss", "nut", "pipe",
        "lone triangles", "assembly", "cracked patches",
    ],
)  # fmt: skip
def test_what_is_not_torn_is_left_exactly_as_it_is(mesh: trimesh.Trimesh) -> None:
    same, filled = fill_small_holes(mesh)
    assert same is mesh
    assert filled is None


def test_a_torn_cad_file_is_filled_and_doubted(tmp_path: Path) -> None:
    torn(sphere(), 0.1).export(tmp_path / "ball.ply")
    model = read_cad(tmp_path / "ball.ply", "m", color=RED[:3])
    (warning,) = model.warnings
    assert warning.reason == "torn_mesh"
    assert "small holes (19 % of its edges have a face on one side only)" in warning.text
    assert model.mesh.area == pytest.approx(sphere().area, rel=0.001)


def test_a_hundred_thousand_faces_take_seconds_at_most() -> None:
    mesh = torn(trimesh.creation.icosphere(6, 0.05), 0.1)
    start = time.process_time()
    fill_small_holes(mesh)
    assert time.process_time() - start < 4
