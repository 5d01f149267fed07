"""Bad input never kills the node and is never silent: it is counted by reason, and the next good frame is answered."""

import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.qos import ReliabilityPolicy

WARNED = (DiagnosticStatus.WARN, DiagnosticStatus.ERROR, DiagnosticStatus.STALE)


@pytest.mark.parametrize(
    ("alter", "reason", "said"),
    [
        ("rgb_unknown_encoding", "encoding", "nonsense"),
        ("depth_unknown_encoding", "encoding", "64FC1"),
        ("swapped", "encoding", "swapped"),
        ("rgb_truncated", "truncated", "rgb"),
        ("depth_truncated", "truncated", "depth"),
        ("rgb_step_too_small", "step", "7 bytes a row"),
        ("depth_half_size", "size_mismatch", "320 x 240"),
        ("zero_k", "bad_intrinsics", "focal"),
        ("k_by_column", "bad_intrinsics", "must be 0 0 1"),
        ("k_normalised", "bad_intrinsics", "normalised"),
        ("camera_info_other_size", "camera_info_size", "1280 x 960"),
    ],
)
def test_an_unusable_frame_is_rejected_with_its_reason_and_the_next_one_answered(shared_cell, alter, reason, said):
    listener = shared_cell.listener
    before = listener.count(f"rejected.{reason}")
    shared_cell.publish_until(
        lambda: listener.count(f"rejected.{reason}") > before and said in listener.status.message,
        f"'{said}' and one more {reason} in /diagnostics",
        alter=alter,
    )
    assert listener.status.level in WARNED
    assert shared_cell.result().detections
    assert shared_cell.node.process.poll() is None


def test_depth_without_a_reading_is_rejected_where_the_segmentor_needs_it(start_cell, parameters):
    cell = start_cell({**parameters, "segmentor": "plugins:NEEDS_DEPTH"}, topics=["detections"])
    try:
        cell.wait_until("active")
        cell.connect()
        cell.publish_until(
            lambda: cell.listener.count("rejected.no_depth") and "no reading" in cell.listener.status.message,
            "no_depth in /diagnostics",
            alter="depth_all_zero",
        )
        assert cell.listener.status.level in WARNED
        assert cell.result().detections
    finally:
        cell.close()


def test_a_rejection_is_said_in_the_log(shared_cell):
    shared_cell.publish_until(
        lambda: "frame rejected: rgb has the encoding 'nonsense'" in shared_cell.node.output,
        "the warning in the log",
        alter="rgb_unknown_encoding",
    )


def test_nan_infinite_and_negative_depth_is_noticed_and_the_frame_answered(shared_cell):
    listener = shared_cell.listener
    assert shared_cell.result(alter="depth_float_with_holes").detections
    listener.wait_for(lambda: listener.count("noticed.nonfinite_depth"), "nonfinite_depth in /diagnostics")
    listener.wait_for(lambda: listener.count("noticed.negative_depth"), "negative_depth in /diagnostics")


def test_65535_is_no_reading_and_no_doubt(shared_cell):
    listener = shared_cell.listener
    assert shared_cell.result(alter="depth_holes_65535").detections
    assert not listener.count("noticed.depth_unit")


def test_a_frame_of_one_pixel_is_answered(shared_cell):
    assert shared_cell.result(alter="one_pixel").detections == []


def test_stamps_that_never_match_are_said_and_matching_ones_work_again(shared_cell):
    listener = shared_cell.listener
    shared_cell.publish_until(
        lambda: listener.count("noticed.stamps_never_match") and "apart" in listener.status.message,
        "stamps_never_match in /diagnostics",
        count=3,
        offset_s={"depth": 3600.0},
    )
    assert listener.status.level in WARNED
    assert shared_cell.result().detections


def test_a_missing_topic_is_named(shared_cell):
    listener = shared_cell.listener
    shared_cell.publish_until(
        lambda: (
            listener.count("noticed.nothing_arrives") and "/depth, though it is published" in listener.status.message
        ),
        "nothing_arrives in /diagnostics",
        count=3,
        without=["depth"],
    )
    assert shared_cell.result().detections


def test_stamps_that_jump_back_are_noticed_and_matched(shared_cell):
    listener = shared_cell.listener
    before = listener.count("noticed.time_jump")
    day_ago = dict.fromkeys(("rgb", "depth", "camera_info"), -86400.0)
    assert shared_cell.result(offset_s=day_ago).detections
    listener.wait_for(lambda: listener.count("noticed.time_jump") > before, "time_jump in /diagnostics")
    assert shared_cell.result().detections


def test_a_camera_that_is_killed_is_missed_and_welcome_back(shared_cell):
    listener = shared_cell.listener
    shared_cell.result()
    shared_cell.camera.kill()
    listener.wait_for(
        lambda: listener.level("camera") == DiagnosticStatus.STALE and "no frame for" in listener.text("camera"),
        "a stale camera in /diagnostics",
    )
    assert "camera" in listener.text("camera")
    shared_cell.connect()
    assert shared_cell.result().detections


@pytest.mark.slow
def test_reliability_auto_follows_the_publishers_that_are_there(shared_cell):
    listener = shared_cell.listener

    def asks_for(policy):
        return listener.wait_for(lambda: listener.reliability_of_input("rgb") == [policy], f"{policy} asked for")

    try:
        shared_cell.connect("--reliable")
        assert asks_for(ReliabilityPolicy.RELIABLE)
        assert shared_cell.result().detections
    finally:
        shared_cell.connect()
    assert asks_for(ReliabilityPolicy.BEST_EFFORT)
    assert shared_cell.result().detections


def test_demanding_reliable_of_a_best_effort_camera_is_said_with_the_remedy(start_cell, parameters):
    cell = start_cell({**parameters, "reliability": "reliable"}, topics=["detections"])
    try:
        cell.wait_until("active")
        cell.camera = cell._start_camera()
        cell.publish_until(
            lambda: (
                cell.listener.count("noticed.qos_incompatible")
                and "auto or best_effort" in cell.listener.status.message
            ),
            "qos_incompatible in /diagnostics",
        )
    finally:
        cell.close()


def test_compressed_rgb_and_compressed_depth_are_answered(start_cell, parameters):
    transports = {"rgb_transport": "compressed", "depth_transport": "compressed_depth"}
    cell = start_cell({**parameters, **transports}, topics=["detections"])
    try:
        cell.wait_until("active")
        cell.connect("--compressed")
        found = {d.results[0].hypothesis.class_id for d in cell.result(alter="compressed").detections}
        assert {"duck", "drill"} <= found
    finally:
        cell.close()
