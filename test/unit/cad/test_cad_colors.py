"""Colors and textures of CAD files as programs write them; where one cannot be had, one sentence says so."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from ism_ros.cad.companion_files import CompanionFiles
from ism_ros.cad.mesh_loading import CadError, CadModel, read_cad
from ism_ros.cad.referenced_files import referenced_files
from ism_ros.cad.surfaces import surface_of, texture_lookup

RED, GREEN = (255, 0, 0), (0, 255, 0)
BLUE_GRAY = (90, 120, 170)
SQUARE_V = ["v 0 0 0", "v 100 0 0", "v 100 100 0", "v 0 100 0"]
SQUARE_VT = ["vt 0 0", "vt 1 0", "vt 1 1", "vt 0 1"]
SQUARE_F = ["f 1/1 2/2 3/3", "f 1/1 3/3 4/4"]


def reasons(model: CadModel) -> list[str]:
    return [warning.reason for warning in model.warnings]


def colors_of(model: CadModel) -> list[tuple[int, ...]]:
    """Of the corners of each face, without repeats, as they are rendered."""
    surface = surface_of(model.mesh)
    rgb = surface.colors.reshape(-1, 3)
    if surface.texture is not None and surface.uv is not None:
        rgb = texture_lookup(surface.texture, surface.uv.reshape(-1, 3, 2).mean(axis=1))
    return sorted({tuple(map(int, row)) for row in np.rint(rgb)})


def picture(file: Path, color: tuple[int, int, int] = RED) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), color).save(file)


def obj(
    folder: Path, mtl: list[str] | None, head: tuple[str, ...] = ("mtllib a.mtl",), use: str = "usemtl skin"
) -> Path:
    """A square of 100 mm with uv; its material library holds `mtl`."""
    if mtl is not None:
        (folder / "a.mtl").write_text("\n".join(mtl) + "\n")
    (folder / "thing.obj").write_text("\n".join([*head, *SQUARE_V, *SQUARE_VT, use, *SQUARE_F]) + "\n")
    return folder / "thing.obj"


@pytest.mark.parametrize(
    "named",
    [
        "tex.png",
        "-s 1 1 1 -o 0 0 0 tex.png",
        "-clamp on -bm 0.5 -mm 0 1 tex.png",
        "textures\\tex.png",
        "TEX.PNG",
        "C:\\Users\\me\\Desktop\\tex.png",
        "/home/somebody/else/tex.png",
        "../nowhere/tex.png",
        '"tex.png"',
        "tex.jpg",
    ],
)
@pytest.mark.parametrize("lies", ["tex.png", "textures/tex.png"])
def test_a_texture_is_found_however_its_name_is_written(tmp_path: Path, named: str, lies: str) -> None:
    picture(tmp_path / lies)
    file = obj(tmp_path, ["newmtl skin", "Kd 1 1 1", f"map_Kd {named}"])
    model = read_cad(file, "mm")
    assert colors_of(model) == [RED]
    assert reasons(model) == []
    assert {path.name for path in referenced_files(file)} == {"a.mtl", "tex.png"}  # so that the cache sees it change


def test_a_name_with_spaces_is_a_name(tmp_path: Path) -> None:
    picture(tmp_path / "my nice tex.png")
    picture(tmp_path / "tex.png", GREEN)
    model = read_cad(obj(tmp_path, ["newmtl skin", "map_Kd my nice tex.png"]), "mm")
    assert colors_of(model) == [RED]


@pytest.mark.parametrize("use", ["", "usemtl skin", "usemtl SKIN "])
def test_the_only_material_is_used_by_any_name_or_none(tmp_path: Path, use: str) -> None:
    picture(tmp_path / "tex.png")
    model = read_cad(obj(tmp_path, ["newmtl skin", "map_Kd tex.png"], use=use), "mm")
    assert colors_of(model) == [RED]


@pytest.mark.parametrize("head", [("mtllib gone.mtl",), ()])
@pytest.mark.parametrize("stem", ["thing", "gone"])
def test_without_its_material_library_the_picture_of_the_same_name_is_taken(
    tmp_path: Path, head: tuple[str, ...], stem: str
) -> None:
    picture(tmp_path / f"{stem}.jpg", GREEN)
    model = read_cad(obj(tmp_path, None, head), "mm")
    is_found = stem == "thing" or bool(head)
    assert reasons(model) == ([] if is_found else ["no_colour"])
    assert (colors_of(model)[0][1] > 200) == is_found


@pytest.mark.parametrize(
    ("mtl", "missing"),
    [(None, "a.mtl"), (["newmtl skin", "map_Kd gone.png"], "gone.png"), (["newmtl skin", "map_Kd bad.png"], "bad.png")],
)
def test_what_cannot_be_found_or_read_is_named_in_one_sentence(
    tmp_path: Path, mtl: list[str] | None, missing: str
) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    (warning,) = read_cad(obj(tmp_path, mtl), "mm").warnings
    assert warning.reason == "texture_missing"
    assert f"'{missing}'" in warning.text
    assert "\n" not in warning.text
    assert str(tmp_path) not in warning.text  # a server's client need not know where it keeps files


def ply(folder: Path, comment: str, color: str = "", types: str = "uchar") -> Path:
    columns = [f"property {types} {name}" for name in ("red", "green", "blue")] if color else []
    lines = ["ply", "format ascii 1.0", comment, "element vertex 4", *(f"property float {axis}" for axis in "xyz")]
    lines += [*columns, "property float texture_u", "property float texture_v"]
    lines += ["element face 2", "property list uchar int vertex_indices", "end_header"]
    lines += [f"{x} {y} 0 {color} {x / 100} {y / 100}" for x, y in ((0, 0), (100, 0), (100, 100), (0, 100))]
    (folder / "thing.ply").write_text("\n".join([*lines, "3 0 1 2", "3 0 2 3", ""]))
    return folder / "thing.ply"


def test_a_ply_whose_texture_is_gone_is_no_traceback_and_keeps_its_vertex_colors(tmp_path: Path) -> None:
    model = read_cad(ply(tmp_path, "comment TextureFile nope.png", "90 120 170"), "mm")
    assert reasons(model) == ["texture_missing"]
    assert colors_of(model) == [BLUE_GRAY]
    assert reasons(read_cad(ply(tmp_path, "comment TextureFile nope.png"), "mm")) == ["texture_missing"]
    picture(tmp_path / "Nope.PNG")
    assert colors_of(read_cad(ply(tmp_path, "comment TextureFile nope.png", "90 120 170"), "mm")) == [RED]


@pytest.mark.parametrize(
    ("types", "color"),
    [
        ("uchar", "90 120 170"),
        ("float", "90 120 170"),
        ("float", "0.35294 0.47059 0.66667"),
        ("ushort", "23130 30840 43690"),
    ],
)
def test_colors_of_a_ply_are_read_in_whatever_numbers(tmp_path: Path, types: str, color: str) -> None:
    assert colors_of(read_cad(ply(tmp_path, "comment nothing", color, types), "mm")) == [BLUE_GRAY]


@pytest.mark.parametrize("suffix", ["ply", "obj", "glb"])
def test_vertices_of_different_colors_at_one_place_are_not_merged(tmp_path: Path, suffix: str) -> None:
    box = trimesh.creation.box((0.1, 0.06, 0.04))
    box = trimesh.Trimesh(box.triangles.reshape(-1, 3), np.arange(36).reshape(-1, 3), process=False)
    palette = [(200, 30, 30), (30, 200, 30), (30, 30, 200), (200, 200, 30), (30, 200, 200), BLUE_GRAY]
    box.visual.vertex_colors = np.repeat(palette, 6, axis=0)
    box.export(tmp_path / f"box.{suffix}")
    model = read_cad(tmp_path / f"box.{suffix}", "m")
    assert colors_of(model) == sorted(palette)
    assert reasons(model) == []


@pytest.mark.parametrize("scale", [1, 255])
def test_vertex_colors_of_an_obj_beat_a_plain_kd(tmp_path: Path, scale: int) -> None:
    (tmp_path / "a.mtl").write_text("newmtl skin\nKd 1 0 0\n")
    color = " ".join(f"{channel * scale / 255:.6f}" for channel in BLUE_GRAY)
    lines = ["mtllib a.mtl", *(f"{line} {color}" for line in SQUARE_V), "usemtl skin", "f 1 2 3", "f 1 3 4", ""]
    (tmp_path / "thing.obj").write_text("\n".join(lines))
    assert colors_of(read_cad(tmp_path / "thing.obj", "mm")) == [BLUE_GRAY]


def test_a_kd_alone_is_a_color(tmp_path: Path) -> None:
    model = read_cad(obj(tmp_path, ["newmtl skin", "Kd 0.353 0.4706 0.6667"]), "mm")
    assert colors_of(model) == [BLUE_GRAY]
    assert reasons(model) == []


def test_colors_of_gltf_are_linear(tmp_path: Path) -> None:
    share = np.array(BLUE_GRAY) / 255
    linear = ((share + 0.055) / 1.055) ** 2.4
    box = trimesh.creation.box((0.1, 0.06, 0.04))
    material = trimesh.visual.material.PBRMaterial(baseColorFactor=[*linear, 1.0])
    box.visual = trimesh.visual.TextureVisuals(material=material)
    box.export(tmp_path / "box.glb")
    assert np.abs(np.array(colors_of(read_cad(tmp_path / "box.glb", "m"))[0]) - BLUE_GRAY).max() <= 1


def test_a_gray_picture_of_16_bits_is_not_white(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8), 100 * 257, np.uint16)).save(tmp_path / "tex.png")
    assert colors_of(read_cad(obj(tmp_path, ["newmtl skin", "map_Kd tex.png"]), "mm")) == [(100, 100, 100)]


def stl(file: Path, header: bytes, attributes: list[int]) -> Path:
    triangles = trimesh.creation.box((100, 60, 40)).triangles[: len(attributes)]
    body = b"".join(
        np.zeros(3, "<f4").tobytes() + corners.astype("<f4").tobytes() + struct.pack("<H", attribute)
        for corners, attribute in zip(triangles, attributes, strict=True)
    )
    file.write_bytes(header.ljust(80, b"\0") + struct.pack("<I", len(attributes)) + body)
    return file


def test_both_kinds_of_colors_within_a_binary_stl_are_read(tmp_path: Path) -> None:
    red, blue = 0x8000 | 31 << 10, 0x8000 | 31
    assert colors_of(read_cad(stl(tmp_path / "a.stl", b"VisCAM", [red, blue]), "mm")) == [(0, 0, 255), RED]
    magics = b"COLOR=" + bytes([*BLUE_GRAY, 255])
    assert colors_of(read_cad(stl(tmp_path / "b.stl", magics, [31, 0x8000]), "mm")) == [BLUE_GRAY, RED]
    assert colors_of(read_cad(stl(tmp_path / "c.stl", magics, [0, 0]), "mm")) == [BLUE_GRAY]
    assert reasons(read_cad(stl(tmp_path / "d.stl", b"plain", [0, 0]), "mm")) == ["no_colour"]


def test_a_file_without_colors_says_so_and_takes_a_given_one(tmp_path: Path) -> None:
    file = stl(tmp_path / "part.stl", b"plain", [0] * 12)
    (warning,) = read_cad(file, "mm").warnings
    assert warning.reason == "no_colour"
    assert "color" in warning.text
    model = read_cad(file, "mm", color=BLUE_GRAY)
    assert colors_of(model) == [BLUE_GRAY]
    assert reasons(model) == []


@pytest.mark.parametrize(
    ("name", "word"), [("KHR_draco_mesh_compression", "Draco"), ("EXT_meshopt_compression", "meshopt")]
)
def test_a_compressed_gltf_names_its_compression(tmp_path: Path, name: str, word: str) -> None:
    tree = {
        "asset": {"version": "2.0"},
        "extensionsRequired": [name],
        "accessors": [{"componentType": 5126, "count": 3, "type": "VEC3"}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "extensions": {name: {}}}]}],
        "nodes": [{"mesh": 0}],
        "scenes": [{"nodes": [0]}],
    }
    (tmp_path / "part.gltf").write_text(json.dumps(tree))
    with pytest.raises(CadError, match=rf"part\.gltf is compressed with {word}, .* export it without compression"):
        read_cad(tmp_path / "part.gltf", "m")


@pytest.mark.parametrize(("units", "metres"), [("mm", 0.001), ("cm", 0.01), ("m", 1.0), ("inch", 0.0254)])
def test_every_unit_of_length_is_taken(tmp_path: Path, units: str, metres: float) -> None:
    trimesh.creation.box(np.array((0.1, 0.06, 0.04)) / metres).export(tmp_path / "box.ply")
    np.testing.assert_allclose(read_cad(tmp_path / "box.ply", units).mesh.extents, [0.1, 0.06, 0.04], rtol=1e-5)


@pytest.mark.parametrize(
    ("size", "units", "said"),
    [
        ((32, 20, 12), "m", r"32 x 20 x 12 m when read in m, .*: if its numbers are in mm \(39\.6 mm\)"),
        ((1.6, 1, 0.6), "mm", r"1\.6 x 1 x 0\.6 mm when read in mm, .* m \(1\.98 m\)"),
    ],
)
def test_a_size_that_no_camera_sees_is_doubted(
    tmp_path: Path, size: tuple[float, float, float], units: str, said: str
) -> None:
    box = trimesh.creation.box(size)
    box.visual.vertex_colors = [90, 120, 170, 255]
    box.export(tmp_path / "box.ply")
    (warning,) = read_cad(tmp_path / "box.ply", units).warnings
    assert warning.reason == "object_size"
    assert re.search(said, warning.text)


def test_nothing_outside_the_root_is_looked_at(tmp_path: Path) -> None:
    picture(tmp_path / "secret.png")
    upload = tmp_path / "upload"
    upload.mkdir()
    (upload / "link.png").symlink_to(tmp_path / "secret.png")
    for name in ("../secret.png", str(tmp_path / "secret.png"), "link.png", "secret.png"):
        file = obj(upload, ["newmtl skin", f"map_Kd {name}"])
        assert reasons(read_cad(file, "mm", root=upload)) == ["texture_missing"], name
        assert {path.name for path in referenced_files(file, upload)} == {"a.mtl"}
    assert CompanionFiles(upload / "thing.obj").find("../secret.png") is not None
