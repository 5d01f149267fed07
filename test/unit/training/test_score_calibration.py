"""Probabilities of the matcher `verified`: evidence on disk, the fit, and how far they can be relied on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("embreex")
pytest.importorskip("tqdm", reason="tqdm is not installed: pip install '.[test]'")

from ism_ros.checkpoints.shipped import load_weights
from ism_ros.matching.calibration import FEATURES, WITH_DEPTH, ScoreCalibration
from training.score_calibration.cad_colors import CadColors
from training.score_calibration.evidence_store import (
    EvidenceRows,
    evidence_file,
    find_scenes,
    is_held_out,
    objects_of_scene,
    read_evidence,
    write_evidence,
)
from training.score_calibration.fit import write_calibration
from training.score_calibration.network_fit import fit_calibration, log_loss
from training.score_calibration.reliability import (
    ScoredDetections,
    calibration_error,
    detections_of,
    draw_reliability,
    reliability_bins,
)
from training.score_calibration.scene_evidence import instance_ious, pixels_of_instances
from training.score_calibration.scene_libraries import choose_library
from training.training_scenes.random_scenes import PlacedObject

POSES_A_SCENE = 120


def write_toy_scene(data: Path, number: int) -> None:
    """Poses of six proposals and four objects; the first feature alone says how probable it is that they are right."""
    rng = np.random.default_rng([3, number])
    features = rng.normal(size=(POSES_A_SCENE, FEATURES)).astype(np.float32)
    is_right = rng.random(POSES_A_SCENE) < 1 / (1 + np.exp(2 - 2 * features[:, 0]))
    write_evidence(
        evidence_file(data, number),
        {
            "features": features,
            "iou": np.where(is_right, 0.9, 0.1).astype(np.float32)[:, None].repeat(2, axis=1),
            "instance": np.where(is_right, 1, -1)[:, None].repeat(2, axis=1),
            "proposal": np.arange(POSES_A_SCENE) // 2,
            "object": np.arange(POSES_A_SCENE) % 2,
            "to_be_found": np.array([0, 1]),
        },
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evidence")
    for number in range(60):
        write_toy_scene(folder, number)
    return folder


@pytest.fixture(scope="module")
def unseen(data: Path) -> EvidenceRows:
    return read_evidence(data, [scene for scene in find_scenes(data) if is_held_out(scene)])


@pytest.fixture(scope="module")
def calibration(data: Path) -> ScoreCalibration:
    with torch.random.fork_rng(devices=[]):
        return fit_calibration(
            read_evidence(data, [scene for scene in find_scenes(data) if not is_held_out(scene)]), 30, seed=1, rate=0.01
        )


def test_instances_and_proposals_of_different_scenes_are_different(data: Path) -> None:
    rows = read_evidence(data, [4, 7])
    assert rows.scenes == 2
    assert len(rows) == 2 * POSES_A_SCENE
    assert rows.to_be_found.tolist() == [0, 1, 2, 3]
    assert len(np.unique(rows.proposal)) == POSES_A_SCENE
    assert set(rows.instance[:POSES_A_SCENE].ravel()) == {-1, 1}
    assert set(rows.instance[POSES_A_SCENE:].ravel()) == {-1, 3}


def test_the_fit_knows_more_of_held_out_scenes_than_the_share_that_is_right(
    calibration: ScoreCalibration, unseen: EvidenceRows
) -> None:
    share = unseen.labels.mean()
    of_share = -(share * np.log(share) + (1 - share) * np.log(1 - share))
    assert log_loss(calibration, unseen) < 0.85 * of_share


def test_of_detections_with_a_probability_that_share_is_right(
    calibration: ScoreCalibration, unseen: EvidenceRows
) -> None:
    detections = detections_of(calibration, unseen)
    assert len(detections.probability) == unseen.scenes * POSES_A_SCENE // 2
    assert calibration_error(reliability_bins(detections, 5)) < 0.08


def test_written_weights_are_read_by_the_matcher(
    calibration: ScoreCalibration, unseen: EvidenceRows, tmp_path: Path
) -> None:
    digest = write_calibration(calibration, tmp_path, WITH_DEPTH)
    loaded = ScoreCalibration()
    assert load_weights(loaded, WITH_DEPTH, tmp_path / f"{WITH_DEPTH}.safetensors") == digest
    features = torch.from_numpy(unseen.features)
    torch.testing.assert_close(loaded(features), calibration(features))
    torch.testing.assert_close(loaded.looks(features[:, -3:]), calibration.looks(features[:, -3:]))


def test_precision_and_recall_follow_the_threshold(tmp_path: Path) -> None:
    detections = ScoredDetections(
        np.array([0.9, 0.8, 0.5, 0.3], np.float32),
        np.array([True, True, False, True]),
        np.array([0, 0, -1, 2]),
        np.array([0, 1, 2]),
    )
    assert detections.precision(0.4) == pytest.approx(2 / 3)
    assert detections.recall(0.4) == pytest.approx(1 / 3)
    assert detections.recall(0.2) == pytest.approx(2 / 3)
    assert detections.precision(0.95) == 1.0


def test_reliability_is_drawn(calibration: ScoreCalibration, unseen: EvidenceRows, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    draw_reliability(reliability_bins(detections_of(calibration, unseen)), tmp_path / "reliability.png")
    assert (tmp_path / "reliability.png").read_bytes().startswith(b"\x89PNG")


def test_objects_of_held_out_scenes_are_in_no_other_scene() -> None:
    held_out, others = set(objects_of_scene(0, 40).tolist()), set(objects_of_scene(1, 40).tolist())
    assert len(held_out) == 8
    assert held_out | others == set(range(40))
    assert not held_out & others


@pytest.mark.parametrize("seed", range(20))
def test_what_a_library_has_beside_the_objects_of_a_scene_is_not_in_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    placed = [PlacedObject(int(rng.integers(3)), float(rng.uniform(0.75, 1.3)), np.eye(4)) for _ in range(6)]
    entries = choose_library(placed, 3, rng)
    in_scene = [any(entry.is_like(one) for one in placed) for entry in entries]
    assert len(entries) == 1 or 1 <= sum(in_scene) <= 4
    assert len(entries) == 1 or 1 <= len(entries) - sum(in_scene) <= 2


def test_ious_are_of_masks_and_instances() -> None:
    instance = np.full((4, 6), 2)
    instance[:, :2], instance[0, 2:4] = 0, 1
    masks = np.zeros((2, 4, 6), bool)
    masks[0, :, :1], masks[1] = True, instance == 1
    np.testing.assert_allclose(instance_ious(masks, instance, 2), [[0.5, 0], [0, 1]])


def test_pixels_without_a_surface_are_of_no_instance() -> None:
    instance = np.array([[0, 1, 1, -1], [-1, 2, 3, 1]])
    np.testing.assert_array_equal(pixels_of_instances(instance, 2), [1, 3])


def test_one_object_alone_is_known_in_some_scenes() -> None:
    placed = [PlacedObject(index, 1.0, np.eye(4)) for index in range(3)]
    sizes = [len(choose_library(placed, 8, np.random.default_rng(seed))) for seed in range(100)]
    assert 20 < sizes.count(1) < 50


def test_a_model_without_colors_is_gray_and_black_around_the_object() -> None:
    rgb = np.full((1, 2, 2, 3), (200, 40, 10), np.uint8)
    masks = np.array([[[True, True], [False, False]]])
    painted = CadColors(np.arange(3), np.ones(3), tone=160.0).apply(rgb, masks, brightest=float(rgb.mean()))
    assert (painted[masks] == 160).all()
    assert not painted[~masks].any()
