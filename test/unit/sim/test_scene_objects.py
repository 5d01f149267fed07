"""Objects made by rule: plausible in size, closed enough, colored, and the same for the same seed."""

import numpy as np
import pytest
import trimesh

from ism_ros.cad.surfaces import surface_of
from ism_ros.sim.benchmark_scenes.objects.object_catalog import KINDS, export_cad, make_object


@pytest.mark.parametrize("kind", KINDS)
def test_objects_are_between_3_and_27_centimetres_long_and_centred(kind):
    for seed in range(3):
        mesh = make_object(kind, seed)
        assert 0.03 < mesh.extents.max() < 0.27
        assert mesh.extents.min() > 0.01
        np.testing.assert_allclose(mesh.bounds.mean(axis=0), 0, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_surfaces_face_outwards_and_stay_inside_their_hull(kind):
    mesh = make_object(kind, 1)
    # Parts pass through each other, which counts their overlap twice.
    assert 0 < mesh.volume < 1.3 * mesh.convex_hull.volume


@pytest.mark.parametrize("kind", KINDS)
def test_objects_have_at_least_two_colors(kind):
    surface = surface_of(make_object(kind, 0))
    colors = surface.colors if surface.texture is None else surface.texture
    brightness = np.asarray(colors, float).reshape(-1, 3)
    assert np.linalg.norm(brightness.std(axis=0)) > 5


def test_the_same_seed_makes_the_same_object_and_another_seed_another():
    first, again, other = make_object("mug", 4), make_object("mug", 4), make_object("mug", 5)
    np.testing.assert_array_equal(first.vertices, again.vertices)
    np.testing.assert_array_equal(first.visual.vertex_colors, again.visual.vertex_colors)
    assert first.extents.tolist() != other.extents.tolist()


def test_an_unknown_kind_is_refused_by_name():
    with pytest.raises(ValueError, match=r"teapot.*mug"):
        make_object("teapot", 0)


@pytest.mark.parametrize(("kind", "suffix"), [("mug", ".ply"), ("carton", ".glb")])
def test_cad_files_keep_size_and_color(kind, suffix, tmp_path):
    mesh = make_object(kind, 2)
    path = export_cad(mesh, tmp_path)
    assert path.name == f"{kind}_2{suffix}"
    read = trimesh.load(path, force="mesh")
    np.testing.assert_allclose(read.extents, mesh.extents, atol=1e-5)
    before, after = surface_of(mesh), surface_of(read)
    if before.texture is None:
        np.testing.assert_allclose(after.colors.mean(axis=(0, 1)), before.colors.mean(axis=(0, 1)), atol=2)
    else:
        np.testing.assert_array_equal(after.texture, before.texture)
