"""`ism bench` as a user runs it, on the scene that comes with the package, with few frames."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from ism_ros.bench.bench_run import StageBar, read_stage_bar
from ism_ros.bench.stage_picture import COLORS, draw_stages
from ism_ros.cli.main import main
from ism_ros.model import InstanceSegmentationModel
from ism_ros.runtime import machine
from ism_ros.runtime.machine import CoreUse, CoreWatch, processor_name
from ism_ros.selftest.sample_files import SCENE

FRAME = ("--rgb", SCENE / "rgb.jpg", "--depth", SCENE / "depth.png", "--camera", SCENE / "camera.json")
OBJECTS = ("--objects", SCENE / "objects.yaml")
STAGES = ["proposals", "descriptors", "scores", "selection", "search", "pose", "checks"]

Bench = Callable[..., int]


def runner(cache: Path) -> Iterator[Bench]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"ISM_CACHE_DIR": str(cache), "ISM_DEVICE": "cpu", "COLUMNS": "80"}.items():
            patch.setenv(name, value)

        def run(*arguments: object) -> int:
            patch.setattr(sys, "argv", ["ism", "bench", *map(str, arguments)])
            with pytest.raises(SystemExit) as ended:
                main()
            return int(ended.value.code or 0)

        yield run


@pytest.fixture
def bench(sample_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """The command without the onboarding into an empty cache, which takes longest and `written` has."""
    monkeypatch.setattr("ism_ros.bench.onboarding_times.time_onboarding", lambda *given: None)
    yield from runner(sample_cache)


@pytest.fixture(scope="module")
def written(sample_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of one run of two frames."""
    folder = tmp_path_factory.mktemp("bench") / "out"
    for run in runner(sample_cache):
        assert run("--frames", 2, "--output", folder, "--label", "first") == 0
    return folder


@pytest.fixture(scope="module")
def record(written: Path) -> dict[str, Any]:
    return json.loads((written / "bench.json").read_text())


def said_of(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().err.split())


def test_the_stages_add_up_to_the_frame(record: dict[str, Any]) -> None:
    times = record["times"]
    assert times["frames"] == 2
    assert list(times["stages"]) == STAGES
    whole = times["frame"]
    assert sum(stage["mean_ms"] for stage in times["stages"].values()) == pytest.approx(whole["mean_ms"])
    assert 0 < whole["median_ms"] <= whole["p90_ms"]
    assert times["frames_per_s"] == pytest.approx(1e3 / whole["mean_ms"])
    assert record["ended_early"] == ""


def test_what_was_measured_is_named(record: dict[str, Any]) -> None:
    assert record["machine"]["processor"] == processor_name() != ""
    assert record["machine"]["instructions"] == torch.backends.cpu.get_cpu_capability()
    assert record["machine"]["torch"] == torch.__version__
    models = {"segmentor": "tiny", "descriptor": "tiny", "scoring": "verified", "runtime": "torch", "device": "cpu"}
    assert record["models"] == models
    height, width, _ = cv2.imread(str(SCENE / "rgb.jpg")).shape
    assert "sample" in record["frame"]["source"]
    assert [record["frame"][name] for name in ("width", "height", "objects")] == [width, height, 2]
    times = record["times"]
    assert times["detections"] == 2
    assert times["proposals"] > 2
    convolutions = "bfloat16" if machine.multiplies_in_bfloat16() else "float32"
    assert times["operations"]["proposals"]["formats"][0] == convolutions
    assert times["operations"]["descriptors"]["formats"][0] == convolutions
    assert all(one["operations"] > one["waits"] >= 0 for one in times["operations"].values())
    assert times["memory"]["device_allocations"] is None
    assert 100 < times["memory"]["resident"] <= times["memory"]["peak"]
    assert record["onboarding"]["object_id"] == "carton"
    assert record["onboarding"]["cached_s"] < record["onboarding"]["first_s"]
    assert record["start"]["rendered"] == 0


def test_the_text_has_the_same_numbers_within_80_columns(written: Path, record: dict[str, Any]) -> None:
    text = (written / "bench.txt").read_text()
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    lines = [line.split() for line in text.splitlines()]
    times = record["times"]
    for name in STAGES:
        (row,) = (words for words in lines if words[:1] == [name])
        assert float(row[1]) == pytest.approx(times["stages"][name]["median_ms"], abs=0.5)
    (whole,) = (words for words in lines if words[:2] == ["whole", "frame"])
    assert float(whole[2]) == pytest.approx(times["frame"]["median_ms"], abs=0.5)
    assert f"{times['proposals']} proposals, 2 detections" in text
    assert processor_name() in " ".join(text.split())


def test_the_picture_has_every_stage_in_proportion(written: Path, record: dict[str, Any]) -> None:
    picture = cv2.imread(str(written / "bench.png"))[:, :, ::-1]
    np.testing.assert_array_equal(picture, draw_stages([read_stage_bar(written / "bench.json")]))
    medians = [record["times"]["stages"][name]["median_ms"] for name in STAGES]
    # numbers are written over the middle of the bar: its upper rows are whole
    shares = stage_pixels(picture) / stage_pixels(picture).sum()
    np.testing.assert_allclose(shares, np.array(medians) / sum(medians), atol=0.01)


def stage_pixels(picture: np.ndarray) -> np.ndarray:
    """Pixels of each stage in the row of the picture that has most of them."""
    counted = np.stack([(picture == color).all(axis=2).sum(axis=1) for color in COLORS[: len(STAGES)]], axis=1)
    return counted[counted.sum(axis=1).argmax()]


def test_a_longer_run_has_a_longer_bar() -> None:
    runs = [StageBar("a", "here", {"proposals": ms}, ms, 1e3 / ms) for ms in (50.0, 100.0)]
    whole = (draw_stages(runs) == COLORS[0]).all(axis=2).sum(axis=1)
    lengths = [int(rows.max()) for rows in np.array_split(whole[:-40], 2)]
    assert lengths[1] == pytest.approx(2 * lengths[0], abs=2)


def test_an_own_frame_is_measured_beside_an_earlier_run(
    bench: Bench, written: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = (*FRAME, *OBJECTS, "--object", "banana", "--frames", 1, "--scoring", "shape")
    assert bench(*command, "--compare", written / "bench.json", "--output", tmp_path) == 0
    told = capsys.readouterr().out
    rows = [line.split() for line in told.splitlines()]
    assert any(row[:1] == ["first"] for row in rows)
    assert "tiny + tiny, shape" in told
    record = json.loads((tmp_path / "bench.json").read_text())
    assert (record["frame"]["source"], record["frame"]["objects"]) == ("rgb.jpg", 1)
    one, two = cv2.imread(str(written / "bench.png")), cv2.imread(str(tmp_path / "bench.png"))
    assert len(two) > len(one)


def test_ctrl_c_ends_the_run_and_shows_what_was_measured(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupt(monkeypatch, after=2)  # the warm-up and one frame
    assert bench("--frames", 50) == 130
    told = capsys.readouterr()
    assert "whole frame" in told.out
    assert "stopped by Ctrl-C: 1 frame measured" in told.out
    assert "Traceback" not in told.err


def test_ctrl_c_before_the_first_frame_is_told(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupt(monkeypatch, after=0)
    assert bench() == 130
    told = capsys.readouterr()
    assert told.out == ""
    assert "stopped by Ctrl-C: no frame was measured" in told.err


def interrupt(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Press Ctrl-C during the frame after so many."""
    segment, left = InstanceSegmentationModel.segment, [after]

    def interrupted(*arguments: Any, **more: Any) -> Any:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return segment(*arguments, **more)

    monkeypatch.setattr(InstanceSegmentationModel, "segment", interrupted)


def test_time_that_runs_out_is_told_with_the_frames_that_were_measured(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ism_ros.cli.bench.MAX_MEASURE_S", 0.0)
    assert bench("--frames", 50) == 0
    assert "0 s are over: 1 frame measured" in capsys.readouterr().out


def test_all_profiles_are_measured_or_named_with_what_is_missing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ISM_CHECKPOINTS_DIR", str(tmp_path / "none"))
    assert bench("--all", "--frames", 1, "--output", tmp_path / "out") == 0
    told = capsys.readouterr()
    rows = {words[0]: words[1:] for line in told.out.splitlines() if (words := line.split())}
    assert float(rows["embedded"][0]) > 0
    assert set(rows["accurate"]) == {"-"}
    assert "sam/vit_h" in told.err
    lines = (tmp_path / "out" / "bench.md").read_text().splitlines()
    cells = {row[1]: row[2:-1] for line in lines if len(row := [cell.strip() for cell in line.split("|")]) > 2}
    record = json.loads((tmp_path / "out" / "embedded" / "bench.json").read_text())
    assert float(cells["embedded"][0]) == pytest.approx(record["times"]["frame"]["median_ms"], abs=0.5)
    assert "ism weights download" in cells["accurate-guided"][0]
    assert processor_name() in lines[-1]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_cuda_without_a_gpu_is_told_in_one_line(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench("--device", "cuda") == 2
    said = capsys.readouterr().err.strip()
    assert "\n" not in said
    assert said.startswith("ism: ")
    assert "device 'cuda' cannot be used" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--rgb", SCENE / "rgb.jpg"), "a frame of yours needs --rgb and --camera"),
        (("--depth", SCENE / "depth.png"), "a frame of yours needs --rgb and --camera"),
        (FRAME, "nothing to look for: give --cad FILE"),
        ((*FRAME[:1], SCENE / "objects.yaml", *FRAME[2:], *OBJECTS), "objects.yaml is not an image"),
        (("--objects", SCENE / "rgb.jpg"), "rgb.jpg"),
        (("--object", "mug"), "--object mug is not known; known: carton, banana"),
        (("--compare", SCENE / "camera.json"), "camera.json is no file that ism bench wrote"),
        (("--compare", SCENE / "missing.json"), "missing.json cannot be read"),
        (("--output", SCENE / "rgb.jpg"), "rgb.jpg cannot be written (File exists)"),
        (("--scoring", "cnos"), "cnos"),
        (("--all", "--segmentor", "sam"), "--all measures every profile: leave out --segmentor"),
    ],
)
def test_wrong_input_is_told_in_one_line(
    bench: Bench, capsys: pytest.CaptureFixture[str], arguments: tuple[object, ...], said: str
) -> None:
    assert bench(*arguments) == 2
    told = capsys.readouterr()
    assert told.out == ""
    line = told.err.strip().splitlines()[-1]
    assert line.startswith("ism: ")
    assert said in line
    assert "Traceback" not in told.err


# --- who uses the cores ---


@pytest.mark.parametrize(("others", "contended"), [(None, False), (0.1, False), (0.5, True), (2.0, True)])
def test_others_matter_where_they_take_cores_that_the_models_want(others: float | None, contended: bool) -> None:
    assert CoreUse(cores=2, own_s=1.0, own=1.0, others=others).is_contended(threads=2) is contended
    assert not CoreUse(cores=64, own_s=1.0, own=1.0, others=others).is_contended(threads=4)


def test_what_others_use_is_what_this_process_does_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stat, now = tmp_path / "stat", {"perf_counter": 100.0, "process_time": 5.0}
    clocks = SimpleNamespace(perf_counter=lambda: now["perf_counter"], process_time=lambda: now["process_time"])
    monkeypatch.setattr(machine, "STAT", stat)
    monkeypatch.setattr(machine, "time", clocks)
    second = os.sysconf("SC_CLK_TCK")
    stat.write_text(f"cpu  {10 * second} 0 0 {90 * second} 0 0 0 0 0 0\ncpu0 1 1 1 1\n")
    watch = CoreWatch()
    # four seconds in programs, two in the kernel, three taken by other virtual machines; guests count as programs
    busy = f"{14 * second} 0 {2 * second} {99 * second} {2 * second} 0 0 {3 * second} {2 * second} 0"
    stat.write_text(f"cpu  {busy}\ncpu0 1 1 1 1\n")
    now.update(perf_counter=110.0, process_time=9.0)
    use = watch.read()
    assert (use.own_s, use.own) == (4.0, 0.4)
    assert use.others == pytest.approx(0.5)
    stat.unlink()
    assert watch.read().others is None
