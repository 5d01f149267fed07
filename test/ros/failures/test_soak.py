"""`make soak` for a minute: an hour of it is the same with other numbers."""

import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
import soak_node
from resource_growth import Sample, exit_status, quarters
from soak_node import FRAMES_AN_HOUR

TIMEOUT_S = 400.0


@pytest.fixture
def folder(workspace, tmp_path):
    """The rendered scene of `workspace` as files."""
    with np.load(workspace / "frame.npz") as stored:
        cv2.imwrite(str(tmp_path / "rgb.png"), cv2.cvtColor(stored["rgb"], cv2.COLOR_RGB2BGR))
        cv2.imwrite(str(tmp_path / "depth.png"), np.round(stored["depth_m"] * 1000).astype(np.uint16))
        numbers = ", ".join(str(float(k)) for k in stored["intrinsics"].ravel())
    (tmp_path / "camera.json").write_text(f'{{"cam_K": [{numbers}], "depth_scale": 1.0}}')
    return tmp_path


@pytest.mark.soak
def test_memory_threads_and_files_stay_flat_while_everything_around_the_node_changes(folder, workspace, parameters):
    # a domain of its own: the node is called /ism, as a user's
    environment = {name: value for name, value in os.environ.items() if name != "ROS_DOMAIN_ID"}
    command = [sys.executable, soak_node.__file__, "--minutes", "0.6", "--pause", "0.2", "--hours", "0.2"]
    command += ["--folder", str(folder), "--objects", parameters["objects_file"], "--cache", parameters["cache_dir"]]
    # no page of this node is warm yet: what grows in half a minute is mostly its start
    command += ["--output", str(folder / "out"), "--allowed-mb", "80"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    for event in ("object added", "parameters set", "camera restarted", "frame segmented on demand"):
        assert event in ended.stdout
    assert "rejected 0, inference failures 0" in ended.stdout.replace("\n", " ")


class Silent:
    def print(self, *_):
        pass


def run_of(memory_mb=lambda step: 600.0, threads=lambda step: 40, files=lambda step: 60):
    steps = range(FRAMES_AN_HOUR // 100)
    return [Sample(step / 10, step * 10, memory_mb(step), threads(step), files(step)) for step in steps]


def test_a_run_that_stays_as_it_is_passes():
    assert exit_status(run_of(), 50.0, 0, Silent()) == 0


@pytest.mark.parametrize(
    "leak",
    [
        {"memory_mb": lambda step: 600.0 + 2.0 * step},
        {"threads": lambda step: 40 + step // 10},
        {"files": lambda step: 60 + step // 10},
    ],
    ids=["memory", "threads", "files"],
)
def test_a_leak_of_any_kind_fails(leak):
    assert exit_status(run_of(**leak), 50.0, 0, Silent()) == 1


def test_a_failed_inference_fails_the_run():
    assert exit_status(run_of(), 50.0, 1, Silent()) == 1


def test_what_a_start_takes_is_not_growth():
    assert quarters([100.0, 500.0, 600.0, 600.0, 600.0, 600.0, 600.0, 600.0]) == (600.0, 600.0)
