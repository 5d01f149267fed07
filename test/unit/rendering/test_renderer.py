"""Pictures of meshes: geometry to the pixel, colors as given, two renderers that agree."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import trimesh
from PIL import Image

from ism_ros.cad.surfaces import surface_of
from ism_ros.data.camera import Camera
from ism_ros.rendering.rasterizer import Rasterizer
from ism_ros.rendering.ray_tracer import RayTracer
from ism_ros.rendering.renderer import View, render
from ism_ros.rendering.scene import Lighting, create_tracer
from ism_ros.rendering.template_renderer import render_templates
from ism_ros.rendering.templates import TemplateSet
from ism_ros.rendering.views.viewpoints import object_to_camera_rotations

CAMERA = Camera(np.array([[300.0, 0, 79.5], [0, 300, 59.5], [0, 0, 1]]), 160, 120)
FLAT_LIGHT = Lighting(ambient=1.0, headlight=0.0)


def placed(x: float = 0, y: float = 0, z: float = 1, euler_deg: tuple[float, float, float] = (0, 0, 0)) -> np.ndarray:
    pose = trimesh.transformations.euler_matrix(*np.radians(euler_deg))
    pose[:3, 3] = x, y, z
    return pose


def colored(mesh: trimesh.Trimesh, rgb: tuple[int, int, int]) -> trimesh.Trimesh:
    mesh.visual.face_colors = [*rgb, 255]
    return mesh


@pytest.fixture(params=[RayTracer, Rasterizer])
def tracer(request: pytest.FixtureRequest) -> Any:
    """Both ways of finding what a pixel shows; every test that uses this holds for either."""
    return request.param


def test_a_plane_is_as_far_as_it_is(tracer: Any) -> None:
    plane = trimesh.creation.box((0.2, 0.1, 0.02))
    view = render([plane], [placed(z=0.51)], CAMERA, tracer=tracer)
    assert view.depth_m.dtype == np.float32
    assert view.depth_m.shape == (120, 160)
    np.testing.assert_allclose(view.depth_m[view.instance == 0], 0.5, atol=1e-6)
    assert (view.depth_m[view.instance == -1] == 0).all()


def test_pixel_centres_lie_at_whole_numbers(tracer: Any) -> None:
    # At 0.5 m and 300 px, x from -0.1 to 0.1 m reaches from column 79.5 - 60 to 79.5 + 60; y half as far.
    view = render([trimesh.creation.box((0.2, 0.1, 0.02))], [placed(z=0.51)], CAMERA, tracer=tracer)
    rows, columns = np.nonzero(view.instance == 0)
    assert (columns.min(), columns.max()) == (20, 139)
    assert (rows.min(), rows.max()) == (30, 89)


def test_depth_is_along_the_optical_axis_not_along_the_ray(tracer: Any) -> None:
    view = render([trimesh.creation.box((9, 9, 1))], [placed(z=2.5)], CAMERA, tracer=tracer)
    np.testing.assert_allclose(view.depth_m, 2.0, atol=1e-5)


def test_points_seen_are_given_in_the_frame_of_their_own_mesh(tracer: Any) -> None:
    mesh = trimesh.creation.icosphere(3, 0.08)
    mesh.apply_translation([0.3, -0.2, 0.1])
    pose = placed(0.02, 0.03, 0.7, (40, -20, 65))
    pose[:3, 3] -= pose[:3, :3] @ [0.3, -0.2, 0.1]
    view = render([mesh], [pose], CAMERA, tracer=tracer)
    v, u = np.nonzero(view.instance == 0)
    in_camera = view.xyz_m[v, u] @ pose[:3, :3].T + pose[:3, 3]
    np.testing.assert_allclose(in_camera[:, 2], view.depth_m[v, u], atol=2e-6)
    np.testing.assert_allclose(in_camera[:, 0] / in_camera[:, 2] * 300 + 79.5, u, atol=1e-3)
    np.testing.assert_allclose(in_camera[:, 1] / in_camera[:, 2] * 300 + 59.5, v, atol=1e-3)
    assert (view.xyz_m[view.instance < 0] == 0).all()


def test_the_nearer_mesh_hides_the_farther(tracer: Any) -> None:
    near, far = trimesh.creation.box((0.1, 0.1, 0.1)), trimesh.creation.box((0.4, 0.3, 0.1))
    view = render([far, near], [placed(z=1.0), placed(z=0.6)], CAMERA, tracer=tracer)
    assert view.instance[60, 80] == 1
    assert view.instance[60, 30] == 0
    assert view.instance[2, 2] == -1
    assert view.depth_m[60, 80] == pytest.approx(0.55)


def test_nothing_behind_the_camera_is_seen(tracer: Any) -> None:
    view = render([trimesh.creation.box((0.1, 0.1, 0.1))], [placed(z=-0.5)], CAMERA, tracer=tracer)
    assert (view.instance == -1).all()
    assert (view.rgb == 0).all()


def test_a_floor_that_reaches_behind_the_camera_is_seen_to_its_near_edge(tracer: Any) -> None:
    floor = trimesh.Trimesh([[-5, 0.1, -5], [5, 0.1, -5], [5, 0.1, 5], [-5, 0.1, 5]], [[0, 1, 2], [0, 2, 3]])
    view = render([floor], [np.eye(4)], CAMERA, tracer=tracer)
    rows = np.arange(120)
    below = 300 * 0.1 / (rows - 59.5)
    expected = np.where((rows > 59.5) & (below < 5), below, 0)
    np.testing.assert_allclose(view.depth_m, np.tile(expected[:, None], (1, 160)), atol=1e-4)


def test_no_mesh_gives_the_background() -> None:
    view = render([], [], CAMERA, background=(10, 20, 30))
    assert (view.rgb == (10, 20, 30)).all()
    assert (view.instance == -1).all()


def test_the_background_may_be_a_picture() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8)
    view = render([trimesh.creation.box((0.05, 0.05, 0.05))], [placed()], CAMERA, background=picture)
    far_from_edges = np.ones((120, 160), bool)
    far_from_edges[48:72, 68:92] = False
    np.testing.assert_array_equal(view.rgb[far_from_edges], picture[far_from_edges])


def test_each_mesh_needs_a_pose() -> None:
    with pytest.raises(ValueError, match="2 meshes but 1 poses"):
        render([trimesh.creation.box(), trimesh.creation.box()], [np.eye(4)], CAMERA)


def test_face_colors_come_out_under_flat_light(tracer: Any) -> None:
    box = colored(trimesh.creation.box((0.1, 0.1, 0.1)), (200, 100, 50))
    view = render([box], [placed()], CAMERA, tracer=tracer, lighting=FLAT_LIGHT)
    assert (view.rgb[60, 80] == (200, 100, 50)).all()


def test_vertex_colors_blend_across_a_triangle(tracer: Any) -> None:
    square = trimesh.Trimesh([[-0.1, -0.1, 0], [0.1, -0.1, 0], [0.1, 0.1, 0], [-0.1, 0.1, 0]], [[0, 1, 2], [0, 2, 3]])
    square.visual.vertex_colors = [[0, 0, 0, 255], [200, 0, 0, 255], [200, 0, 0, 255], [0, 0, 0, 255]]
    view = render([square], [placed()], CAMERA, tracer=tracer, lighting=FLAT_LIGHT)
    columns = np.arange(52, 108)
    np.testing.assert_allclose(view.rgb[60, 52:108, 0], 200 * ((columns - 79.5) / 300 + 0.1) / 0.2, atol=1)


def test_a_texture_is_looked_up_upright(tracer: Any) -> None:
    picture = np.zeros((16, 16, 3), np.uint8)
    picture[:8, :8] = (255, 0, 0)  # upper left in the picture
    picture[8:, 8:] = (0, 0, 255)
    corners = np.array([[-0.1, 0.1, 0], [0.1, 0.1, 0], [0.1, -0.1, 0], [-0.1, -0.1, 0]])  # y points down
    visual = trimesh.visual.TextureVisuals(uv=[[0, 0], [1, 0], [1, 1], [0, 1]], image=Image.fromarray(picture))
    square = trimesh.Trimesh(corners, [[0, 1, 2], [0, 2, 3]], visual=visual, process=False)
    view = render([square], [placed()], CAMERA, tracer=tracer, lighting=FLAT_LIGHT)
    assert [view.rgb[y, x].tolist() for y in (45, 75) for x in (65, 95)] == [
        [255, 0, 0],
        [0, 0, 0],
        [0, 0, 0],
        [0, 0, 255],
    ]


def test_shape_shows_on_a_part_without_colors(tracer: Any) -> None:
    view = render([trimesh.creation.icosphere(3, 0.1)], [placed(z=0.6)], CAMERA, tracer=tracer)
    brightness = view.rgb[..., 0].astype(int)
    assert brightness[60, 80] - brightness[60, 80 - 47] > 50
    turned = placed(euler_deg=(30, 30, 0))
    cube = render([trimesh.creation.box((0.1, 0.1, 0.1))], [turned], CAMERA, tracer=tracer, samples=1)
    assert len({tuple(color) for color in cube.rgb[cube.instance == 0] // 8}) >= 3


def test_round_is_smooth_and_edges_are_sharp() -> None:
    surface = surface_of(trimesh.creation.cylinder(0.05, 0.1, sections=32))
    side = np.abs(surface.face_normals[:, 2]) < 0.5
    radial = surface.triangles_m[side][..., :2] / np.linalg.norm(
        surface.triangles_m[side][..., :2], axis=2, keepdims=True
    )
    np.testing.assert_allclose(np.einsum("fki,fki->fk", surface.normals[side][..., :2], radial), 1, atol=0.01)
    np.testing.assert_allclose(np.abs(surface.normals[~side][..., 2]), 1, atol=1e-5)


def test_a_file_that_winds_its_triangles_the_wrong_way_looks_the_same(tracer: Any) -> None:
    mesh = trimesh.creation.icosphere(2, 0.1)
    turned = trimesh.Trimesh(mesh.vertices, mesh.faces[:, ::-1])
    first, second = (render([m], [placed(z=0.6)], CAMERA, tracer=tracer) for m in (mesh, turned))
    np.testing.assert_allclose(first.rgb.astype(int), second.rgb.astype(int), atol=2)


def test_the_sun_casts_a_shadow(tracer: Any) -> None:
    wall, post = trimesh.creation.box((2, 2, 0.02)), trimesh.creation.box((0.05, 0.05, 0.05))
    sun = Lighting(ambient=0.3, headlight=0.0, sun=0.7, sun_direction=(1, 0, 1))
    poses = [placed(z=1.0), placed(x=-0.1, z=0.8)]
    lit = render([wall, post], poses, CAMERA, tracer=tracer, lighting=sun)
    no_shadows = Lighting(0.3, 0.0, 0.7, (1, 0, 1), shadows=False)
    unlit = render([wall, post], poses, CAMERA, tracer=tracer, lighting=no_shadows)
    darker = unlit.rgb[..., 0].astype(int) - lit.rgb[..., 0] > 30
    # The post at x = -0.1 and 0.19 m before the wall throws its shadow on the wall at about x = 0.09.
    v, u = np.nonzero(darker & (lit.instance == 0))
    assert u.mean() == pytest.approx(79.5 + 300 * 0.09 / 0.99, abs=4)
    assert v.mean() == pytest.approx(59.5, abs=2)
    assert not darker[:, 130:].any()


def test_edges_are_smoothed_only_where_asked(tracer: Any) -> None:
    box = colored(trimesh.creation.box((0.1, 0.1, 0.1)), (240, 240, 240))
    pose = placed(euler_deg=(0, 0, 20))
    rough, smooth = (render([box], [pose], CAMERA, tracer=tracer, lighting=FLAT_LIGHT, samples=n) for n in (1, 3))
    assert set(np.unique(rough.rgb)) == {0, 240}
    assert len(np.unique(smooth.rgb)) > 5
    np.testing.assert_array_equal(rough.depth_m, smooth.depth_m)
    np.testing.assert_array_equal(rough.instance, smooth.instance)


def test_both_renderers_see_the_same_scene(monkeypatch: pytest.MonkeyPatch) -> None:
    meshes = [
        trimesh.creation.box((2, 2, 0.01)),
        colored(trimesh.creation.torus(0.06, 0.02), (200, 60, 60)),
        colored(trimesh.creation.cylinder(0.04, 0.15), (60, 200, 60)),
        trimesh.creation.icosphere(3, 0.06),
    ]
    poses = [
        placed(y=0.1, z=0.9, euler_deg=(120, 0, 0)),
        placed(z=0.6, euler_deg=(30, 40, 0)),
        placed(-0.12, 0.02, 0.65, (80, 20, 10)),
        placed(0.1, 0.03, 0.55),
    ]
    views: list[View] = []
    for tracer in (RayTracer, Rasterizer):
        views.append(render(meshes, poses, CAMERA, tracer=tracer))
    traced, rastered = views
    for index in range(len(meshes)):
        a, b = traced.instance == index, rastered.instance == index
        assert (a & b).sum() / (a | b).sum() > 0.99
    both = (traced.instance == rastered.instance) & (traced.instance >= 0)
    assert np.abs(traced.depth_m - rastered.depth_m)[both].max() < 1e-4
    assert np.abs(traced.xyz_m - rastered.xyz_m)[both].max() < 1e-3
    assert np.abs(traced.rgb.astype(int) - rastered.rgb)[both].mean() < 0.5


def test_without_embree_the_rasteriser_takes_over(monkeypatch: pytest.MonkeyPatch) -> None:
    triangles = surface_of(trimesh.creation.box()).triangles_m
    assert isinstance(create_tracer(triangles), RayTracer)
    monkeypatch.setitem(sys.modules, "embreex", None)  # as if it were not installed
    assert isinstance(create_tracer(triangles), Rasterizer)


@pytest.fixture(scope="module")
def shoe() -> trimesh.Trimesh:
    """Something long and thin, far from its origin."""
    heel, sole = trimesh.creation.cylinder(0.02, 0.06), trimesh.creation.box((0.25, 0.05, 0.02))
    heel.apply_translation([-0.1, 0, 0.03])
    joined = trimesh.util.concatenate([heel, sole])
    joined.apply_translation([0.4, 0.2, -0.3])
    return joined


@pytest.fixture(scope="module")
def templates(shoe: trimesh.Trimesh) -> TemplateSet:
    return render_templates(shoe, size_px=96)


def test_42_templates_in_the_order_of_the_viewpoints(templates: TemplateSet) -> None:
    assert templates.rgb.shape == (42, 96, 96, 3)
    assert templates.masks.shape == (42, 96, 96)
    assert templates.rotations is not None
    np.testing.assert_allclose(templates.rotations, object_to_camera_rotations())


def test_the_object_fills_every_template_and_is_cut_off_in_none(templates: TemplateSet) -> None:
    for mask in templates.masks:
        rows, columns = np.nonzero(mask)
        assert min(rows.min(), columns.min()) >= 2
        assert max(rows.max(), columns.max()) <= 93
        assert max(np.ptp(rows), np.ptp(columns)) >= 84


def test_template_poses_and_intrinsics_project_each_point_to_its_pixel(templates: TemplateSet) -> None:
    assert templates.rotations is not None
    assert templates.translations_m is not None
    assert templates.intrinsics is not None
    for index in range(42):
        v, u = np.nonzero(templates.masks[index])
        in_camera = templates.xyz_m[index][v, u] @ templates.rotations[index].T + templates.translations_m[index]
        projected = in_camera @ templates.intrinsics[index].T
        np.testing.assert_allclose(projected[:, 0] / projected[:, 2], u, atol=0.01)
        np.testing.assert_allclose(projected[:, 1] / projected[:, 2], v, atol=0.01)


def test_templates_are_black_outside_the_object(templates: TemplateSet) -> None:
    outside = ~templates.masks
    outside[:, 1:] &= ~templates.masks[:, :-1]
    outside[:, :-1] &= ~templates.masks[:, 1:]
    outside[:, :, 1:] &= ~templates.masks[:, :, :-1]
    outside[:, :, :-1] &= ~templates.masks[:, :, 1:]
    assert (templates.rgb[outside] == 0).all()
    assert (templates.xyz_m[~templates.masks] == 0).all()


def test_progress_is_told_view_by_view(shoe: trimesh.Trimesh) -> None:
    told: list[tuple[int, int]] = []
    render_templates(shoe, size_px=32, progress=lambda done, total: told.append((done, total)))
    assert told == [(view, 42) for view in range(1, 43)]


def test_both_renderers_make_the_same_templates(shoe: trimesh.Trimesh, templates: TemplateSet) -> None:
    rastered = render_templates(shoe, size_px=96, tracer=Rasterizer)
    for first, second in zip(templates.masks, rastered.masks, strict=True):
        assert (first & second).sum() / (first | second).sum() > 0.99
    both = templates.masks & rastered.masks
    assert np.quantile(np.abs(templates.xyz_m - rastered.xyz_m)[both], 0.999) < 1e-4
    assert np.abs(templates.rgb.astype(int) - rastered.rgb).mean() < 0.5
