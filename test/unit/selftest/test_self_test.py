"""The sample scene with its expected results, and `ism doctor`, which tries models on it."""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from ism_ros.cli.main import main
from ism_ros.config.settings import Settings
from ism_ros.config.sources import load_settings
from ism_ros.objects.spec import read_objects_file
from ism_ros.selftest.sample_files import SCENE, read_sample_labels
from ism_ros.selftest.self_test import (
    EXPECTED,
    ObjectResult,
    SelfTestError,
    describe_failures,
    run_in_subprocess,
    run_self_test,
    self_test_settings,
)


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """A copy of the scene that may be changed."""
    return Path(shutil.copytree(SCENE, tmp_path / "scene"))


def test_the_scene_shows_its_objects_and_is_small() -> None:
    labels = read_sample_labels()
    specs = read_objects_file(SCENE / "objects.yaml")
    assert [spec.id for spec in specs] == list(EXPECTED["tiny", "tiny"])
    for number in range(1, len(specs) + 1):
        assert (labels == number).sum() > 1000
    assert sum(file.stat().st_size for file in SCENE.iterdir()) < 200_000


@pytest.mark.parametrize("pair", EXPECTED)
def test_a_pair_without_a_download_gives_the_expected_result(sample_cache: Path, pair: tuple[str, str]) -> None:
    messages: list[str] = []
    settings = {"cache_dir": str(sample_cache), "segmentor": pair[0], "descriptor": pair[1]}
    result = run_in_subprocess(settings, messages.append)
    assert result.passed, result.failure
    assert result.has_expected
    assert {one.object_id: pytest.approx((one.score, one.iou), abs=0.005) for one in result.objects} == EXPECTED[pair]
    assert messages[-1] == "segmenting the scene"


def test_thresholds_and_scoring_that_are_set_do_not_change_the_result(sample_cache: Path) -> None:
    strict = Settings(cache_dir=str(sample_cache), score_threshold=0.99, confidence_threshold=0.99, scoring="noctis")
    assert run_self_test(strict).passed


@pytest.mark.parametrize("profile", ["fast", "balanced", "accurate"])
def test_models_with_checkpoints_are_held_to_thresholds_no_higher_than_their_profiles(profile: str) -> None:
    chosen = load_settings(None, {"profile": profile}, environment={})
    adapted = self_test_settings(chosen)
    for name in ("score_threshold", "confidence_threshold", "predicted_iou_threshold", "stability_score_threshold"):
        assert getattr(adapted, name) <= getattr(chosen, name), name


def test_objects_found_elsewhere_are_wrong(sample_cache: Path, scene: Path) -> None:
    labels = cv2.imread(str(scene / "truth.png"), cv2.IMREAD_UNCHANGED)
    cv2.imwrite(str(scene / "truth.png"), labels[::-1])
    result = run_self_test(Settings(cache_dir=str(sample_cache)), scene=scene)
    assert not result.passed
    assert "the best carton is somewhere else (IoU 0.00)" in result.failure


def test_objects_not_found_are_wrong(sample_cache: Path, scene: Path) -> None:
    rgb = cv2.imread(str(scene / "rgb.jpg"))
    cv2.imwrite(str(scene / "rgb.jpg"), np.zeros_like(rgb))
    assert "is not found" in run_self_test(Settings(cache_dir=str(sample_cache)), scene=scene).failure


@pytest.mark.parametrize(
    ("found", "expected", "said"),
    [
        (ObjectResult("cup", 0.8, 0.9), None, ""),
        (ObjectResult("cup", 0.8, 0.9), {"cup": (0.81, 0.89)}, ""),
        (
            ObjectResult("cup", 0.7, 0.9),
            {"cup": (0.81, 0.89)},
            "cup has score 0.700 and IoU 0.90 instead of 0.81 and 0.89",
        ),
        (
            ObjectResult("cup", 0.8, 0.6),
            {"cup": (0.81, 0.89)},
            "cup has score 0.800 and IoU 0.60 instead of 0.81 and 0.89",
        ),
        (ObjectResult("cup", 0.8, 0.4), None, "the best cup is somewhere else (IoU 0.40)"),
        (ObjectResult("cup", math.inf, 0.9), None, "the score of cup is inf"),
        (ObjectResult("cup", math.nan, math.nan), None, "cup is not found"),
    ],
)
def test_what_is_wrong_is_said_in_words(
    found: ObjectResult, expected: dict[str, tuple[float, float]] | None, said: str
) -> None:
    assert describe_failures([found], expected) == said


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"segmentor": "oracle"}, "segmentor 'oracle' is unknown; choose one of"),
        ({"descriptor": "dinov2", "checkpoints_dir": "/no/such/folder"}, "checkpoint dinov2/vitl14 is not in"),
        ({"device": "cuda:77"}, "device 'cuda:77' cannot be used"),
    ],
)
def test_models_that_cannot_be_made_are_told_in_one_line(settings: dict[str, str], said: str) -> None:
    with pytest.raises(SelfTestError, match=said) as error:
        run_in_subprocess(settings)
    assert "\n" not in str(error.value)


def test_a_process_that_dies_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "cv2").mkdir()
    (tmp_path / "cv2" / "__init__.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{':'.join(sys.path)}")
    with pytest.raises(SelfTestError, match="killed, probably because memory ran out"):
        run_in_subprocess({})


@pytest.fixture
def ism(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], sample_cache: Path, tmp_path: Path
) -> Callable[..., tuple[int, str, str]]:
    """Runs `ism` in a wide terminal; (status, stdout, stderr)."""
    monkeypatch.setenv("COLUMNS", "250")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("ISM_CACHE_DIR", str(sample_cache))
    monkeypatch.setenv("ISM_CHECKPOINTS_DIR", str(tmp_path / "checkpoints"))

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["ism", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return (int(ended.value.code or 0), *capsys.readouterr())

    return run


def line_of(subject: str, output: str) -> str:
    return next(line for line in output.splitlines() if f" {subject} " in line)


@pytest.mark.slow
def test_doctor_passes_the_embedded_default(
    ism: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ROS_DISTRO", raising=False)
    status, stdout, _ = ism("doctor")
    assert status == 0, stdout
    assert line_of("self-test", stdout).startswith("passed")
    assert line_of("PyTorch", stdout).startswith("passed")
    assert line_of("ROS 2", stdout).startswith("warning")
    assert "Nothing failed" in stdout


@pytest.mark.slow
def test_doctor_ends_with_1_where_a_checkpoint_is_missing(ism: Callable[..., tuple[int, str, str]]) -> None:
    status, stdout, _ = ism("doctor", "--descriptor", "dinov2")
    assert status == 1
    assert line_of("self-test", stdout).startswith("failed")
    assert "ism weights download dinov2/vitl14" in stdout


def test_a_settings_file_that_is_not_there_is_told_in_one_line(ism: Callable[..., tuple[int, str, str]]) -> None:
    status, _, stderr = ism("doctor", "--config", "/no/such.yaml")
    assert status == 2
    assert stderr.startswith("ism: settings file /no/such.yaml cannot be read")
