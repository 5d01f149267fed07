"""`ism segment` as a user runs it, on the scene that comes with the package."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import trimesh

from ism_ros.cli.main import main
from ism_ros.known_answer import SCENE
from ism_ros.objects.objects_file import read_objects_file


@pytest.fixture
def segment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., int]:
    monkeypatch.setenv("ISM_CACHE_DIR", str(tmp_path / "cache"))
    files = {"rgb": "rgb.jpg", "depth": "depth.png", "camera": "camera.json", "objects": "objects.yaml"}
    scene = [word for name, file in files.items() for word in (f"--{name}", str(SCENE / file))]

    def run(*arguments: object) -> int:
        command = ["ism", "segment", *scene, "--output", str(tmp_path / "out"), *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0)

    return run


def test_objects_are_found_with_the_scores_of_noctis(segment: Callable[..., int], tmp_path: Path) -> None:
    assert segment("--scoring", "noctis", "--score-threshold", 0.3) == 0
    labels = cv2.imread(str(SCENE / "truth.png"), cv2.IMREAD_UNCHANGED)
    detections = json.loads((tmp_path / "out" / "detection_ism.json").read_text())
    for number, spec in enumerate(read_objects_file(SCENE / "objects.yaml"), start=1):
        best = max((d for d in detections if d["category_id"] == spec.category_id), key=lambda d: d["score"])
        rows, columns = np.nonzero(labels == number)
        x, y, width, height = best["bbox"]
        np.testing.assert_allclose(
            [x, y, x + width, y + height],
            [columns.min(), rows.min(), columns.max(), rows.max()],
            atol=12,
            err_msg=spec.id,
        )


def test_where_nothing_is_certain_enough_the_best_guess_is_told_and_the_threshold_that_shows_it(
    segment: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert segment("--score-threshold", 1) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "0 detections: the best guess is carton at 0." in said
    threshold = said.split("--score-threshold ")[1].split()[0]
    assert segment("--score-threshold", threshold) == 0
    assert "carton" in capsys.readouterr().err


def test_the_table_of_detections_is_whole_in_a_narrow_terminal(
    segment: Callable[..., int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert segment() == 0
    said = capsys.readouterr().err
    assert "…" not in said
    (row,) = (line for line in said.splitlines() if line.split()[:1] == ["carton"])
    assert len(row.split()) == 1 + 6 + 1


def test_a_scoring_method_that_does_not_exist_is_told_in_one_line(
    segment: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert segment("--scoring", "cnos") == 2
    said = capsys.readouterr().err.strip()
    assert "\n" not in said
    assert all(word in said for word in ("scoring", "cnos", "sam6d", "noctis"))


def test_a_segmentor_given_beside_a_profile_is_the_one_that_is_loaded(
    segment: Callable[..., int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ISM_CHECKPOINTS_DIR", str(tmp_path))
    assert segment("--profile", "accurate", "--segmentor", "sam2") == 2
    assert "ism weights download sam2/base_plus" in capsys.readouterr().err
    assert segment("--profile", "accurate", "--segmentor", "tiny") == 2
    assert "ism weights download dinov2/vitl14" in capsys.readouterr().err


def test_a_cad_file_without_colour_is_doubted_at_every_start_until_it_is_given_one(
    segment: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trimesh.creation.box((0.1, 0.06, 0.04)).export(tmp_path / "part.stl")
    command = ("--cad", tmp_path / "part.stl", "--units", "m")
    for _ in range(2):  # the second time from the cache
        assert segment(*command) == 0
        said = capsys.readouterr().err
        assert "warning: object 'part' (part.stl): its CAD file has no colour" in said
        assert "part: 100 x 60 x 40 mm" in said
    assert segment(*command, "--color", "steelblue") == 0
    assert "warning" not in capsys.readouterr().err
    assert segment(*command, "--color", "nocolour") != 0
    assert "color 'nocolour' is no colour: give three whole numbers" in " ".join(capsys.readouterr().err.split())
