"""Segmentor, descriptor and matcher from outside the package (test/shared/models/plugins.py), by `module:attr`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ism_ros.cli.main import main
from ism_ros.config.settings import Settings
from ism_ros.segmentors.base import SEGMENTORS, create_segmentor
from ism_ros.selftest.self_test import SCENE

ALL = ("--segmentor", "plugins:WITHOUT_THE_LARGEST", "--descriptor", "plugins:MEAN_COLOR", "--score-threshold", "0.5")


@pytest.fixture
def segment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., int]:
    monkeypatch.setenv("ISM_CACHE_DIR", str(tmp_path / "cache"))
    files = {"rgb": "rgb.jpg", "depth": "depth.png", "camera": "camera.json", "objects": "objects.yaml"}
    scene = [word for name, file in files.items() for word in (f"--{name}", str(SCENE / file))]

    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["ism", "segment", *scene, "--output", str(tmp_path / "out"), *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0)

    return run


def test_one_of_each_from_outside_is_used_by_ism_segment(segment: Callable[..., int], tmp_path: Path) -> None:
    assert segment(*ALL) == 0
    detections = json.loads((tmp_path / "out" / "detection_ism.json").read_text())
    assert {detection["category_id"] for detection in detections} == {1, 2}


def test_a_descriptor_from_outside_brings_the_matcher_that_suits_it() -> None:
    assert Settings(descriptor="plugins:MEAN_COLOR").resolved_scoring() == "plugins:SEMANTIC_ONLY"


def test_facts_of_a_segmentor_from_outside_are_known_before_it_is_loaded() -> None:
    assert SEGMENTORS.get("plugins:NEEDS_DEPTH").needs_depth
    assert Settings(segmentor="plugins:WITHOUT_THE_LARGEST").resolved_cpu_threads() >= 1


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("sonar", "segmentor 'sonar' is unknown; choose one of: tiny, sam, sam2, fastsam, or module:attr"),
        ("nowhere_to_be:FOUND", "cannot be imported: No module named 'nowhere_to_be'"),
        ("plugins:NOTHING", "cannot be imported: module 'plugins' has no attribute 'NOTHING'"),
        ("plugins:MEAN_COLOR", "is a DescriptorSpec; it must be a SegmentorSpec"),
    ],
)
def test_what_cannot_be_used_is_one_line_that_says_why(name: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        create_segmentor(name)
    assert "\n" not in str(caught.value)
