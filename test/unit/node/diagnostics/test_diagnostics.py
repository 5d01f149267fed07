"""What the node counts, logs and shows in /diagnostics: events, latencies, levels."""

import logging
from pathlib import Path

import pytest
import torch
from rclpy.logging import get_logger

from ism_ros.node.camera_monitoring.camera_status import CameraStatus
from ism_ros.node.diagnostics.counters import FrameCounters, FrameSnapshot
from ism_ros.node.diagnostics.log_forwarding import LogForwarder
from ism_ros.node.diagnostics.summaries import (
    ERROR,
    OK,
    STALE,
    WARN,
    ObjectsStatus,
    SegmentationStatus,
    camera_summary,
    objects_summary,
    segmentation_summary,
)
from ism_ros.node.event_log import ONCE_S, DiagnosticEvent, EventLog, EventSnapshot
from ism_ros.node.execution.inference_failures import failure_text
from ism_ros.node.progress import Progress
from ism_ros.runtime.cache_folder import NOT_WRITTEN, warn_not_written


class Clock:
    """A clock that stands until it is told to go on."""

    def __init__(self):
        self.now_s = 100.0

    def __call__(self):
        return self.now_s


# events


@pytest.fixture
def clock():
    return Clock()


class Lines:
    """A logger that keeps its lines."""

    def __init__(self):
        self.lines = []

    def info(self, message):
        self.lines.append(f"INFO {message}")

    def warning(self, message):
        self.lines.append(f"WARN {message}")

    def error(self, message):
        self.lines.append(f"ERROR {message}")


@pytest.fixture
def logger():
    return Lines()


@pytest.fixture
def events(logger, clock):
    return EventLog(logger, clock)


def test_a_rejection_is_recent_for_five_seconds_and_counted_for_ever(events, clock):
    events.reject_frame("encoding", "rgb has an unknown encoding")
    assert events.snapshot().recent_rejection == "rgb has an unknown encoding"
    clock.now_s += 5.1
    assert events.snapshot().recent_rejection == ""
    assert events.snapshot().rejected == {"encoding": 1}


def test_each_key_is_logged_once_a_period_and_counted_each_time(events, logger, clock):
    for _ in range(2):
        events.warn(DiagnosticEvent("a", "the first"))
    events.warn(DiagnosticEvent("b", "another", count=3))
    clock.now_s += 10.0
    events.warn(DiagnosticEvent("a", "the first again"))
    assert logger.lines == ["WARN the first", "WARN another", "WARN the first again"]
    assert events.snapshot().noticed == {"a": 3, "b": 3}


def test_rclpys_own_logger_takes_each_severity(capfd):
    events = EventLog(get_logger("events"))
    events.log("a", "for information", "info")
    events.warn(DiagnosticEvent("b", "a warning"))
    events.fail_inference("an error")
    printed = capfd.readouterr().err
    assert all(text in printed for text in ("for information", "a warning", "an error"))


def test_what_holds_for_good_is_logged_once(events, logger, clock):
    for _ in range(3):
        events.log("lens", "it is corrected", "info", ONCE_S)
        clock.now_s += 3600.0
    assert logger.lines == ["INFO it is corrected"]
    assert [events.is_first("gray") for _ in range(2)] == [True, False]


def test_a_counted_event_is_neither_logged_nor_shown_but_its_text_is_found(events, logger, clock):
    before_s = events.now_s
    events.count_event("cache_not_written", "cannot keep templates")
    clock.now_s += 100.0
    assert events.text_since("cache_not_written", before_s) == "cannot keep templates"
    assert events.text_since("cache_not_written", events.now_s) == ""
    assert (logger.lines, events.snapshot().recent_warning) == ([], "")


def test_a_record_of_pythons_logging_with_a_reason_is_forwarded_and_counted(events, logger):
    package = logging.getLogger("ism_ros")
    forwarder = LogForwarder(logger, events)
    try:
        logging.getLogger("ism_ros.objects").warning("a file is %s", "damaged", extra={"reason": "cache_damaged"})
        logging.getLogger("ism_ros.objects").info("nothing to forward")
    finally:
        detach(package, forwarder)
    assert logger.lines == ["WARN a file is damaged"]
    assert events.snapshot().noticed == {"cache_damaged": 1}


def test_a_cache_that_cannot_be_written_is_logged_once_and_shown_for_as_long_as_it_lasts(events, logger, clock):
    package = logging.getLogger("ism_ros")
    forwarder = LogForwarder(logger, events)
    try:
        warn_not_written(Path("/full/descriptors"), "No space left on device")
        clock.now_s += 100.0
        later_s = events.now_s
        warn_not_written(Path("/full/descriptors"), "No space left on device")
    finally:
        detach(package, forwarder)
    text = "cannot keep files in /full/descriptors (No space left on device); going on without"
    assert logger.lines == [f"WARN {text}"]
    assert events.text_since(NOT_WRITTEN, later_s) == text
    assert events.snapshot().noticed == {NOT_WRITTEN: 2}


def detach(package, forwarder):
    package.removeHandler(forwarder)
    package.setLevel(logging.NOTSET)
    package.propagate = True


def test_progress_is_shown_always_and_logged_now_and_then(logger):
    progress = Progress(logger)
    progress.show("object 1 of 1: mug")
    for done in range(1, 43):
        progress.show_templates("object 1 of 1: mug", done, 42)
        assert progress.text == f"object 1 of 1: mug, template {done} of 42"
    assert logger.lines[1:] == [f"INFO object 1 of 1: mug, template {done} of 42" for done in (14, 28, 42)]


# counts and latencies


def test_latencies_are_the_median_and_the_95th_percentile_of_a_stage():
    frames = FrameCounters()
    for milliseconds in range(1, 101):
        frames.frame_done({"inference": milliseconds / 1000}, detections=1)
    latency = frames.snapshot().latencies["inference"]
    assert latency.median_ms == pytest.approx(50.5)
    assert latency.percentile_95_ms == pytest.approx(95.05)


def test_the_rate_counts_the_frames_of_the_last_ten_seconds():
    clock = Clock()
    frames = FrameCounters(clock=clock)
    for _ in range(60):
        clock.now_s += 0.25
        frames.frame_done({}, detections=0)
    assert frames.snapshot().rate_hz == pytest.approx(4.0, abs=0.2)
    clock.now_s += 20.0
    assert frames.snapshot().rate_hz == 0.0
    assert frames.snapshot().last_frame_age_s == pytest.approx(20.0)


# levels

NO_PUBLISHERS = DiagnosticEvent("no_publishers", "nobody publishes /rgb: start the camera")


def camera(state="active", problem=None, had_frames=True, is_gone=False, stamp_age_s=0.1, all_rejected=False, **events):
    status = CameraStatus(problem, is_gone, had_frames=had_frames, rate_hz=30.0, stamp_age_s=stamp_age_s)
    return camera_summary(state, status, EventSnapshot(**events), all_rejected).level


def segmentation(recent_failure="", recent_recovery=False, state="active", **status):
    events, frames = EventSnapshot(recent_failure=recent_failure), FrameSnapshot(10, recent_recovery=recent_recovery)
    return segmentation_summary(SegmentationStatus(state, **status), events, frames).level


def objects(state="active", ids=(), **events):
    return objects_summary(ObjectsStatus(state, ids), EventSnapshot(**events)).level


def test_a_node_that_works_is_ok():
    assert camera() == segmentation() == objects(ids=["mug"]) == OK


def test_a_camera_that_never_came_is_a_warning_and_one_that_went_away_is_stale():
    assert camera(problem=NO_PUBLISHERS, had_frames=False, is_gone=True) == WARN
    assert camera(problem=NO_PUBLISHERS, had_frames=True, is_gone=True) == STALE


def test_a_camera_of_which_a_part_is_missing_or_that_cannot_be_heard_is_an_error():
    assert camera(problem=DiagnosticEvent("topic_missing", "nobody publishes /depth"), is_gone=False) == ERROR
    for reason in ("wrong_type", "qos_incompatible", "stamps_never_match"):
        assert (
            camera(problem=DiagnosticEvent(reason, "it will not come by itself"), had_frames=False, is_gone=True)
            == ERROR
        )


def test_a_rejected_frame_is_a_warning_and_a_stream_of_nothing_else_an_error():
    assert camera(recent_rejection="depth has the encoding 'foo'") == WARN
    assert camera(recent_rejection="depth has the encoding 'foo'", all_rejected=True) == ERROR


def test_stamps_of_another_clock_are_a_warning():
    assert camera(stamp_age_s=-3600.0) == camera(stamp_age_s=86400.0) == WARN


def test_a_failing_model_and_a_failed_configuration_are_errors_of_the_segmentation():
    assert segmentation(recent_failure="inference failed") == ERROR
    assert segmentation(state="unconfigured", load_error="objects file a.yaml is empty") == ERROR


def test_a_frame_that_never_ends_and_scarce_memory_are_warnings():
    assert segmentation(busy_s=120.0) == WARN
    assert segmentation(recent_recovery=True) == WARN


def test_loading_and_a_missing_camera_are_no_faults_of_the_segmentation():
    assert segmentation(state="configuring", progress="object 1 of 5: mug") == OK
    assert segmentation(no_frames=True) == OK


def test_no_objects_and_one_that_could_not_be_added_are_warnings():
    assert objects() == WARN
    assert objects(ids=["duck"], recent_object_failure="object 'mug' was not added: no such file") == WARN
    assert objects("unconfigured") == OK


def test_memory_that_runs_out_has_a_remedy_of_its_own():
    assert "set profile to a smaller one" in failure_text(torch.OutOfMemoryError("CUDA out of memory. Tried ..."))
    assert failure_text(RuntimeError("no such luck\nsecond line")).startswith("inference failed: RuntimeError: no such")
    assert failure_text(RuntimeError()).startswith("inference failed: RuntimeError: the frame is skipped")


def test_recoveries_and_failed_objects_are_recent_for_a_while(events, clock):
    frames = FrameCounters(clock)
    frames.update_recoveries(2)
    events.fail_object("object 'mug' was not added")
    assert frames.snapshot().recent_recovery
    clock.now_s += 6.0
    frames.update_recoveries(2)
    assert (frames.snapshot().recent_recovery, frames.snapshot().recoveries) == (False, 2)
    assert events.snapshot().recent_object_failure == "object 'mug' was not added"
    events.clear_object_failure()
    assert events.snapshot().recent_object_failure == ""


def test_a_warning_is_shown_by_the_camera_for_five_seconds():
    class Silent:
        def warning(self, message):
            pass

    now_s = [100.0]
    events = EventLog(Silent(), clock=lambda: now_s[0])
    events.warn(DiagnosticEvent("time_jump", "stamps jumped back"))
    events.count_event("nothing_found")
    assert events.snapshot().recent_warning == "stamps jumped back"
    now_s[0] += 5.1
    assert events.snapshot().recent_warning == ""
    assert events.snapshot().noticed == {"time_jump": 1, "nothing_found": 1}
