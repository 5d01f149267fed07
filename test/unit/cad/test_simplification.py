"""Meshes of very many triangles become smaller and look the same."""

from __future__ import annotations

import numpy as np
import trimesh

from ism_ros.cad.simplification import KEPT_TRIANGLES, MAX_TRIANGLES, simplify
from ism_ros.cad.surfaces import surface_of


def test_a_mesh_of_very_many_triangles_keeps_its_size_and_colors() -> None:
    mesh = trimesh.creation.icosphere(7, 0.05)
    assert len(mesh.faces) > MAX_TRIANGLES
    colors = np.where(mesh.vertices[:, :1] > 0, [200, 30, 30, 255], [30, 30, 200, 255])
    mesh.visual.vertex_colors = colors
    smaller = simplify(mesh)
    assert 20_000 < len(smaller.faces) <= KEPT_TRIANGLES
    np.testing.assert_allclose(smaller.extents, mesh.extents, rtol=0.01)
    surface = surface_of(smaller)
    right = surface.triangles_m[..., 0].min(axis=1) > 0.001
    np.testing.assert_allclose(surface.colors[right].reshape(-1, 3).mean(axis=0), [200, 30, 30], atol=2)


def test_other_meshes_are_left_as_they_are() -> None:
    mesh = trimesh.creation.box((0.1, 0.06, 0.04))
    assert simplify(mesh) is mesh
