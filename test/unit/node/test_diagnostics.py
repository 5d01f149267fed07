"""The node's parts that need no DDS: mailbox, worker, statistics, reasons why no frame comes, throttle, diagnostics."""

import queue
import threading
import time
from pathlib import Path

import pytest
import torch
import yaml

from ism_ros.config.settings import Settings
from ism_ros.node.camera_monitoring.frequency_monitor import Rhythm
from ism_ros.node.camera_monitoring.missing_frames import Problem, TopicState, why_no_frame
from ism_ros.node.diagnostics.counters import Snapshot, Statistics
from ism_ros.node.diagnostics.summaries import (
    ERROR,
    OK,
    STALE,
    WARN,
    camera_verdict,
    failure_text,
    objects_verdict,
    segmentation_verdict,
)
from ism_ros.node.diagnostics.throttle import Throttle
from ism_ros.node.execution.mailbox import Mailbox
from ism_ros.node.execution.worker_thread import Worker

IMAGE = "sensor_msgs/msg/Image"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"


class Clock:
    """A clock that stands until it is told to go on."""

    def __init__(self):
        self.now_s = 100.0

    def __call__(self):
        return self.now_s


# mailbox


def test_the_mailbox_hands_out_the_newest_item_and_counts_the_others():
    mailbox = Mailbox()
    for item in (1, 2, 3):
        mailbox.put(item)
    assert mailbox.take(timeout_s=1.0) == 3
    assert mailbox.dropped == 2


def test_an_empty_mailbox_gives_nothing_after_the_timeout():
    assert Mailbox().take(timeout_s=0.01) is None


def test_waking_a_mailbox_ends_the_wait_of_its_taker():
    mailbox = Mailbox()
    taken = []
    taker = threading.Thread(target=lambda: taken.append(mailbox.take(timeout_s=30.0)))
    taker.start()
    mailbox.wake()
    taker.join(5.0)
    assert taken == [None]


def test_clearing_the_mailbox_is_not_a_drop():
    mailbox = Mailbox()
    mailbox.put(1)
    mailbox.clear()
    assert mailbox.take(timeout_s=0.01) is None
    assert mailbox.dropped == 0


# worker


@pytest.fixture
def mailbox():
    return Mailbox()


@pytest.fixture
def make_worker(mailbox):
    workers = []

    def make(process, on_error=lambda error: None, min_period_s=lambda: 0.0):
        workers.append(Worker(mailbox, process, on_error, min_period_s))
        return workers[-1]

    yield make
    for worker in workers:
        assert worker.stop(5.0)


def test_while_one_item_is_processed_only_the_newest_of_the_others_is_kept(mailbox, make_worker):
    begun, go_on, done = threading.Event(), threading.Event(), threading.Event()
    processed = []

    def process(item):
        processed.append(item)
        begun.set()
        go_on.wait(5.0)
        if item == 9:
            done.set()

    make_worker(process)
    mailbox.put(0)
    assert begun.wait(5.0)
    for item in range(1, 10):
        mailbox.put(item)
    go_on.set()
    assert done.wait(5.0)
    assert processed == [0, 9]
    assert mailbox.dropped == 8


def test_a_failing_item_is_reported_and_the_next_one_is_processed(mailbox, make_worker):
    failed, succeeded = threading.Event(), threading.Event()
    errors = []

    def process(item):
        if item == "bad":
            raise RuntimeError("no such luck")
        succeeded.set()

    def on_error(error):
        errors.append(str(error))
        failed.set()

    make_worker(process, on_error)
    mailbox.put("bad")
    assert failed.wait(5.0)
    mailbox.put("good")
    assert succeeded.wait(5.0)
    assert errors == ["no such luck"]


def test_a_job_runs_on_the_workers_thread_and_gives_its_result(make_worker):
    worker = make_worker(lambda item: None)
    assert worker.submit(threading.get_ident).result(5.0) != threading.get_ident()


def test_a_jobs_error_goes_to_the_one_who_submitted_it(make_worker):
    worker = make_worker(lambda item: None)
    with pytest.raises(ZeroDivisionError):
        worker.submit(lambda: 1 / 0).result(5.0)
    assert worker.submit(lambda: "alive").result(5.0) == "alive"


def test_a_job_does_not_wait_for_the_rate_limit(mailbox, make_worker):
    processed = threading.Event()
    worker = make_worker(lambda item: processed.set(), min_period_s=lambda: 60.0)
    mailbox.put(0)
    assert processed.wait(5.0)
    mailbox.put(1)
    assert worker.submit(lambda: "now").result(5.0) == "now"


# statistics


def test_latencies_are_the_median_and_the_95th_percentile_of_a_stage():
    statistics = Statistics()
    for milliseconds in range(1, 101):
        statistics.frame_done({"inference": milliseconds / 1000}, detections=1)
    latency = statistics.snapshot().latencies["inference"]
    assert latency.median_ms == pytest.approx(50.5)
    assert latency.percentile_95_ms == pytest.approx(95.05)


def test_the_rate_counts_the_frames_of_the_last_ten_seconds():
    clock = Clock()
    statistics = Statistics(clock=clock)
    for _ in range(60):
        clock.now_s += 0.25
        statistics.frame_done({}, detections=0)
    assert statistics.snapshot().rate_hz == pytest.approx(4.0, abs=0.2)
    clock.now_s += 20.0
    assert statistics.snapshot().rate_hz == 0.0
    assert statistics.snapshot().last_frame_age_s == pytest.approx(20.0)


def test_no_frame_is_processed_that_is_older_than_the_work_before_it(mailbox, make_worker):
    begun, go_on, last = threading.Event(), threading.Event(), threading.Event()
    processed = []

    def process(item):
        processed.append(item)
        begun.set()
        assert go_on.wait(5.0)
        if item == "new":
            last.set()

    worker = make_worker(process)
    mailbox.put("first")
    assert begun.wait(5.0)
    mailbox.put("before the job began")
    done = worker.submit(lambda: "done")
    go_on.set()
    assert done.result(5.0) == "done"
    mailbox.put("new")
    assert last.wait(5.0)
    assert processed == ["first", "new"]
    assert mailbox.dropped == 1


def test_between_two_jobs_comes_a_frame(mailbox, make_worker):
    begun, go_on = threading.Event(), threading.Event()
    order = []

    def job():
        begun.set()
        return go_on.wait(5.0)

    worker = make_worker(order.append)
    first = worker.submit(job)
    assert begun.wait(5.0)
    mailbox.put("frame")
    second = worker.submit(lambda: order.append("job"))
    go_on.set()
    assert first.result(5.0)
    second.result(5.0)
    assert order == ["frame", "job"]


def test_a_frame_that_the_rate_limit_made_old_is_left_out_for_a_newer_one(make_worker, mailbox):
    processed = queue.SimpleQueue()
    make_worker(lambda item: processed.put((item, time.monotonic())), min_period_s=lambda: 0.5)
    mailbox.put("first")
    _, began_s = processed.get(timeout=5.0)
    mailbox.put("older than one inference when its turn comes")
    stop = threading.Event()

    def camera():
        while not stop.wait(0.05):
            mailbox.put(time.monotonic())

    threading.Thread(target=camera, daemon=True).start()
    put_s, taken_s = processed.get(timeout=5.0)
    stop.set()
    assert taken_s - began_s >= 0.5
    assert put_s - began_s > 0.4, "what was put in at the beginning of the wait is not processed at its end"


def test_a_worker_says_for_how_long_it_has_been_busy(make_worker):
    begun, go_on = threading.Event(), threading.Event()
    worker = make_worker(lambda item: None)
    assert worker.busy_s == 0.0
    job = worker.submit(lambda: (begun.set(), go_on.wait(5.0)))
    assert begun.wait(5.0)
    assert worker.busy_s > 0.0
    go_on.set()
    job.result(5.0)
    assert worker.submit(lambda: None).result(5.0) is None


def test_a_rejection_is_recent_for_five_seconds_and_counted_for_ever():
    clock = Clock()
    statistics = Statistics(clock=clock)
    statistics.frame_rejected("encoding", "rgb has an unknown encoding")
    assert statistics.snapshot().recent_rejection == "rgb has an unknown encoding"
    clock.now_s += 5.1
    assert statistics.snapshot().recent_rejection == ""
    assert statistics.snapshot().rejected == {"encoding": 1}


def test_the_throttle_lets_each_key_through_once_a_period():
    clock = Clock()
    throttle = Throttle(10.0, clock)
    assert throttle.passes("a")
    assert not throttle.passes("a")
    assert throttle.passes("b")
    clock.now_s += 10.0
    assert throttle.passes("a")


# why no frame comes


def topic(name, **known):
    expected = CAMERA_INFO if name == "camera_info" else IMAGE
    usual = {"expected_type": expected, "publisher_types": (expected,), "age_s": 0.1, "stamps_s": (50.0,)}
    return TopicState(name, f"/camera/{name}", **{**usual, **known})


UNPUBLISHED = {"publisher_types": (), "age_s": None, "stamps_s": ()}
SILENT = {"age_s": None, "stamps_s": ()}


@pytest.mark.parametrize(
    ("rgb", "depth", "camera_info", "reason", "said"),
    [
        (UNPUBLISHED, UNPUBLISHED, UNPUBLISHED, "no_publishers", "start the camera"),
        ({}, UNPUBLISHED, {}, "topic_missing", "/camera/depth"),
        ({"publisher_types": ("sensor_msgs/msg/CompressedImage",), **SILENT}, {}, {}, "wrong_type", "rgb_transport"),
        ({}, {"incompatible_policy": "reliability", **SILENT}, {}, "qos_incompatible", "best effort"),
        ({}, {"incompatible_policy": "durability", **SILENT}, {}, "qos_incompatible", "subscription.durability"),
        ({"age_s": 9.0}, {}, {}, "nothing_arrives", "as told"),
        ({"publisher_types": (IMAGE, IMAGE)}, {}, {}, "two_publishers", "/camera/rgb has 2 publishers"),
        ({}, {"stamps_s": (3650.0, 3650.1)}, {}, "stamps_never_match", "3600.000 s apart (60.0 minutes)"),
        ({}, {"stamps_s": (50.1,)}, {}, "stamps_never_match", "0.100 s apart and slop is 0.05 s: give the drivers one"),
        ({}, {"stamps_s": (1.8e9,)}, {}, "stamps_never_match", "(57.0 years)"),
        ({}, {"stamps_s": (50.1,)}, {"age_s": 900.0, "stamps_s": (0.0,), "lasts": True}, "stamps_never_match", "0.100"),
        (
            {"publisher_types": (IMAGE, IMAGE), "publisher_nodes": ("/a/camera", "/b/camera")},
            {},
            {},
            "two_publishers",
            "/camera/rgb has 2 publishers (/a/camera, /b/camera)",
        ),
    ],
)
def test_the_reason_why_no_frame_comes_names_the_topic_and_the_remedy(rgb, depth, camera_info, reason, said):
    topics = [topic("rgb", **rgb), topic("depth", **depth), topic("camera_info", **camera_info)]
    problem = why_no_frame(topics, slop_s=0.05, patience_s=5.0, remedy="do as told")
    assert problem.reason == reason
    assert said in problem.text
    assert "\n" not in problem.text


@pytest.mark.parametrize(("apart_s", "advised"), [(0.1, True), (0.4, True), (5.0, False), (1.7e9, False)])
def test_slop_is_advised_only_where_it_would_match_what_belongs_together(apart_s, advised):
    topics = [topic("rgb"), topic("depth", stamps_s=(50.0 + apart_s,)), topic("camera_info")]
    text = why_no_frame(topics, slop_s=0.05, patience_s=5.0, remedy="do as told").text
    assert ("raise slop" in text) is advised
    assert "one clock" in text


def test_a_sentence_tells_the_silence_and_judges_by_the_patience():
    topics = [topic("rgb", age_s=80.3), topic("depth", age_s=80.4), topic("camera_info", age_s=80.2)]
    problem = why_no_frame(topics, slop_s=0.05, patience_s=1.0, remedy="do as told", quiet_s=80.4)
    assert problem.text.startswith("no frame for 80 s: nothing arrives on")


# rhythm


@pytest.mark.parametrize(("period_s", "patience_s"), [(1 / 30, 1.0), (0.2, 1.0), (1.0, 3.0), (10.0, 5.0)])
def test_a_silence_is_one_after_three_frames_of_the_camera_but_one_to_five_seconds(period_s, patience_s):
    clock = Clock()
    rhythm = Rhythm(clock)
    for _ in range(8):
        clock.now_s += period_s
        rhythm.frame()
    assert rhythm.patience_s == pytest.approx(patience_s)
    clock.now_s += 0.7
    assert rhythm.quiet_s == rhythm.age_s == pytest.approx(0.7)


def test_before_the_first_frame_the_silence_counts_from_the_start():
    clock = Clock()
    rhythm = Rhythm(clock)
    clock.now_s += 2.0
    assert rhythm.quiet_s == 2.0
    assert rhythm.age_s is None
    assert not rhythm.had_frames


def test_one_long_pause_does_not_make_a_fast_camera_a_slow_one():
    clock = Clock()
    rhythm = Rhythm(clock)
    for pause_s in (0.1, 0.1, 60.0, 0.1, 0.1):
        clock.now_s += pause_s
        rhythm.frame()
    assert rhythm.patience_s == 1.0


def test_the_rate_of_a_camera_is_that_of_its_last_seconds():
    clock = Clock()
    rhythm = Rhythm(clock)
    for _ in range(300):
        clock.now_s += 1 / 30
        rhythm.frame()
    assert rhythm.rate_hz == pytest.approx(30.0, rel=0.02)
    clock.now_s += 10.0
    assert rhythm.rate_hz == 0.0


# levels

NO_PUBLISHERS = Problem("no_publishers", "nobody publishes /rgb: start the camera")


def camera(state="active", problem=None, had_frames=True, is_gone=False, stamp_age_s=0.1, **numbers):
    return camera_verdict(state, problem, had_frames, is_gone, 30.0, stamp_age_s, Snapshot(**numbers)).level


def segmentation(state="active", progress="", load_error="", no_frames=False, busy_s=0.0, **numbers):
    snapshot = Snapshot(**{"processed": 10, **numbers})
    return segmentation_verdict(state, progress, load_error, no_frames, busy_s, snapshot).level


def test_a_node_that_works_is_ok():
    assert camera() == segmentation() == objects_verdict("active", ["mug"], "", "", Snapshot()).level == OK


def test_a_camera_that_never_came_is_a_warning_and_one_that_went_away_is_stale():
    assert camera(problem=NO_PUBLISHERS, had_frames=False, is_gone=True) == WARN
    assert camera(problem=NO_PUBLISHERS, had_frames=True, is_gone=True) == STALE


def test_a_camera_of_which_a_part_is_missing_or_that_cannot_be_heard_is_an_error():
    assert camera(problem=Problem("topic_missing", "nobody publishes /depth"), is_gone=False) == ERROR
    for reason in ("wrong_type", "qos_incompatible", "stamps_never_match"):
        assert camera(problem=Problem(reason, "it will not come by itself"), had_frames=False, is_gone=True) == ERROR


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
    assert objects_verdict("active", [], "", "", Snapshot()).level == WARN
    failed = Snapshot(recent_object_failure="object 'mug' was not added: no such file")
    assert objects_verdict("active", ["duck"], "", "", failed).level == WARN
    assert objects_verdict("unconfigured", [], "", "", Snapshot()).level == OK


def test_memory_that_runs_out_has_a_remedy_of_its_own():
    assert "set profile to a smaller one" in failure_text(torch.OutOfMemoryError("CUDA out of memory. Tried ..."))
    assert failure_text(RuntimeError("no such luck\nsecond line")).startswith("inference failed: RuntimeError: no such")
    assert failure_text(RuntimeError()).startswith("inference failed: RuntimeError: the frame is skipped")


def test_recoveries_and_failed_objects_are_recent_for_a_while():
    clock = Clock()
    statistics = Statistics(clock=clock)
    statistics.recovered(2)
    statistics.object_failed("object 'mug' was not added")
    assert statistics.snapshot().recent_recovery
    clock.now_s += 6.0
    statistics.recovered(2)
    assert (statistics.snapshot().recent_recovery, statistics.snapshot().recoveries) == (False, 2)
    assert statistics.snapshot().recent_object_failure == "object 'mug' was not added"
    statistics.object_failed("")
    assert statistics.snapshot().recent_object_failure == ""


# config/ism.yaml


def test_the_parameter_file_has_every_parameter_at_its_default_under_a_comment():
    path = Path(__file__).parents[3] / "config" / "ism.yaml"
    parameters = yaml.safe_load(path.read_text())["/**"]["ros__parameters"]
    assert parameters == Settings().model_dump()
    lines = path.read_text().splitlines()
    for name in parameters:
        index = next(i for i, line in enumerate(lines) if line.strip().startswith(f"{name}:"))
        assert lines[index - 1].strip().startswith("#")
