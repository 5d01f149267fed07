"""The node's parts that need no DDS: mailbox, worker, statistics, reasons why no frame comes, throttle, diagnostics."""

import threading
from pathlib import Path

import pytest
import yaml
from diagnostic_msgs.msg import DiagnosticStatus

from ism_ros.config import Settings
from ism_ros.node.diagnostics import judge
from ism_ros.node.mailbox import Mailbox
from ism_ros.node.statistics import Snapshot, Statistics
from ism_ros.node.throttle import Throttle
from ism_ros.node.watch import Problem, TopicState, why_no_frame
from ism_ros.node.worker import Worker

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
        ({}, {"incompatible": True, **SILENT}, {}, "qos_incompatible", "best effort"),
        ({"age_s": 9.0}, {}, {}, "nothing_arrives", "fastdds.xml"),
        ({}, {"stamps_s": (3650.0, 3650.1)}, {}, "stamps_never_match", "3600.000 s apart"),
    ],
)
def test_the_reason_why_no_frame_comes_names_the_topic_and_the_remedy(rgb, depth, camera_info, reason, said):
    topics = [topic("rgb", **rgb), topic("depth", **depth), topic("camera_info", **camera_info)]
    problem = why_no_frame(topics, slop_s=0.05, patience_s=5.0)
    assert problem.reason == reason
    assert said in problem.text
    assert "\n" not in problem.text


# levels


def level_of(state="active", progress="", object_count=3, problem=None, had_frames=True, **numbers):
    return judge(state, progress, object_count, problem, had_frames, Snapshot(**{"processed": 10, **numbers}))[0]


def test_a_node_that_works_is_ok():
    assert level_of() == DiagnosticStatus.OK


def test_a_camera_that_never_came_is_a_warning_and_one_that_went_away_an_error():
    problem = Problem("no_publishers", "nobody publishes /rgb")
    assert level_of(problem=problem, had_frames=False) == DiagnosticStatus.WARN
    assert level_of(problem=problem, had_frames=True) == DiagnosticStatus.ERROR


def test_rejected_frames_and_missing_objects_are_warnings():
    assert level_of(recent_rejection="depth has the encoding 'foo'") == DiagnosticStatus.WARN
    assert level_of(object_count=0) == DiagnosticStatus.WARN


def test_a_failing_model_and_a_failed_configuration_are_errors():
    assert level_of(recent_failure="inference failed: out of memory") == DiagnosticStatus.ERROR
    assert level_of(state="unconfigured", progress="objects file a.yaml is empty") == DiagnosticStatus.ERROR


def test_loading_is_not_a_fault():
    assert level_of(state="configuring", progress="object 1 of 5: mug") == DiagnosticStatus.OK


# config/ism.yaml


def test_the_parameter_file_has_every_parameter_at_its_default_under_a_comment():
    path = Path(__file__).parents[2] / "config" / "ism.yaml"
    parameters = yaml.safe_load(path.read_text())["/**"]["ros__parameters"]
    assert parameters == Settings().model_dump()
    lines = path.read_text().splitlines()
    for name in parameters:
        index = next(i for i, line in enumerate(lines) if line.strip().startswith(f"{name}:"))
        assert lines[index - 1].strip().startswith("#")
