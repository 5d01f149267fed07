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
from PIL import Image
from real_can import CAN, CAN_CAD, CAN_UNITS, assert_is_the_can, needs_real_can

from ism_ros.cli.evidence_text import TEXTS
from ism_ros.cli.main import main
from ism_ros.matching.calibration import EVIDENCE_NAMES
from ism_ros.objects.spec import read_objects_file
from ism_ros.registration.frame_registration import resampled_depth
from ism_ros.selftest.sample_files import SCENE


@pytest.fixture
def segment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sample_cache: Path) -> Callable[..., int]:
    monkeypatch.setenv("ISM_CACHE_DIR", str(sample_cache))
    files = {"rgb": "rgb.jpg", "depth": "depth.png", "camera": "camera.json", "objects": "objects.yaml"}

    def run(*arguments: object) -> int:
        given = [str(argument) for argument in arguments]
        left = {name: file for name, file in files.items() if f"--{name}" not in given}
        if "--cad" in given:
            left.pop("objects", None)
        scene = [word for name, file in left.items() for word in (f"--{name}", str(SCENE / file))]
        command = ["ism", "segment", *scene, "--output", str(tmp_path / "out"), *given]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0)

    return run


@pytest.mark.slow
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


@pytest.mark.slow
@needs_real_can
def test_the_can_of_a_real_camera_comes_first_and_whole(segment: Callable[..., int], tmp_path: Path) -> None:
    files = {f"--{name}": CAN / file for name, file in (("rgb", "rgb.png"), ("depth", "depth.png"))}
    scene = [word for pair in files.items() for word in pair]
    assert segment(*scene, "--camera", CAN / "camera.json", "--cad", CAN_CAD, "--units", CAN_UNITS) == 0
    with np.load(tmp_path / "out" / "detection_ism.npz") as found:
        assert_is_the_can(found["score"][0], found["segmentation"][0] > 0)


def test_where_nothing_is_certain_enough_the_best_guess_is_told_and_the_threshold_that_shows_it(
    segment: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert segment("--score-threshold", 1) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "0 detections: the best guess is banana at 0." in said
    threshold = said.split("--score-threshold ")[1].split()[0]
    assert segment("--score-threshold", threshold) == 0
    assert "banana" in capsys.readouterr().err


def test_the_table_of_detections_is_whole_in_a_narrow_terminal(
    segment: Callable[..., int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert segment() == 0
    said = capsys.readouterr().err
    assert "…" not in said
    (row,) = (line for line in said.splitlines() if line.split()[:1] == ["carton"])
    assert len(row.split()) == 1 + 6 + 1


@pytest.mark.parametrize("columns", [80, 100, 140])
def test_what_speaks_most_for_a_detection_is_told_in_any_terminal(
    segment: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    columns: int,
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert segment() == 0
    said = capsys.readouterr().err
    table = said[: said.index("proposals ")]
    assert "…" not in table
    assert "2 detections" in table
    for record in json.loads((tmp_path / "out" / "detection_ism.json").read_text()):
        strongest = sorted(record["evidence"].items(), key=lambda item: -item[1]["contribution"])
        for name, numbers in strongest[:2]:
            assert table.count("+ " + TEXTS[name].format(numbers["value"])) == 1
    assert max(map(len, table.splitlines())) <= columns


def test_the_files_have_all_evidence_of_each_detection(segment: Callable[..., int], tmp_path: Path) -> None:
    assert segment() == 0
    records = json.loads((tmp_path / "out" / "detection_ism.json").read_text())
    with np.load(tmp_path / "out" / "detection_ism.npz") as archive:
        assert tuple(archive["evidence_names"]) == EVIDENCE_NAMES
        for record, values, contributions in zip(
            records, archive["evidence_values"], archive["evidence_contributions"], strict=True
        ):
            assert tuple(record["evidence"]) == EVIDENCE_NAMES
            assert [one["value"] for one in record["evidence"].values()] == values.tolist()
            assert [one["contribution"] for one in record["evidence"].values()] == contributions.tolist()


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


def test_an_output_that_cannot_be_written_is_told_in_one_line(
    segment: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    assert segment("--output", tmp_path / "file") == 2
    said = capsys.readouterr().err.strip()
    assert f"--output {tmp_path / 'file'} cannot be written (File exists)" in said


# --- files that are not as they should be ---


def written(folder: Path, file: str, content: bytes | object) -> Path:
    """`content` in a file: bytes as they are, anything else as JSON."""
    path = folder / file
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


def camera_with(folder: Path, **changes: object) -> Path:
    return written(folder, "changed.json", {**json.loads((SCENE / "camera.json").read_text()), **changes})


def found(folder: Path) -> list[dict[str, object]]:
    records = json.loads((folder / "out" / "detection_ism.json").read_text())
    return [{name: record[name] for name in ("category_id", "score", "bbox")} for record in records]


def said_of(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("factor", [0.001, 1000])
def test_a_depth_scale_off_by_1000_is_told_with_the_right_one(
    segment: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str], factor: float
) -> None:
    scale = json.loads((SCENE / "camera.json").read_text())["depth_scale"]
    assert segment("--camera", camera_with(tmp_path, depth_scale=scale * factor)) == 0
    said = said_of(capsys)
    assert f"with depth_scale {scale * factor:g}, which no camera sees: give depth_scale {scale:g} (" in said
    assert said.index("warning: ") < said.index("0 detections")


def test_metres_in_float_with_the_scale_of_millimetres_are_told(
    segment: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    depth_mm = cv2.imread(str(SCENE / "depth.png"), cv2.IMREAD_UNCHANGED)
    cv2.imwrite(str(tmp_path / "depth.tiff"), depth_mm.astype(np.float32) / 1000)
    assert segment("--depth", tmp_path / "depth.tiff") == 0
    assert "give depth_scale 1000 (" in said_of(capsys)


def test_depth_ten_times_too_far_is_told_by_what_would_be_found(
    segment: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scale = json.loads((SCENE / "camera.json").read_text())["depth_scale"]
    assert segment("--camera", camera_with(tmp_path, depth_scale=scale * 10)) == 0
    said = said_of(capsys)
    assert "warning: nothing found, but " in said
    assert "if depth were 10 times nearer or it " in said


def test_depth_that_is_not_registered_is_told_and_registered(
    segment: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert segment() == 0
    registered = {record["category_id"] for record in found(tmp_path)}
    capsys.readouterr()
    depth = cv2.imread(str(SCENE / "depth.png"), cv2.IMREAD_UNCHANGED)
    wider = resampled_depth(depth, 0.64, (3.0, -2.0))  # as a camera of a wider lens has it
    cv2.imwrite(str(tmp_path / "depth.png"), wider.astype(np.uint16))
    assert segment("--depth", tmp_path / "depth.png") == 0
    said = said_of(capsys)
    assert "warning: depth is not registered to rgb: its edges fit those of rgb 1.5" in said
    assert "RealSense: align_depth.enable:=true" in said
    assert {record["category_id"] for record in found(tmp_path)} == registered
    settings = written(tmp_path, "settings.yaml", b"depth_registration: as_given")
    assert segment("--depth", tmp_path / "depth.png", "--config", settings) == 0
    assert "not registered" not in said_of(capsys)


def test_right_files_raise_no_doubt(segment: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert segment() == 0
    assert "warning" not in said_of(capsys)


@pytest.mark.parametrize(
    ("side", "units", "said"),
    [
        (20_000, "mm", "34.6 m across"),
        pytest.param(20, "m", "34.6 m across", marks=pytest.mark.slow),
        pytest.param(0.7, "mm", "1.21 mm across", marks=pytest.mark.slow),
    ],
)
def test_an_object_of_a_size_that_nothing_seen_can_have_is_told(
    segment: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str], side: float, units: str, said: str
) -> None:
    trimesh.creation.box((side, side, side)).export(tmp_path / "box.ply")
    assert segment("--cad", tmp_path / "box.ply", "--units", units) == 0
    told = said_of(capsys)
    assert f"warning: not found: box would be {said}" in told
    assert "check the units of the CAD file" in told


@pytest.mark.parametrize("orientation", [3, 6])
def test_exif_turns_no_color_image_against_its_depth(
    segment: Callable[..., int], tmp_path: Path, orientation: int
) -> None:
    assert segment() == 0
    upright = found(tmp_path)
    assert upright
    tag = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01" + bytes([0, orientation]) + bytes(6)
    segment_bytes = b"\xff\xe1" + (len(tag) + 2).to_bytes(2, "big") + tag
    jpeg = (SCENE / "rgb.jpg").read_bytes()
    turned = written(tmp_path, "turned.jpg", jpeg[:2] + segment_bytes + jpeg[2:])
    assert Image.open(turned).getexif()[274] == orientation
    assert segment("--rgb", turned) == 0
    assert found(tmp_path) == upright


@pytest.mark.parametrize("missing", [65535, 40000])
def test_65535_and_its_like_are_no_reading(segment: Callable[..., int], tmp_path: Path, missing: int) -> None:
    assert segment() == 0
    zeros = found(tmp_path)
    depth_mm = cv2.imread(str(SCENE / "depth.png"), cv2.IMREAD_UNCHANGED)
    assert (depth_mm == 0).any()
    cv2.imwrite(str(tmp_path / "depth.png"), np.where(depth_mm == 0, missing, depth_mm).astype(np.uint16))
    assert segment("--depth", tmp_path / "depth.png") == 0
    assert found(tmp_path) == zeros


def test_a_camera_matrix_column_by_column_is_refused_with_its_file(
    segment: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    k = json.loads((SCENE / "camera.json").read_text())["cam_K"]
    by_column = np.reshape(k, (3, 3)).T.flatten().tolist()
    assert segment("--camera", camera_with(tmp_path, cam_K=by_column)) == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith(f"ism: {tmp_path / 'changed.json'}: the camera matrix cannot be that of an image of")
    assert "must be 0 0 1" in said
    assert "\n" not in said


def test_a_torn_cad_file_is_doubted_once_at_every_start(
    segment: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ball = trimesh.creation.icosphere(4, 0.05)
    ball.update_faces(np.random.default_rng(0).random(len(ball.faces)) > 0.1)
    ball.export(tmp_path / "ball.ply")
    for _ in range(2):  # the second time from the cache
        assert segment("--cad", tmp_path / "ball.ply", "--units", "m", "--color", "steelblue") == 0
        said = capsys.readouterr().err
        assert said.count("warning: object 'ball' (ball.ply): its CAD model is torn: it has") == 1


@pytest.mark.slow
def test_a_cad_file_without_color_is_doubted_at_every_start_until_it_is_given_one(
    segment: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trimesh.creation.box((0.1, 0.06, 0.04)).export(tmp_path / "part.stl")
    command = ("--cad", tmp_path / "part.stl", "--units", "m")
    for _ in range(2):  # the second time from the cache
        assert segment(*command) == 0
        said = capsys.readouterr().err
        assert "warning: object 'part' (part.stl): its CAD file has no color" in said
        assert "part: 100 x 60 x 40 mm" in said
    assert segment(*command, "--color", "steelblue") == 0
    assert "warning" not in capsys.readouterr().err
    assert segment(*command, "--color", "nocolor") != 0
    assert "color 'nocolor' is no color: give three whole numbers" in " ".join(capsys.readouterr().err.split())
