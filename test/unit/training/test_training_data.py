"""Objects, scenes and crops for training: what is promised of them, on a handful."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("embreex")
pytest.importorskip("tqdm", reason="tqdm is not installed: pip install '.[test]'")

from training.datasets.data_folder import SHARD, ObjectBank, object_file, shard_folder
from training.datasets.scene_arrays import DEPTH_STEPS, NO_READING, make_row
from training.make_templates import templates_of
from training.training_scenes.height_field_placement import CELL_M, CELLS, Ground, footprint_of, place
from training.training_scenes.random_objects import make_object, read_object, write_object
from training.training_scenes.random_scenes import make_scene


def test_an_object_is_the_same_for_the_same_seed_and_fits_the_bank(tmp_path: Path) -> None:
    made, again = make_object(5), make_object(5)
    write_object(tmp_path / "0005.npz", made)
    stored = read_object(tmp_path / "0005.npz")
    np.testing.assert_array_equal(made.surface.triangles_m, again.surface.triangles_m)
    np.testing.assert_array_equal(stored.surface.triangles_m, made.surface.triangles_m)
    np.testing.assert_array_equal(stored.surface.texture, made.surface.texture)


def test_every_fourth_object_has_the_shape_of_the_one_before_it_with_another_texture() -> None:
    first, second = make_object(6), make_object(7)
    np.testing.assert_allclose(first.surface.triangles_m, second.surface.triangles_m, atol=1e-7)
    assert first.surface.texture is not None
    assert second.surface.texture is not None
    assert not np.array_equal(first.surface.texture, second.surface.texture)


@pytest.mark.parametrize("seed", range(12))
def test_objects_are_of_the_size_of_things_that_are_handled(seed: int) -> None:
    corners = make_object(seed).surface.triangles_m.reshape(-1, 3)
    assert 0.04 < np.ptp(corners, axis=0).max() < 0.3
    assert np.isfinite(corners).all()


@pytest.mark.parametrize("how", ["free", "touching", "pile"])
def test_things_do_not_run_into_each_other(how: str) -> None:
    rng = np.random.default_rng(1)
    ground, made = Ground(), make_object(0)
    tops = np.full((CELLS, CELLS), -np.inf)
    placed = [place(ground, made.points, made.rotations, made.weights, rng, how, 0.1) for _ in range(5)]
    poses = [pose for pose in placed if pose is not None]
    assert len(poses) > 1
    for pose in poses:
        points = made.points @ pose[:3, :3].T + pose[:3, 3]
        assert points[:, 2].min() > -1e-6
        foot, corner = footprint_of(points)
        row, column = np.rint(corner / CELL_M + CELLS / 2).astype(int)
        rows, columns = foot.bottom.shape
        here = tops[row : row + rows, column : column + columns]
        assert (foot.bottom + points[:, 2].min() >= here - 1e-4).all()
        np.maximum(here, foot.top + points[:, 2].min(), out=here)


def test_a_row_has_what_the_shards_promise() -> None:
    bank = [make_object(seed) for seed in range(8)]
    row = make_row(3, bank)
    assert row["rgb"].shape == (240, 320, 3)
    assert row["depth_mm"].shape == row["instance"].shape == (240, 320)
    assert row["instance"].max() <= len(make_scene(3, bank).placed)
    count = len(row["crop_object"])
    assert row["crop_rgb"].shape == (count, 128, 128, 3)
    for depth, mask in zip(row["crop_depth"], row["crop_mask"], strict=True):
        assert abs(np.median(depth[mask & (depth != NO_READING)])) <= 1
    rotation = row["crop_rotation"]
    np.testing.assert_allclose(rotation @ rotation.transpose(0, 2, 1), np.tile(np.eye(3), (count, 1, 1)), atol=1e-5)


def test_templates_have_depth_in_pixels_and_the_shading_of_white_paint() -> None:
    made = make_object(5)
    arrays = templates_of(made)
    views, depth = arrays["views"], arrays["depth"]
    assert views.shape == (42, 96, 96, 5)
    masks = views[..., 3] > 0
    np.testing.assert_array_equal(masks, depth != NO_READING)
    assert 150 < views[..., 4][masks].mean() < 255
    width_px = np.array([np.ptp(np.nonzero(mask)[1]) for mask in masks])
    relief_px = np.array([np.ptp(one[mask]) for one, mask in zip(depth, masks, strict=True)]) / DEPTH_STEPS
    assert (relief_px < 4 * 96).all()
    assert relief_px.max() > 0.3 * width_px.mean()


def test_a_scene_is_the_same_for_the_same_seed() -> None:
    bank = [make_object(seed) for seed in range(4)]
    again = make_row(11, bank)
    for name, first in make_row(11, bank).items():
        np.testing.assert_array_equal(first, again[name])


def test_shards_are_numbered_folders(tmp_path: Path) -> None:
    assert shard_folder(tmp_path, 7).name == "0007"
    assert SHARD > 0


def test_a_bank_reads_each_object_once(tmp_path: Path) -> None:
    (tmp_path / "objects").mkdir()
    write_object(object_file(tmp_path, 3), make_object(3))
    bank = ObjectBank(tmp_path, 5)
    assert len(bank) == 5
    assert bank[3] is bank[3]
    np.testing.assert_array_equal(bank[3].surface.triangles_m, make_object(3).surface.triangles_m)
