"""Official checkpoints named in the settings, through the whole recipe: from CAD file and frame to files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from dummy_networks import DINOV2, SAM, install
from typer.testing import CliRunner

from ism_ros.cli.main import app
from ism_ros.config.settings import Settings
from ism_ros.config.sources import load_settings
from ism_ros.data.frame import Frame
from ism_ros.descriptors.base import Descriptor, Descriptors
from ism_ros.errors import CheckpointError
from ism_ros.io.frame_files import read_frame
from ism_ros.loading import load_model
from ism_ros.objects.spec import ObjectSpec

SCENE = Path(__file__).parents[3] / "ism_ros" / "selftest" / "sample_scene"
FILES = {"rgb": SCENE / "rgb.jpg", "depth": SCENE / "depth.png", "camera": SCENE / "camera.json"}
CHECKPOINTS = {
    "segmentor": "sam",
    "segmentor_model": str(SAM),
    "descriptor": "dinov2",
    "descriptor_model": str(DINOV2),
}
ANYTHING = {
    "points_per_side": 4,
    "predicted_iou_threshold": 0.0,
    "stability_score_threshold": 0.0,
    "confidence_threshold": 0.0,
    "score_threshold": 0.0,
}


@pytest.fixture
def cube(tmp_path: Path) -> ObjectSpec:
    trimesh.creation.box((60.0, 40.0, 30.0)).export(tmp_path / "cube.ply")
    return ObjectSpec(id="cube", cad=tmp_path / "cube.ply", units="mm", category_id=1)


def settings(tmp_path: Path, **changes: object) -> Settings:
    values = {**CHECKPOINTS, **ANYTHING, "cache_dir": str(tmp_path / "cache"), "device": "cpu", **changes}
    return load_settings(None, values, environment={})


def frame() -> Frame:
    return read_frame(*FILES.values())


class NothingLeftToDescribe:
    """A descriptor that is never to see templates."""

    def __init__(self, descriptor: Descriptor) -> None:
        self._descriptor = descriptor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._descriptor, name)

    def describe_templates(self, crops: torch.Tensor, crop_masks: torch.Tensor) -> Descriptors:
        raise AssertionError(f"{len(crops)} templates are described again")


def test_checkpoints_in_the_settings_segment_a_frame(tmp_path: Path, cube: ObjectSpec) -> None:
    model = load_model(settings(tmp_path))
    model.add(cube)
    detections = model.segment(frame())
    assert len(detections) > 0
    assert {detections.class_id(row) for row in range(len(detections))} == {"cube"}
    assert torch.isfinite(detections.score).all()
    assert detections.semantic_score.max() <= 1.0
    assert detections.masks.shape[1:] == frame().rgb.shape[:2]


@pytest.mark.slow
def test_the_least_stability_of_the_settings_counts_from_the_next_frame_on(tmp_path: Path, cube: ObjectSpec) -> None:
    model = load_model(settings(tmp_path))
    model.add(cube)
    assert len(model.segment(frame())) > 0
    model.settings = model.settings.model_copy(update={"stability_score_threshold": 1.0})
    assert len(model.segment(frame())) == 0


@pytest.mark.slow
def test_a_second_start_reads_the_descriptors_of_the_same_checkpoint(tmp_path: Path, cube: ObjectSpec) -> None:
    first = load_model(settings(tmp_path))
    first.add(cube)
    second = load_model(settings(tmp_path))
    second = replace(second, descriptor=NothingLeftToDescribe(second.descriptor))
    second.add(cube)
    assert second.library.objects[0].class_tokens.equal(first.library.objects[0].class_tokens)


@pytest.mark.slow
def test_another_way_to_see_templates_is_described_anew(tmp_path: Path, cube: ObjectSpec) -> None:
    tokens = []
    for way in ("imagenet", "none"):
        model = load_model(settings(tmp_path, template_normalization=way))
        model.add(cube)
        tokens.append(model.library.objects[0].class_tokens)
    assert not tokens[0].equal(tokens[1])


def test_a_profile_without_its_checkpoints_says_how_to_get_them(tmp_path: Path) -> None:
    chosen = load_settings(None, {"profile": "accurate", "checkpoints_dir": str(tmp_path)}, environment={})
    with pytest.raises(CheckpointError, match=r"sam_vit_h_4b8939.pth.*ism weights download sam/vit_h"):
        load_model(chosen)


def test_the_checkpoints_folder_of_sam6d_is_understood(tmp_path: Path) -> None:
    install(tmp_path, "sam/vit_h", "dinov2/vitl14")
    model = load_model(load_settings(None, {"profile": "accurate", "checkpoints_dir": str(tmp_path)}, environment={}))
    assert (model.segmentor.name, model.descriptor.name) == ("sam", "dinov2")


@pytest.mark.slow
def test_ism_segment_takes_checkpoints(tmp_path: Path, cube: ObjectSpec) -> None:
    config = tmp_path / "ism.yaml"
    config.write_text(json.dumps({**CHECKPOINTS, **ANYTHING, "cache_dir": str(tmp_path / "cache")}))
    files = [f"--{name}={file}" for name, file in FILES.items()]
    result = CliRunner().invoke(
        app, ["segment", *files, f"--cad={cube.cad}", f"--config={config}", f"--output={tmp_path / 'out'}"]
    )
    assert result.exit_code == 0, result.output
    records = json.loads((tmp_path / "out" / "detection_ism.json").read_text())
    assert len(records) > 0
    assert np.load(tmp_path / "out" / "detection_ism.npz")["segmentation"].shape[0] == len(records)
