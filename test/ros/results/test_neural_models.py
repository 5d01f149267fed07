"""Neural pairs from a checkpoints folder: the node, `ism segment` and the engine find the same in the same frame.

The networks are small and random, in the layouts of the official checkpoints: what they find means nothing, but is
the same everywhere.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
from cell import opened
from dummy_networks import ANYTHING, PAIRS, install_pair
from same_detections import Instance, assert_same, instances_of, instances_of_records

from ism_ros.config.sources import load_settings
from ism_ros.data.rle import decode_rle
from ism_ros.io.frame_files import read_frame
from ism_ros.loading import load_model

pytestmark = pytest.mark.faults

FRAME_ID = "camera_color_optical_frame"
FILES = ("rgb.png", "depth.png", "camera.json")


@pytest.fixture(scope="module", params=list(PAIRS))
def chosen(request, parameters, tmp_path_factory):
    """Settings of a neural pair, whose checkpoints are found in their folder by name."""
    folder = install_pair(tmp_path_factory.mktemp("checkpoints"), request.param)
    return {**parameters, **PAIRS[request.param], **ANYTHING, "checkpoints_dir": str(folder)}


@pytest.fixture(scope="module")
def files(workspace):
    """The frame that the camera publishes, as the files that `ism segment` takes."""
    with np.load(workspace / "frame.npz") as stored:
        cv2.imwrite(str(workspace / "rgb.png"), stored["rgb"][..., ::-1])
        cv2.imwrite(str(workspace / "depth.png"), np.round(stored["depth_m"] * 1000).astype(np.uint16))
        camera = {"cam_K": stored["intrinsics"].ravel().tolist(), "depth_scale": 1.0}
    (workspace / "camera.json").write_text(json.dumps(camera))
    return [workspace / name for name in FILES]


@pytest.fixture(scope="module")
def expected(chosen, files):
    """What the engine finds, in this process."""
    model = load_model(load_settings(overrides=chosen, environment={}))
    return instances_of(model.segment(read_frame(*files)))


@pytest.fixture(scope="module")
def cell(start_cell, chosen):
    # templates are described by the network, after they were rendered where this is the first test
    with opened(start_cell(chosen), timeout_s=240.0) as cell:
        yield cell


def instances_of_messages(detections, masks):
    """Of one frame's ~/detections and ~/masks; class ids are numbered as in objects.yaml."""
    number = {"duck": 1, "drill": 2}
    rows = []
    for detection, instance in zip(detections.detections, masks.instances, strict=True):
        hypothesis, box = detection.results[0].hypothesis, detection.bbox
        corner = (box.center.position.x - (box.size_x - 1) / 2, box.center.position.y - (box.size_y - 1) / 2)
        first = [int(side) for side in corner]
        rows.append(
            Instance(
                number[hypothesis.class_id],
                hypothesis.score,
                decode_rle({"size": [instance.height, instance.width], "counts": instance.rle_counts}),
                (*first, first[0] + int(box.size_x) - 1, first[1] + int(box.size_y) - 1),
            )
        )
    return rows


def test_the_node_publishes_what_the_engine_finds_in_the_same_frame(cell, expected):
    detections = cell.result("detections")
    stamp = detections.header.stamp.sec, detections.header.stamp.nanosec
    masks = cell.listener.wait_for(lambda: cell.listener.with_stamp("masks", stamp), "masks of the same frame")
    # found by the stamp that the camera gave its rgb image
    assert detections.header.frame_id == masks.header.frame_id == FRAME_ID
    assert all(detection.header == detections.header for detection in detections.detections)
    assert_same(instances_of_messages(detections, masks), expected)


def test_ism_segment_writes_what_the_engine_finds_in_the_same_frame(chosen, files, expected, tmp_path):
    (tmp_path / "ism.yaml").write_text(json.dumps(chosen))
    given = [f"--{name}={file}" for name, file in zip(("rgb", "depth", "camera"), files, strict=True)]
    done = subprocess.run(
        [sys.executable, "-m", "ism_ros.cli.main", "segment", *given, "--config=ism.yaml", "--output=out"],
        cwd=tmp_path, env={**os.environ, "COLUMNS": "200"}, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Loading weights" not in done.stderr
    records = json.loads((tmp_path / "out" / "detection_ism.json").read_text())
    assert_same(instances_of_records(records, bop_boxes=False), expected)
    with np.load(tmp_path / "out" / "detection_ism.npz") as stored:
        assert stored["segmentation"].shape == (len(expected), 480, 640)


def test_the_log_of_the_node_has_lines_of_ros_and_no_progress_bars(cell, chosen):
    cell.wait_until("active")
    lines = cell.node.output.splitlines()
    assert any(f"'{chosen['segmentor']}'" in line for line in lines), cell.node.output
    assert [line for line in lines if not line.startswith("[")] == []
