"""Average precision equals what the public BOP toolkit computes; test/data/bop_parity/README.md says how."""

from __future__ import annotations

import json
import math
import zipfile
from pathlib import Path

import pytest

from ism_ros.bop.average_precision import SCORES, TASKS, Task, evaluate
from ism_ros.bop.dataset import BopDataset, object_name, open_dataset
from ism_ros.bop.ground_truth import GroundTruth, read_ground_truth
from ism_ros.bop.predictions import read_predictions

HERE = Path(__file__).resolve().parents[2] / "data" / "bop_parity"
EXPECTED = json.loads((HERE / "scores.json").read_text())
Opened = tuple[BopDataset, GroundTruth]


@pytest.fixture(scope="module", params=["masks", "scene_gt_coco.json"])
def simset(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset, its truth read from masks or from the toolkit's own annotations."""
    folder = tmp_path_factory.mktemp("parity")
    with zipfile.ZipFile(HERE / "truth.zip") as archive:
        archive.extractall(folder)
    dataset = folder / "simset"
    for number in json.loads((dataset / "models" / "models_info.json").read_text()):
        (dataset / "models" / f"{object_name(int(number))}.ply").touch()
    for cameras in dataset.glob("test/*/scene_camera.json"):
        (cameras.parent / "rgb").mkdir()
        for image in json.loads(cameras.read_text()):
            (cameras.parent / "rgb" / f"{int(image):06d}.png").touch()
        if request.param == "masks":
            (cameras.parent / "scene_gt_coco.json").unlink()
    return dataset


@pytest.fixture(scope="module", params=sorted(EXPECTED))
def opened(request: pytest.FixtureRequest, simset: Path) -> tuple[str, Opened]:
    dataset = open_dataset(simset, targets=simset / request.param)
    return request.param, (dataset, read_ground_truth(dataset))


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", sorted(EXPECTED["test_targets_bop19.json"]))
def test_scores_equal_the_toolkits(opened: tuple[str, Opened], name: str, task: Task) -> None:
    targets, (dataset, truth) = opened
    ours = evaluate(truth, dataset.models, read_predictions(HERE / "predictions" / name), task).scores
    expected = EXPECTED[targets][name][task]
    assert set(ours) == set(SCORES) == set(expected)
    for score, value in expected.items():
        if value == -1:
            assert math.isnan(ours[score]), score
        else:
            assert ours[score] == pytest.approx(value, abs=1e-6), score


def test_the_files_hold_what_makes_the_toolkit_differ_from_plain_coco(opened: tuple[str, Opened]) -> None:
    """Instances to be ignored, more detections than count, and an object that the dataset does not have."""
    _, (dataset, truth) = opened
    rough = read_predictions(HERE / "predictions" / "rough_simset-test.json")
    assert any(instance.ignored for instance in truth.instances)
    assert {entry["category_id"] for entry in rough} > set(dataset.models)
    keys = [(entry["scene_id"], entry["image_id"], entry["category_id"]) for entry in rough]
    assert max(keys.count(key) for key in set(keys)) > 100
