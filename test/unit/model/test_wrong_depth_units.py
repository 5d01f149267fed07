"""Depth in another unit is told where the shipped pair finds nothing, or nothing certain, for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ism_ros.config.settings import Settings
from ism_ros.loading import load_model
from ism_ros.model import InstanceSegmentationModel
from ism_ros.selftest.sample_files import SCENE, read_sample_frame


@pytest.fixture(scope="module")
def model(sample_cache: Path) -> InstanceSegmentationModel:
    return load_model(Settings(device="cpu", objects_file=str(SCENE / "objects.yaml"), cache_dir=str(sample_cache)))


def told(model: InstanceSegmentationModel, factor: float, **how: bool) -> list[str]:
    """What is said of units where depth is `factor` times what it should be."""
    frame = read_sample_frame()
    assert frame.depth_m is not None
    found = model.segment(replace(frame, depth_m=frame.depth_m * np.float32(factor)), **how)
    return [warning.text for warning in found.warnings if warning.reason == "depth_unit"]


def test_depth_in_its_unit_is_not_doubted(model: InstanceSegmentationModel) -> None:
    assert told(model, 1.0) == []


@pytest.mark.parametrize(("factor", "said"), [(10.0, "10 times nearer"), (0.1, "10 times further")])
def test_depth_ten_times_too_large_or_small_is_told_with_the_way_back(
    model: InstanceSegmentationModel, factor: float, said: str
) -> None:
    (text,) = told(model, factor)
    assert said in text
    assert "depth_scale" in text


def test_a_caller_may_do_without_the_check(model: InstanceSegmentationModel) -> None:
    assert told(model, 10.0, with_unit_check=False) == []
