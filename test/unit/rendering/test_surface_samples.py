"""Samples of surfaces: on the surface, evenly spaced, with normals outwards, and nothing of what lies inside."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from scipy.spatial import cKDTree

from ism_ros.objects.template_builder import surface_of_object, views_of_object
from ism_ros.rendering.template_renderer import render_templates
from ism_ros.rendering.views.surface_samples import (
    SAMPLES,
    VIEW_SAMPLES,
    SurfaceSamples,
    sample_surface,
    seen_samples,
)
from ism_ros.sim.benchmark_scenes.objects.object_catalog import make_object


def surface_of_mesh(mesh: trimesh.Trimesh) -> SurfaceSamples:
    templates = render_templates(mesh, size_px=160, samples=1)
    views = views_of_object(None, templates)
    assert views is not None
    surface = surface_of_object(templates, views)
    assert surface is not None
    return surface


@pytest.fixture(scope="module")
def box() -> trimesh.Trimesh:
    """10 x 6 x 4 cm, away from the origin."""
    return trimesh.creation.box((0.10, 0.06, 0.04), trimesh.transformations.translation_matrix((0.3, -0.2, 0.1)))


@pytest.fixture(scope="module")
def of_box(box: trimesh.Trimesh) -> SurfaceSamples:
    return surface_of_mesh(box)


def test_samples_lie_on_the_surface_about_the_centre_of_the_model(
    box: trimesh.Trimesh, of_box: SurfaceSamples
) -> None:
    np.testing.assert_allclose(of_box.centre_m, (0.3, -0.2, 0.1), atol=1e-6)
    outside = np.abs(of_box.points_m) - (0.05, 0.03, 0.02)
    assert np.abs(outside.max(axis=1)).max() < 0.0005


def test_there_are_about_as_many_as_wanted_on_each_face_by_its_area(of_box: SurfaceSamples) -> None:
    assert 0.75 * SAMPLES < len(of_box.points_m) < 1.25 * SAMPLES
    area_cm2 = np.array([24.0, 40.0, 60.0])
    main = np.abs(of_box.normals).argmax(axis=1)
    sides = [(axis, sign) for axis in range(3) for sign in (-1, 1)]
    each = np.array([((main == axis) & (np.sign(of_box.normals[:, axis]) == sign)).sum() for axis, sign in sides])
    share = each / each.sum()
    np.testing.assert_allclose(share, np.repeat(area_cm2 / area_cm2.sum() / 2, 2), atol=0.03)


def test_samples_are_evenly_spaced(of_box: SurfaceSamples) -> None:
    tree = cKDTree(of_box.points_m)
    distance_m = tree.query(of_box.points_m, k=2)[0][:, 1]
    assert np.median(distance_m) == pytest.approx(of_box.spacing_m, rel=0.3)
    # no hole is wider than a few samples: from anywhere on the largest face the next one is near
    x, y = np.meshgrid(np.linspace(-0.045, 0.045, 40), np.linspace(-0.025, 0.025, 30))
    anywhere = np.stack([x, y, np.full_like(x, 0.02)], axis=2).reshape(-1, 3)
    assert tree.query(anywhere)[0].max() < 2.5 * of_box.spacing_m


def test_normals_are_unit_vectors_that_point_outwards(of_box: SurfaceSamples) -> None:
    np.testing.assert_allclose(np.linalg.norm(of_box.normals, axis=1), 1.0, atol=1e-5)
    face = (np.abs(of_box.points_m) / (0.05, 0.03, 0.02)).argmax(axis=1)
    rows = np.arange(len(face))
    outwards = of_box.normals[rows, face] * np.sign(of_box.points_m[rows, face])
    # next to an edge they are between those of its faces
    assert outwards.min() > 0
    assert np.quantile(outwards, 0.2) > 0.97


def test_normals_point_outwards_whatever_the_order_of_the_corners(box: trimesh.Trimesh) -> None:
    inverted = box.copy()
    inverted.invert()
    surface = surface_of_mesh(inverted)
    face = (np.abs(surface.points_m) / (0.05, 0.03, 0.02)).argmax(axis=1)
    rows = np.arange(len(face))
    assert (surface.normals[rows, face] * np.sign(surface.points_m[rows, face]) > 0).mean() > 0.99


def test_nothing_inside_a_closed_assembly_is_sampled() -> None:
    case, works = trimesh.creation.box((0.10, 0.08, 0.06)), trimesh.creation.icosphere(radius=0.02)
    surface = surface_of_mesh(trimesh.util.concatenate([case, works]))
    assert np.linalg.norm(surface.points_m, axis=1).min() > 0.028


def test_both_faces_of_a_sheet_are_sampled() -> None:
    sheet = surface_of_mesh(trimesh.creation.box((0.1, 0.1, 0.001)))
    up, down = (sheet.normals[:, 2] > 0.9).sum(), (sheet.normals[:, 2] < -0.9).sum()
    assert min(up, down) > 0.4 * len(sheet.points_m)


def test_colors_are_those_that_are_rendered() -> None:
    box = trimesh.creation.box((0.08, 0.08, 0.08))
    box.visual = trimesh.visual.ColorVisuals(box, face_colors=np.tile([200, 30, 30, 255], (12, 1)))
    colors = surface_of_mesh(box).colors
    assert ((colors >= 0) & (colors <= 1)).all()
    assert (colors[:, 0] > 2 * colors[:, 1]).mean() > 0.99


def test_a_view_shows_samples_that_face_it_and_that_nothing_hides() -> None:
    mug = surface_of_mesh(make_object("mug", 1))
    # from above: the rim, the inside and the ground of the mug, but not its outside below
    rotation = np.diag([1.0, -1.0, -1.0])
    chosen, is_rim = seen_samples(mug.points_m, mug.normals, mug.spacing_m, rotation)
    assert chosen.shape == is_rim.shape == (VIEW_SAMPLES,)
    assert (mug.normals[chosen, 2] > 0.04).all()
    assert 0.1 < is_rim.mean() < 0.9


def test_samples_at_the_rim_lie_at_the_outline_of_the_view(of_box: SurfaceSamples) -> None:
    chosen, is_rim = seen_samples(of_box.points_m, of_box.normals, of_box.spacing_m, np.eye(3))
    to_edge_m = (np.array([0.05, 0.03]) - np.abs(of_box.points_m[chosen, :2])).min(axis=1)
    assert to_edge_m[is_rim].max() < 4 * of_box.spacing_m
    assert to_edge_m[~is_rim].min() >= 0


def test_templates_that_show_no_surface_have_no_samples() -> None:
    nothing = np.zeros((32, 32), bool)
    xyz_m, rgb = np.zeros((32, 32, 3)), np.zeros((32, 32, 3), np.uint8)
    assert sample_surface([rgb], [nothing], [xyz_m], np.eye(3)[None], np.zeros(3), np.eye(3)[None]) is None


def test_templates_of_a_few_pixels_have_as_many_samples_some_more_than_once() -> None:
    box = trimesh.creation.box((0.10, 0.06, 0.04))
    templates = render_templates(box, size_px=16)
    views = views_of_object(None, templates)
    assert views is not None
    surface = surface_of_object(templates, views)
    assert surface is not None
    assert len(surface.points_m) == SAMPLES
    assert 0 < len(np.unique(surface.points_m, axis=0)) < SAMPLES
    assert np.isfinite(surface.normals).all()
