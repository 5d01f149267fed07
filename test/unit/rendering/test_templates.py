"""Template folders: written whole, read back, those of the reference tool too, and broken ones refused by name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from PIL import Image

from ism_ros.rendering.template_renderer import render_templates
from ism_ros.rendering.templates import TemplateError, TemplateSet, contact_sheet, read_templates, write_templates
from ism_ros.rendering.views.viewpoints import object_to_camera_rotations


def made_up(count: int = 42, height: int = 20, width: int = 24) -> TemplateSet:
    random = np.random.default_rng(count)
    masks = np.zeros((count, height, width), dtype=bool)
    masks[:, 4:15, 5:20] = True
    rgb = random.integers(0, 256, (count, height, width, 3), dtype=np.uint8)
    xyz_m = (random.uniform(-0.1, 0.1, (count, height, width, 3)) * masks[..., None]).astype(np.float32)
    rotations = np.tile(object_to_camera_rotations()[7], (count, 1, 1))
    return TemplateSet(
        rgb, masks, xyz_m, rotations, random.uniform(-1, 1, (count, 3)), np.tile(np.eye(3) * 9, (count, 1, 1))
    )


def test_depth_of_templates_is_in_their_pixels_whatever_the_size_of_the_object() -> None:
    small = render_templates(trimesh.creation.box((0.05, 0.05, 0.05)), size_px=64, samples=1)
    large = render_templates(trimesh.creation.box((0.5, 0.5, 0.5)), size_px=64, samples=1)
    assert small.depth_px is not None
    assert large.depth_px is not None
    np.testing.assert_array_equal(small.depth_px > 0, small.masks)
    np.testing.assert_allclose(small.depth_px, large.depth_px, atol=0.05)
    assert 10 < small.depth_px.max() < 64


def test_templates_without_poses_have_no_depth() -> None:
    assert replace(made_up(5), rotations=None).depth_px is None


def write_like_the_reference(folder: Path, count: int = 42, size: int = 16) -> np.ndarray:
    """rgb_i.png with alpha, mask_i.png of 0 and 255, xyz_i.npy in millimetres as float16; returns xyz (T, H, W, 3)."""
    folder.mkdir()
    random = np.random.default_rng(1)
    mask = np.zeros((size, size), dtype=np.uint8)
    mask[3:12, 4:13] = 255
    xyz_mm = (random.uniform(-80, 80, (count, size, size, 3)) * (mask[..., None] > 0)).astype(np.float16)
    for index in range(count):
        picture = random.integers(0, 256, (size, size, 4), dtype=np.uint8)
        Image.fromarray(picture, "RGBA").save(folder / f"rgb_{index}.png")
        Image.fromarray(mask).save(folder / f"mask_{index}.png")
        np.save(folder / f"xyz_{index}.npy", xyz_mm[index])
    return xyz_mm


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_templates(tmp_path / "mug", made_up(9))
    return tmp_path / "mug"


def refused(folder: Path) -> str:
    with pytest.raises(TemplateError) as caught:
        read_templates(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    before = made_up(5)
    write_templates(tmp_path / "mug", before)
    after = read_templates(tmp_path / "mug")
    np.testing.assert_array_equal(after.rgb, before.rgb)
    np.testing.assert_array_equal(after.masks, before.masks)
    np.testing.assert_allclose(after.xyz_m, before.xyz_m, atol=5e-5)  # float16 millimetres
    for field in ("rotations", "translations_m", "intrinsics"):
        np.testing.assert_allclose(getattr(after, field), getattr(before, field), atol=1e-6)


def test_the_files_are_those_that_sam6d_reads(folder: Path) -> None:
    kinds = {
        f"{kind}_{index}.{suffix}"
        for kind, suffix in (("rgb", "png"), ("mask", "png"), ("xyz", "npy"))
        for index in range(9)
    }
    assert {file.name for file in folder.iterdir()} == kinds | {"poses.npy", "templates.json", "templates.png"}
    assert set(np.unique(np.asarray(Image.open(folder / "mask_0.png")))) == {0, 255}
    xyz_mm = np.load(folder / "xyz_0.npy")
    assert 10 < np.abs(xyz_mm).max() <= 100
    assert np.load(folder / "poses.npy").shape == (9, 4, 4)


def test_templates_json_says_where_they_come_from(tmp_path: Path) -> None:
    write_templates(tmp_path / "mug", made_up(2), {"cad": "mug.ply"})
    about = json.loads((tmp_path / "mug" / "templates.json").read_text())
    assert (about["cad"], about["xyz_units"], about["templates"], about["format_version"]) == ("mug.ply", "mm", 2, 1)


def test_a_folder_of_the_reference_tool_is_read(tmp_path: Path) -> None:
    xyz_mm = write_like_the_reference(tmp_path / "templates")
    templates = read_templates(tmp_path / "templates")
    assert templates.rgb.shape == (42, 16, 16, 3)
    assert templates.masks.sum() == 42 * 81
    np.testing.assert_allclose(templates.xyz_m, xyz_mm.astype(np.float32) / 1000, atol=1e-6)


def test_42_templates_without_poses_are_those_of_the_icosphere(tmp_path: Path) -> None:
    write_like_the_reference(tmp_path / "templates")
    templates = read_templates(tmp_path / "templates")
    np.testing.assert_allclose(templates.rotations, object_to_camera_rotations())  # type: ignore[arg-type]
    assert templates.translations_m is None


def test_another_number_without_poses_has_none(tmp_path: Path) -> None:
    write_like_the_reference(tmp_path / "templates", count=12)
    templates = read_templates(tmp_path / "templates")
    assert len(templates) == 12
    assert templates.rotations is None


def test_xyz_of_the_reference_are_in_the_units_of_its_cad_model(tmp_path: Path) -> None:
    xyz = write_like_the_reference(tmp_path / "templates", count=2).astype(np.float32)
    np.testing.assert_allclose(read_templates(tmp_path / "templates", "m").xyz_m, xyz)


def test_our_own_folders_are_in_millimetres_whatever_is_asked(folder: Path) -> None:
    np.testing.assert_array_equal(read_templates(folder, "m").xyz_m, read_templates(folder, "mm").xyz_m)


def test_older_templates_are_replaced_whole(folder: Path) -> None:
    write_templates(folder, made_up(3))
    assert len(read_templates(folder)) == 3
    assert not (folder / "rgb_3.png").exists()
    assert [item.name for item in folder.parent.iterdir()] == [folder.name]


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(TemplateError, match=r"holds 'thesis\.tex', which is no template"):
        write_templates(tmp_path, made_up(2))
    assert [item.name for item in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_is_not_replaced_by_a_folder(tmp_path: Path) -> None:
    (tmp_path / "mug").write_text("x")
    with pytest.raises(TemplateError, match="mug is a file"):
        write_templates(tmp_path / "mug", made_up(2))


class InterruptedAtTheThird(np.ndarray):
    """Points of templates, of which those of the third one are never had: Ctrl-C comes first."""

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, int) and key == 2:
            raise KeyboardInterrupt
        return np.asarray(self)[key]


@pytest.mark.parametrize("existing", [False, True])
def test_an_interrupted_write_leaves_nothing_half(tmp_path: Path, existing: bool) -> None:
    if existing:
        write_templates(tmp_path / "mug", made_up(4))
    templates = made_up(6)
    with pytest.raises(KeyboardInterrupt):
        write_templates(tmp_path / "mug", replace(templates, xyz_m=templates.xyz_m.view(InterruptedAtTheThird)))
    assert [item.name for item in tmp_path.iterdir()] == (["mug"] if existing else [])
    if existing:
        assert len(read_templates(tmp_path / "mug")) == 4


def test_a_missing_folder(tmp_path: Path) -> None:
    assert "template folder" in (said := refused(tmp_path / "nowhere"))
    assert said.endswith("nowhere does not exist")


def test_a_file_instead_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "mug").write_text("x")
    assert "is not a folder" in refused(tmp_path / "mug")


def test_no_xyz_files(tmp_path: Path) -> None:
    assert "has no xyz_*.npy files" in refused(tmp_path)


@pytest.mark.parametrize("name", ["rgb_7.png", "mask_7.png", "xyz_7.npy"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert f"{folder / name} is missing" in refused(folder)


@pytest.mark.parametrize("name", ["rgb_4.png", "mask_4.png", "xyz_4.npy", "poses.npy"])
@pytest.mark.parametrize("keep", [0.0, 0.05, 0.6, 0.8])
def test_a_truncated_file_is_named(folder: Path, name: str, keep: float) -> None:
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: int(len(content) * keep)])
    assert str(folder / name) in refused(folder)


def test_an_empty_mask_is_named(folder: Path) -> None:
    Image.fromarray(np.zeros((20, 24), np.uint8)).save(folder / "mask_3.png")
    assert f"{folder / 'mask_3.png'} is empty" in refused(folder)


@pytest.mark.parametrize("kind", ["rgb", "mask"])
def test_a_picture_of_another_size_is_named(folder: Path, kind: str) -> None:
    Image.fromarray(np.full((20, 20), 255, np.uint8)).save(folder / f"{kind}_5.png")
    said = refused(folder)
    assert f"{folder / f'{kind}_5.png'} is 20 x 20" in said
    assert "is 24 x 20" in said


def test_coordinates_of_another_size_are_named(folder: Path) -> None:
    np.save(folder / "xyz_5.npy", np.zeros((8, 9, 3), np.float16))
    assert f"{folder / 'xyz_5.npy'} is 9 x 8" in refused(folder)


def test_coordinates_of_the_wrong_kind_are_named(folder: Path) -> None:
    np.save(folder / "xyz_5.npy", np.zeros((20, 24), np.float16))
    assert "xyz_5.npy must hold (H, W, 3)" in refused(folder)


def test_coordinates_that_are_no_numbers_are_named(folder: Path) -> None:
    np.save(folder / "xyz_5.npy", np.full((20, 24, 3), np.nan, np.float16))
    assert "xyz_5.npy holds numbers that are not finite" in refused(folder)


def test_pickled_objects_are_never_unpacked(folder: Path) -> None:
    np.save(folder / "xyz_5.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    assert "xyz_5.npy is no readable array" in refused(folder)


def test_poses_of_another_number_are_refused(folder: Path) -> None:
    np.save(folder / "poses.npy", np.tile(np.eye(4), (8, 1, 1)))
    assert "poses.npy must hold (9, 4, 4)" in refused(folder)


def test_poses_that_are_no_rotations_are_refused(folder: Path) -> None:
    poses = np.tile(np.eye(4), (9, 1, 1))
    poses[6, 0, 0] = 2
    np.save(folder / "poses.npy", poses)
    assert "poses.npy: pose 6 is not a rotation" in refused(folder)


@pytest.mark.parametrize("content", ["{", "[]", '{"format_version": 99}', '{"xyz_units": "furlong"}'])
def test_a_broken_templates_json_is_named(folder: Path, content: str) -> None:
    (folder / "templates.json").write_text(content)
    assert "templates.json" in refused(folder)


def test_the_contact_sheet_shows_every_view_in_its_place() -> None:
    rgb = np.zeros((10, 30, 30, 3), np.uint8)
    rgb[:] = (np.arange(10) * 20 + 20)[:, None, None, None]
    sheet = contact_sheet(TemplateSet(rgb, rgb[..., 0] > 0, rgb.astype(np.float32)), columns=4, side_px=15)
    assert sheet.shape == (45, 60, 3)
    assert [sheet[7 + 15 * (i // 4), 7 + 15 * (i % 4), 0] for i in range(10)] == list(range(20, 220, 20))
    assert (sheet[30:, 30:] == 0).all()
