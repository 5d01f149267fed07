"""What comes after the node, over DDS: boxes, points and markers in space, ids over time, the example program."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ament_index_python.packages import get_package_prefix
from cell import opened
from visualization_msgs.msg import Marker

from ism_ros.data.rle import decode_rle
from ism_ros.node.outputs.messages_3d import POINT
from ism_ros.tracking.ids import MAX_AGE_FRAMES, MAX_AGE_S

pytestmark = pytest.mark.timeout(900)  # on a busy machine, rendering templates alone takes minutes

TOPICS = ("detections", "mask_image", "masks", "overlay", "detections_3d", "points", "markers")
CAMERA_FRAME = "camera_color_optical_frame"


@pytest.fixture(scope="module")
def cell(start_cell: Callable[..., Any], parameters: dict[str, Any]) -> Iterator[Any]:
    with opened(start_cell({**parameters, "tracking": True}, TOPICS), timeout_s=450.0) as cell:
        yield cell


@pytest.fixture(scope="module")
def stored(workspace: Path) -> dict[str, np.ndarray]:
    with np.load(workspace / "frame.npz") as content:
        return dict(content)


@pytest.fixture(scope="module")
def results(cell: Any) -> dict[str, Any]:
    """One frame's message on every topic."""
    listener = cell.listener

    def complete() -> Any:
        stamps = {(d.header.stamp.sec, d.header.stamp.nanosec) for d in listener.messages["detections"]}
        for stamp in sorted(stamps):
            found = {name: listener.with_stamp(name, stamp) for name in TOPICS if name != "markers"}
            found["markers"] = next((m for m in listener.messages["markers"] if stamp_of_markers(m) == stamp), None)
            if all(found.values()) and len(found["detections"].detections) >= 2:
                return found
        return None

    return cell.publish_until(complete, "a message on every topic", 240.0)


def stamp_of_markers(message: Any) -> tuple[int, int]:
    return message.markers[0].header.stamp.sec, message.markers[0].header.stamp.nanosec


def labels_of(message: Any) -> np.ndarray:
    return np.frombuffer(message.data, "<u2").reshape(message.height, message.width)


def test_boxes_in_space_are_those_of_the_detections_with_the_models_size(results: dict[str, Any]) -> None:
    flat = {d.id: d for d in results["detections"].detections}
    boxes = results["detections_3d"].detections
    assert {box.id for box in boxes} == set(flat)
    for box in boxes:
        twin = flat[box.id].results[0]
        assert box.header == results["detections"].header
        assert box.results[0].hypothesis == twin.hypothesis
        assert box.results[0].pose == twin.pose
        assert 0.05 < max(box.bbox.size.x, box.bbox.size.y, box.bbox.size.z) < 0.3
        covariance = np.reshape(twin.pose.covariance, (6, 6))
        assert np.linalg.eigvalsh(covariance).min() > 0


def test_boxes_are_where_the_points_of_their_instance_are(results: dict[str, Any]) -> None:
    points = np.frombuffer(results["points"].data, POINT)
    for box in results["detections_3d"].detections:
        own = points[points["instance_id"] == int(box.id)]
        centre = box.bbox.center.position
        middle = [np.median(own[axis]) for axis in "xyz"]
        half_diagonal = np.linalg.norm([box.bbox.size.x, box.bbox.size.y, box.bbox.size.z]) / 2
        assert np.linalg.norm(np.subtract(middle, [centre.x, centre.y, centre.z])) < half_diagonal


def test_points_are_the_pixels_of_the_mask_image_that_have_depth(
    results: dict[str, Any], stored: dict[str, np.ndarray]
) -> None:
    cloud = results["points"]
    points = np.frombuffer(cloud.data, POINT)
    assert cloud.header == results["detections"].header
    assert cloud.header.frame_id == CAMERA_FRAME
    assert (cloud.point_step, cloud.width, cloud.height) == (POINT.itemsize, len(points), 1)
    labels = labels_of(results["mask_image"])
    rows, columns = np.nonzero((labels > 0) & (np.round(stored["depth_m"] * 1000) > 0))
    assert len(points) == len(rows)
    np.testing.assert_array_equal(points["instance_id"], labels[rows, columns])
    np.testing.assert_allclose(points["z"], stored["depth_m"][rows, columns], atol=6e-4)
    k = stored["intrinsics"]
    np.testing.assert_allclose(points["x"] / points["z"] * k[0, 0] + k[0, 2], columns, atol=1e-2)
    colors = stored["rgb"][rows, columns].astype(np.uint32)
    np.testing.assert_array_equal(points["rgb"], colors[:, 0] << 16 | colors[:, 1] << 8 | colors[:, 2])


def test_markers_draw_every_box_and_name_after_removing_the_last_ones(results: dict[str, Any]) -> None:
    first, *rest = results["markers"].markers
    assert first.action == Marker.DELETEALL
    lines = {m.id: m for m in rest if m.type == Marker.LINE_LIST}
    names = {m.id: m for m in rest if m.type == Marker.TEXT_VIEW_FACING}
    for box in results["detections_3d"].detections:
        drawn = np.array([[p.x, p.y, p.z] for p in lines[int(box.id)].points])
        assert len(drawn) == 24
        size = [box.bbox.size.x, box.bbox.size.y, box.bbox.size.z]
        np.testing.assert_allclose(np.ptp(drawn, axis=0), size, rtol=1e-6)
        assert names[int(box.id)].text.startswith(f"{box.results[0].hypothesis.class_id} #{box.id} ")


def ids_in(message: Any) -> dict[str, str]:
    """The class of each id."""
    return {d.id: d.results[0].hypothesis.class_id for d in message.detections}


def test_ids_stay_and_are_the_same_on_all_topics(cell: Any, results: dict[str, Any]) -> None:
    before = ids_in(results["detections"])
    count = len(cell.listener.messages["detections"])
    cell.publish_until(lambda: len(cell.listener.messages["detections"]) >= count + 10, "ten more results", 240.0)
    for message in cell.listener.messages["detections"][count:]:
        if message.detections:
            assert ids_in(message).items() <= before.items()
    labels = labels_of(results["mask_image"])
    for instance in results["masks"].instances:
        mask = decode_rle({"size": [instance.height, instance.width], "counts": instance.rle_counts})
        assert instance.id in np.unique(labels[mask])
        assert before[str(instance.id)] == instance.class_id


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_ids_of_a_static_scene_stay_over_a_thousand_noisy_frames(
    start_cell: Callable[..., Any], parameters: dict[str, Any]
) -> None:
    # the drill scores 0.56 here: at the default threshold noise would decide
    default = {"segmentor": "tiny", "descriptor": "tiny", "score_threshold": 0.45}
    cell = start_cell({**parameters, **default, "tracking": True}, ["detections"])
    try:
        cell.wait_until("active", timeout_s=450.0)
        cell.connect()
        detections = cell.listener.messages["detections"]
        cell.camera.start_publishing(100_000, rate_hz=30.0, alter="noisy")
        cell.listener.wait_for(lambda: len(detections) >= 1000, "a thousand results", 1500.0)
        cell.camera.kill()
    finally:
        cell.close()
    for name in ("duck", "drill"):
        ids = [{d.id for d in m.detections if d.results[0].hypothesis.class_id == name} for m in detections]
        shown = [of_frame for of_frame in ids if of_frame]
        assert len(shown) > 950
        # a part of it is sometimes taken for another one, with an id of its own
        assert set.intersection(*shown), f"{name} changed its id: {Counter(number for f in shown for number in f)}"


@pytest.mark.slow
def test_what_was_away_for_long_comes_back_with_new_ids_and_without_tracking_ids_are_rows(
    cell: Any, results: dict[str, Any]
) -> None:
    before = ids_in(results["detections"])
    detections = cell.listener.messages["detections"]
    began = len(detections)

    def away() -> bool:
        empty = [d for d in detections[began:] if not d.detections]
        stamps = [d.header.stamp.sec + d.header.stamp.nanosec * 1e-9 for d in empty]
        return len(empty) > MAX_AGE_FRAMES + 1 and stamps[-1] - stamps[0] > MAX_AGE_S + 0.5

    cell.publish_until(away, "enough frames without an instance", 240.0, alter="plane")
    count = len(detections)
    cell.publish_until(lambda: any(d.detections for d in detections[count:]), "a detection")
    again = next(ids_in(d) for d in detections[count:] if d.detections)
    assert not set(again) & set(before)

    assert cell.listener.set_parameters(tracking=False)[0].successful
    cell.result()
    assert [d.id for d in cell.result().detections] == [str(row + 1) for row in range(len(again))]
    assert cell.listener.set_parameters(tracking=True)[0].successful


def test_the_example_saves_what_a_pose_estimator_needs(
    cell: Any, stored: dict[str, np.ndarray], tmp_path: Path
) -> None:
    namespace = cell.listener.node.get_namespace()
    script = Path(get_package_prefix("ism_ros")) / "lib" / "ism_ros" / "crop_instances.py"
    remaps = [argument for pair in ("masks:=ism/masks",) for argument in ("-r", pair)]
    output = tmp_path / "crops"
    example = subprocess.Popen(
        [sys.executable, "-X", "faulthandler", str(script), "--ros-args", "-r", f"__ns:={namespace}", *remaps,
         "-p", f"output:={output}", "-p", "points:=512"],
        cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=os.environ,
    )  # fmt: skip

    def saved() -> list[Path]:
        assert example.poll() is None, example.stderr.read()
        files = sorted(output.glob("*.npz"))
        # a file that is still being written is not the only one of its class for long
        return files if len(files) >= 6 else []

    try:
        files = cell.publish_until(saved, "saved crops", 240.0)
    finally:
        example.terminate()
        try:
            example.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            example.send_signal(signal.SIGABRT)
            pytest.fail(f"the example does not end: {example.communicate()[1]}")
    classes = set()
    for file in files[:-1]:
        with np.load(file) as found:
            classes.add(str(found["class_id"]))
            assert found["points_m"].shape == (512, 3)
            assert found["colours"].shape == (512, 3)
            assert found["rgb"].shape[:2] == found["mask"].shape
            columns, rows = found["pixels"].T
            np.testing.assert_array_equal(found["colours"], stored["rgb"][rows, columns])
            np.testing.assert_allclose(found["points_m"][:, 2], stored["depth_m"][rows, columns], atol=6e-4)
            assert found["mask"][rows - found["top"], columns - found["left"]].all()
            np.testing.assert_allclose(found["intrinsics"], stored["intrinsics"])
            distance = np.linalg.norm(found["points_m"].mean(axis=0) - found["pose"][:3, 3])
            assert distance < 0.15
            wanted = list(stored["truth_ids"]).index(str(found["class_id"]))
            assert stored["truth_masks"][wanted][rows, columns].mean() > 0.8
    assert classes == {"duck", "drill"}
