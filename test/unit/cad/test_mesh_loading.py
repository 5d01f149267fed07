"""CAD files of several formats, in metres, with their colors; and those that cannot be used."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from ism_ros.cad.mesh_loading import CadError, load_cad, sample_surface_m
from ism_ros.cad.referenced_files import referenced_files
from ism_ros.cad.surfaces import surface_of, texture_lookup

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def box_mm() -> trimesh.Trimesh:
    return trimesh.creation.box((100, 60, 40))


def textured_square(left: tuple[int, int, int], right: tuple[int, int, int], repeat: int = 1) -> trimesh.Trimesh:
    """A unit square in the x-y plane whose picture's left half has one color and whose right half another."""
    picture = np.zeros((8, 8, 3), dtype=np.uint8)
    picture[:, :4], picture[:, 4:] = left, right
    corners = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], dtype=float)
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=Image.fromarray(picture))
    visual = trimesh.visual.TextureVisuals(uv=corners[:, :2] * repeat, material=material)
    return trimesh.Trimesh(corners, [[0, 1, 2], [0, 2, 3]], visual=visual, process=False)


def color_at(mesh: trimesh.Trimesh, x: float, y: float, z: float) -> list[int]:
    """The color of the mesh at a point of its surface."""
    surface = surface_of(mesh)
    corners = surface.triangles_m.astype(float)
    weights = np.array([_weights(triangle, np.array([x, y, z])) for triangle in corners])
    face = int(weights.min(axis=1).argmax())
    assert weights[face].min() > -1e-6
    if surface.texture is None or surface.uv is None:
        return np.rint(weights[face] @ surface.colors[face]).astype(int).tolist()
    uv = (weights[face] @ surface.uv[face])[None].astype(np.float32)
    return np.rint(texture_lookup(surface.texture, uv)[0]).astype(int).tolist()


def _weights(triangle: np.ndarray, point: np.ndarray) -> np.ndarray:
    normal = np.cross(triangle[1] - triangle[0], triangle[2] - triangle[0])
    if abs((point - triangle[0]) @ normal) > 1e-6 * np.linalg.norm(normal):
        return np.full(3, -1.0)
    return np.linalg.lstsq(np.vstack([triangle.T, np.ones(3)]), [*point, 1], rcond=None)[0]


@pytest.mark.parametrize("suffix", ["ply", "obj", "stl", "glb", "off"])
def test_every_common_format_is_read(tmp_path: Path, suffix: str) -> None:
    box_mm().export(tmp_path / f"box.{suffix}")
    mesh = load_cad(tmp_path / f"box.{suffix}", "mm")
    np.testing.assert_allclose(mesh.extents, [0.1, 0.06, 0.04], rtol=1e-6)
    assert len(mesh.faces) == 12


def test_metres_stay_metres(tmp_path: Path) -> None:
    trimesh.creation.box((0.1, 0.06, 0.04)).export(tmp_path / "box.stl")
    np.testing.assert_allclose(load_cad(tmp_path / "box.stl", "m").extents, [0.1, 0.06, 0.04], rtol=1e-6)


@pytest.mark.parametrize("suffix", ["ply", "glb", "obj"])
def test_vertex_colors_are_kept(tmp_path: Path, suffix: str) -> None:
    mesh = box_mm()
    mesh.visual.vertex_colors = np.where(mesh.vertices[:, :1] > 0, [*RED, 255], [*GREEN, 255])
    mesh.export(tmp_path / f"box.{suffix}")
    loaded = load_cad(tmp_path / f"box.{suffix}", "mm")
    assert color_at(loaded, 0.05, 0.01, 0.005) == list(RED)
    assert color_at(loaded, -0.05, 0.01, 0.005) == list(GREEN)


def test_face_colors_are_kept(tmp_path: Path) -> None:
    mesh = box_mm()
    mesh.visual.face_colors = np.where(mesh.face_normals[:, :1] > 0.5, [*BLUE, 255], [*GREEN, 255])
    mesh.export(tmp_path / "box.ply")
    loaded = load_cad(tmp_path / "box.ply", "mm")
    assert color_at(loaded, 0.05, 0.01, 0.005) == list(BLUE)
    assert color_at(loaded, -0.05, 0.01, 0.005) == list(GREEN)


@pytest.mark.parametrize("suffix", ["glb", "obj"])
def test_a_texture_is_kept(tmp_path: Path, suffix: str) -> None:
    textured_square(RED, BLUE).export(tmp_path / f"square.{suffix}")
    loaded = load_cad(tmp_path / f"square.{suffix}", "m")
    assert color_at(loaded, 0.2, 0.7, 0) == list(RED)
    assert color_at(loaded, 0.8, 0.3, 0) == list(BLUE)


def test_the_texture_that_a_ply_names_is_kept(tmp_path: Path) -> None:
    Image.fromarray(np.array([[RED, BLUE]], dtype=np.uint8).repeat(8, 0).repeat(4, 1)).save(tmp_path / "skin.png")
    lines = ["ply", "format ascii 1.0", "comment TextureFile skin.png", "element vertex 4"]
    lines += [f"property float {name}" for name in ("x", "y", "z", "texture_u", "texture_v")]
    lines += ["element face 2", "property list uchar int vertex_indices", "end_header"]
    lines += ["0 0 0 0 0", "1 0 0 1 0", "1 1 0 1 1", "0 1 0 0 1", "3 0 1 2", "3 0 2 3", ""]
    (tmp_path / "square.ply").write_text("\n".join(lines))
    loaded = load_cad(tmp_path / "square.ply", "m")
    assert color_at(loaded, 0.2, 0.7, 0) == list(RED)
    assert color_at(loaded, 0.8, 0.3, 0) == list(BLUE)
    assert referenced_files(tmp_path / "square.ply") == (tmp_path / "skin.png",)


def test_parts_are_placed_as_the_scene_says_and_keep_their_own_textures(tmp_path: Path) -> None:
    scene = trimesh.Scene()
    scene.add_geometry(textured_square(RED, BLUE))
    scene.add_geometry(textured_square(GREEN, BLUE), transform=trimesh.transformations.translation_matrix([2, 0, 0]))
    scene.export(tmp_path / "two.glb")
    loaded = load_cad(tmp_path / "two.glb", "m")
    np.testing.assert_allclose(loaded.bounds, [[0, 0, 0], [3, 1, 0]], atol=1e-6)
    assert [color_at(loaded, x, 0.4, 0) for x in (0.2, 0.8, 2.2, 2.8)] == list(map(list, (RED, BLUE, GREEN, BLUE)))


def test_a_texture_beside_a_part_of_one_color_and_one_of_vertex_colors(tmp_path: Path) -> None:
    plain = textured_square(RED, RED)
    material = trimesh.visual.material.PBRMaterial(baseColorFactor=[*GREEN, 255])
    plain.visual = trimesh.visual.TextureVisuals(uv=plain.visual.uv, material=material)
    painted = textured_square(RED, RED)
    painted.visual = trimesh.visual.ColorVisuals(vertex_colors=[[0, 0, 0, 255], [200, 0, 0, 255]] * 2)
    scene = trimesh.Scene([textured_square(RED, BLUE)])
    scene.add_geometry(plain, transform=trimesh.transformations.translation_matrix([2, 0, 0]))
    scene.add_geometry(painted, transform=trimesh.transformations.translation_matrix([4, 0, 0]))
    scene.export(tmp_path / "three.glb")
    loaded = load_cad(tmp_path / "three.glb", "m")
    assert color_at(loaded, 0.8, 0.4, 0) == list(BLUE)
    assert color_at(loaded, 2.5, 0.5, 0) == list(GREEN)
    half_way = color_at(loaded, 4.5, 0.0, 0)
    assert abs(half_way[0] - 100) < 15
    assert half_way[1:] == [0, 0]


def test_a_repeating_texture_repeats_also_among_other_parts(tmp_path: Path) -> None:
    scene = trimesh.Scene([textured_square(RED, BLUE, repeat=3)])
    scene.add_geometry(textured_square(GREEN, GREEN), transform=trimesh.transformations.translation_matrix([2, 0, 0]))
    scene.export(tmp_path / "tiles.glb")
    loaded = load_cad(tmp_path / "tiles.glb", "m")
    seen = [color_at(loaded, (tile + share) / 3, 0.4, 0) for tile in range(3) for share in (0.25, 0.75)]
    assert seen == [list(RED), list(BLUE)] * 3


def test_what_has_no_color_is_gray(tmp_path: Path) -> None:
    box_mm().export(tmp_path / "box.stl")
    red, green, blue = color_at(load_cad(tmp_path / "box.stl", "mm"), 0.05, 0.01, 0.005)
    assert red == green == blue
    assert 100 < red < 200


def test_the_material_and_texture_of_an_obj_belong_to_it(tmp_path: Path) -> None:
    textured_square(RED, BLUE).export(tmp_path / "square.obj")
    assert {file.suffix for file in referenced_files(tmp_path / "square.obj")} == {".mtl", ".png"}


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CadError, match=r"mug\.ply does not exist"):
        load_cad(tmp_path / "mug.ply", "mm")


def test_a_folder_is_no_cad_file(tmp_path: Path) -> None:
    with pytest.raises(CadError, match="is not a file"):
        load_cad(tmp_path, "mm")


@pytest.mark.parametrize("name", ["notes.txt", "drawing"])
def test_a_format_that_nobody_reads(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("hello")
    with pytest.raises(CadError, match="no format that can be read; use PLY, OBJ, STL, GLB, DAE or 3MF"):
        load_cad(tmp_path / name, "mm")


@pytest.mark.parametrize("suffix", ["ply", "glb", "stl", "obj"])
@pytest.mark.parametrize("content", [b"", b"this is no mesh at all", bytes(range(256)) * 4])
def test_rubbish_inside(tmp_path: Path, suffix: str, content: bytes) -> None:
    (tmp_path / f"bad.{suffix}").write_bytes(content)
    with pytest.raises(CadError, match=rf"bad\.{suffix} (is damaged or no [A-Z]+ file|has no triangles)"):
        load_cad(tmp_path / f"bad.{suffix}", "mm")


@pytest.mark.parametrize("suffix", ["ply", "glb", "stl"])
def test_a_truncated_file(tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    whole = trimesh.creation.icosphere(2, 50).export(file_type=suffix)
    (tmp_path / f"cut.{suffix}").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CadError, match=rf"cut\.{suffix}"):
        load_cad(tmp_path / f"cut.{suffix}", "mm")


def test_points_without_triangles(tmp_path: Path) -> None:
    trimesh.PointCloud(np.eye(3)).export(tmp_path / "points.ply")
    with pytest.raises(CadError, match="has no triangles"):
        load_cad(tmp_path / "points.ply", "mm")


def test_unknown_units(tmp_path: Path) -> None:
    box_mm().export(tmp_path / "box.ply")
    with pytest.raises(CadError, match="units 'furlong' are unknown; choose mm, cm, m or inch"):
        load_cad(tmp_path / "box.ply", "furlong")


def test_millimetres_taken_for_metres_are_noticed(tmp_path: Path) -> None:
    box_mm().export(tmp_path / "box.ply")
    with pytest.raises(CadError, match=r"123 m across when read in m: perhaps it is in mm"):
        load_cad(tmp_path / "box.ply", "m")


def test_metres_taken_for_millimetres_are_noticed(tmp_path: Path) -> None:
    trimesh.creation.box((0.1, 0.06, 0.04)).export(tmp_path / "box.ply")
    with pytest.raises(CadError, match=r"0.123 mm across when read in mm: perhaps it is in m"):
        load_cad(tmp_path / "box.ply", "mm")


def test_points_lie_on_the_surface_and_are_the_same_every_time() -> None:
    mesh = trimesh.creation.icosphere(3, 0.05)
    points = sample_surface_m(mesh, 500, seed=3)
    assert points.shape == (500, 3)
    assert points.dtype == np.float32
    np.testing.assert_array_equal(points, sample_surface_m(mesh, 500, seed=3))
    radii = np.linalg.norm(points, axis=1)
    assert radii.min() > 0.0495
    assert radii.max() <= 0.05 + 1e-6
    assert len(np.unique(points, axis=0)) == 500


def test_points_are_spread_by_area() -> None:
    mesh = trimesh.creation.box((1.0, 1.0, 0.01))
    points = sample_surface_m(mesh, 1000)
    on_large_sides = np.abs(np.abs(points[:, 2]) - 0.005) < 1e-6
    assert on_large_sides.mean() == pytest.approx(2 / 2.04, abs=0.01)
    assert np.abs(points[on_large_sides, :2].mean(axis=0)).max() < 0.05
