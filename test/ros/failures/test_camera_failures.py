"""What cameras, bags and transports do wrong: never a dead node, never silence, and the next good frame is answered."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cell import opened
from diagnostic_msgs.msg import DiagnosticStatus
from dummy_networks import place, small_fastsam
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from vision_msgs.msg import Detection2DArray

pytestmark = pytest.mark.faults

PROGRAMS = Path(__file__).parents[1] / "programs"
WARN, ERROR = DiagnosticStatus.WARN, DiagnosticStatus.ERROR
PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")


def noticed(cell, reason, said, count=20, rate_hz=10.0, **how):
    """Publishes: within 2 s `reason` is counted once more and `said` is in /diagnostics, and soon in the log."""
    listener = cell.listener
    before = listener.count(f"noticed.{reason}")
    began_s = time.monotonic()
    finish = cell.camera.start_publishing(count, rate_hz, **how)
    listener.assert_told("camera", WARN, said, since_s=began_s)
    assert listener.count(f"noticed.{reason}") > before
    finish()
    # what was said in the log a moment ago is said again only after a while
    cell.publish_until(lambda: said in cell.node.output, f"'{said}' in the log", count=count, rate_hz=rate_hz, **how)


# a camera that is faster than the model


def test_frames_at_60_hz_into_a_model_that_needs_a_second_are_answered_fresh_and_in_order(start_cell, parameters):
    with opened(start_cell({**parameters, "segmentor": "faulty_models:SLOW"}, ["detections"])) as cell:
        listener = cell.listener
        cell.result()
        before, dropped = len(listener.messages["detections"]), listener.count("frames_dropped")
        began_s = time.monotonic()
        finish = cell.camera.start_publishing(300, rate_hz=60.0)
        listener.assert_soon(lambda: listener.count("frames_dropped") > dropped, "dropped frames", began_s)
        stamps = finish()
        listener.wait_for(
            lambda: any(listener.with_stamp("detections", s) for s in stamps[-70:]), "an answer to the newest frames"
        )
        answered = [(m.header.stamp.sec, m.header.stamp.nanosec) for m in listener.messages["detections"][before:]]
        assert answered == sorted(answered)
        assert len(answered) < 50
        listener.next_status()
        # processed at once while younger ones keep coming: no frame waits as long as one inference takes
        assert float(listener.values()["latency_ms.waiting.percentile_95"]) < 1000.0


# stamps


def test_one_topic_missing_for_ten_seconds_is_named_and_welcome_back(shared_cell):
    listener = shared_cell.listener
    shared_cell.result()
    began_s = time.monotonic()
    wait = shared_cell.camera.start_publishing(100, rate_hz=10.0, without=["depth"])
    listener.assert_told("camera", ERROR, "/depth, though it is published", since_s=began_s)
    wait()
    assert shared_cell.result().detections


def test_stamps_out_of_order_are_said_and_no_answer_is_older_than_the_one_before(shared_cell):
    listener = shared_cell.listener
    shared_cell.result()
    before = len(listener.messages["detections"])
    noticed(shared_cell, "stamp_late", "out of order", offsets_s=[0.0, 0.0, -0.6, 0.0])
    assert shared_cell.result().detections
    answered = [(m.header.stamp.sec, m.header.stamp.nanosec) for m in listener.messages["detections"][before:]]
    assert answered == sorted(answered)


def test_repeated_stamps_are_said_and_answered(shared_cell):
    listener = shared_cell.listener
    before = len(listener.messages["detections"])
    noticed(shared_cell, "stamp_repeated", "repeats a stamp", frozen=True)
    listener.wait_for(lambda: len(listener.messages["detections"]) > before, "an answer")
    assert shared_cell.result().detections


def test_stamps_hours_apart_from_frame_to_frame_are_matched(shared_cell):
    for hours in (2, -3, 5):
        offset_s = dict.fromkeys(("rgb", "depth", "camera_info"), 3600.0 * hours)
        assert shared_cell.result(offset_s=offset_s).detections
    assert shared_cell.result().detections


# images


def test_a_camera_that_changes_its_size_in_mid_stream_is_answered_at_each(shared_cell):
    sizes = []
    for alter in ("nothing", "half_size", "nothing"):
        stamp = shared_cell.result("mask_image", alter=alter)
        sizes.append((stamp.width, stamp.height))
    assert sizes == [(640, 480), (320, 240), (640, 480)]


def test_a_4k_frame_is_answered_at_its_size(shared_cell):
    message = shared_cell.result("mask_image", timeout_s=120.0, alter="4k")
    assert (message.width, message.height) == (3840, 2160 * 4 // 3)
    assert shared_cell.result().detections


@pytest.mark.parametrize(
    ("alter", "said"),
    [
        ("depth_in_decimetres", "they look like metres x 10"),
        ("depth_float_in_millimetres", "they look like millimetres"),
        ("depth_in_tenths_of_a_millimetre", "if depth were 10 times nearer"),
    ],
)
def test_depth_in_the_wrong_unit_is_said_with_the_unit_it_looks_like(shared_cell, alter, said):
    noticed(shared_cell, "depth_unit", said, alter=alter)
    assert shared_cell.result().detections


# malformed messages


MALFORMED = 10_000
A_ROUND = 500
A_FRAME = 3
"""Messages."""


@pytest.mark.timeout(1200)
def test_while_it_judges_10000_malformed_messages_the_node_answers_good_ones(start_cell, parameters):
    with opened(start_cell(parameters, ["detections"])) as cell:
        listener = cell.listener
        judged, rounds, began_s = 0, 0, time.monotonic()
        # what waits in the mailbox gives way to what is newer, and counts only if it was looked at
        while judged < MALFORMED:
            finish = cell.camera.start_fuzzing(A_ROUND, rate_hz=120.0, seed=rounds)
            if not rounds:
                listener.assert_soon(lambda: listener.count("frames_rejected"), "rejections", began_s)
            finish()
            assert cell.result(timeout_s=120.0).detections
            assert cell.node.process.poll() is None
            judged = A_FRAME * (listener.count("frames_rejected") + listener.count("frames_processed"))
            rounds += 1
            assert rounds < 8 * MALFORMED / A_ROUND, f"only {judged} were looked at"
        print(f"{judged} looked at in {rounds} rounds of {A_ROUND} messages on each topic")
        assert listener.count("inference_failures") == 0
        assert "Traceback" not in cell.node.output


# subscribers


@pytest.mark.parametrize("how", ["never_spins", "stopped"])
def test_a_subscriber_that_never_reads_holds_up_nobody(shared_cell, how):
    listener = shared_cell.listener
    command = [sys.executable, str(PROGRAMS / "deaf_subscriber.py"), listener.node.get_namespace()]
    before = listener.node.count_subscribers("ism/detections")
    deaf = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert deaf.stdout.readline() == "ready\n"
        shared_cell.publish_until(
            lambda: listener.node.count_subscribers("ism/detections") > before, "the subscriber is known"
        )
        if how == "stopped":
            deaf.send_signal(signal.SIGSTOP)
        count = len(listener.messages["overlay"])
        shared_cell.publish_until(lambda: len(listener.messages["overlay"]) >= count + 12, "a dozen answers")
        assert float(listener.values()["latency_ms.publishing.median"]) < 500.0
    finally:
        deaf.kill()
        deaf.wait()


# QoS


def told_of_subscriber(cell, policy, qos):
    """A subscription to ~/detections with a QoS that does not fit is in /diagnostics and in the log."""
    listener = cell.listener
    before = listener.count("noticed.subscriber_incompatible")
    subscription = listener.node.create_subscription(Detection2DArray, "ism/detections", lambda message: None, qos)
    try:
        listener.wait_for(
            lambda: listener.count("noticed.subscriber_incompatible") > before, "the subscriber in /diagnostics"
        )
        assert f"ism/detections demands a {policy} that is not offered" in cell.node.output
    finally:
        listener.node.destroy_subscription(subscription)


def test_a_qos_override_of_the_subscription_counts_and_auto_leaves_it_alone(start_cell, parameters):
    overrides = {
        "qos_overrides./{ns}/rgb.subscription.reliability": "best_effort",
        "qos_overrides./{ns}/rgb.subscription.depth": 2,
        "qos_overrides./{ns}/ism/detections.publisher.reliability": "best_effort",
    }
    with opened(start_cell({**parameters, **overrides}, []), "--reliable") as cell:
        node = cell.listener.node
        cell.listener.wait_for(
            lambda: cell.listener.reliability_of_input("depth") == [ReliabilityPolicy.RELIABLE], "auto took reliable"
        )
        assert cell.listener.reliability_of_input("rgb") == [ReliabilityPolicy.BEST_EFFORT]
        (publisher,) = node.get_publishers_info_by_topic("ism/detections")
        assert publisher.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT
        # the listener's own subscription to detections demands reliable: it is told so
        told_of_subscriber(cell, "reliability", QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE))


def test_an_override_that_fits_no_topic_or_policy_is_said(start_cell, parameters):
    overrides = {"qos_overrides./elsewhere/rgb.subscription.reliability": "best_effort"}
    with opened(start_cell({**parameters, **overrides}, [])) as cell:
        assert "'qos_overrides./elsewhere/rgb.subscription.reliability' has no effect" in cell.node.output


def test_a_durability_that_the_camera_does_not_offer_is_said_with_the_remedy(start_cell, parameters):
    cell = start_cell({**parameters, "qos_overrides./{ns}/depth.subscription.durability": "transient_local"}, [])
    try:
        cell.wait_until("active")
        cell.camera = cell._start_camera()
        cell.camera.wait_until_known()
        said = "published without the durability that the subscription demands"
        finish = cell.camera.start_publishing(30, rate_hz=10.0)
        cell.listener.assert_told("camera", ERROR, said, since_s=time.monotonic())
        assert cell.listener.count("noticed.qos_incompatible")
        finish()
        assert said in cell.node.output
    finally:
        cell.close()


def test_a_subscriber_of_results_that_demands_what_is_not_offered_is_told_about(shared_cell):
    told_of_subscriber(shared_cell, "durability", QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL))
    assert shared_cell.result().detections


def test_images_lost_in_a_transport_without_room_for_them_are_said_with_the_remedy(start_cell, parameters):
    without_profile = dict.fromkeys(PROFILE_VARIABLES)
    with opened(start_cell(parameters, [], **without_profile)) as cell:
        listener = cell.listener
        cell.publish_until(
            lambda: any(
                listener.count(f"noticed.{reason}")
                for reason in ("messages_lost", "frames_lost", "frames_incomplete", "nothing_arrives")
            )
            and "config/fastdds.xml" in cell.node.output,
            "lost images in /diagnostics, and the remedy in the log",
            count=60,
            rate_hz=30.0,
            timeout_s=120.0,
        )


# bags


def plays(cell, said="an answer", **how):
    """Plays a bag, again and again, until one of its frames is answered; the stamps of the answers."""
    listener = cell.listener
    before = len(listener.messages["detections"])
    for _ in range(8):
        stamps = set(cell.camera.play(**how))

        def answers(stamps=stamps):
            got = [(m.header.stamp.sec, m.header.stamp.nanosec) for m in listener.messages["detections"][before:]]
            return [stamp for stamp in got if stamp in stamps]

        try:
            return listener.wait_for(answers, said, 4.0)
        except AssertionError:
            continue
    return listener.wait_for(answers, said, 0.0)


@pytest.fixture(scope="module")
def bag_cell(start_cell, parameters):
    """A node that takes its time from /clock."""
    with opened(start_cell({**parameters, "use_sim_time": True}, ["detections"])) as cell:
        yield cell


def test_a_bag_that_is_paused_is_said_and_goes_on(bag_cell):
    assert plays(bag_cell, count=5, rate_hz=5.0, from_s=1000)
    listener = bag_cell.listener
    listener.wait_for(lambda: "/clock stands still" in listener.status.message, "the pause in /diagnostics")
    assert listener.count("noticed.clock_stands")
    assert plays(bag_cell, count=5, rate_hz=5.0, from_s=1002)


def test_a_bag_that_jumps_back_or_starts_again_at_another_rate_is_answered(bag_cell):
    listener = bag_cell.listener
    assert plays(bag_cell, count=5, rate_hz=5.0, from_s=3000)
    jumps = listener.count("noticed.time_jump")
    assert plays(bag_cell, count=5, rate_hz=5.0, from_s=2000)
    assert plays(bag_cell, count=5, rate_hz=10.0, from_s=2000, speed=2.0)
    assert plays(bag_cell, count=5, rate_hz=2.0, from_s=2000, speed=0.5)
    listener.wait_for(lambda: listener.count("noticed.time_jump") >= jumps + 3, "the jumps in /diagnostics")


def test_a_bag_of_half_a_second_that_starts_again_and_again_is_answered_each_time(bag_cell):
    for _ in range(3):
        assert plays(bag_cell, count=4, rate_hz=8.0, from_s=5000)


def test_frames_from_before_a_jump_are_not_matched_with_those_after_it(bag_cell):
    plays(bag_cell, count=3, rate_hz=5.0, from_s=7000)
    bag_cell.camera.play(3, rate_hz=5.0, from_s=7500, without=["depth"])
    plays(bag_cell, count=3, rate_hz=5.0, from_s=6000)
    bag_cell.camera.play(3, rate_hz=5.0, from_s=7500, without=["rgb", "camera_info"])
    plays(bag_cell, count=3, rate_hz=5.0, from_s=8000)
    seconds = [message.header.stamp.sec for message in bag_cell.listener.messages["detections"]]
    assert not any(7500 <= second < 7600 for second in seconds)


# without depth


def test_without_depth_frames_are_answered_by_semantic_and_appearance_scores(start_cell, parameters, workspace):
    network = small_fastsam(workspace / "fastsam.onnx", [place((0, 0, 1024, 768), 0.9, {0: 40.0, 3: -10.0})])
    without_depth = {
        "depth_transport": "none",
        "segmentor": "fastsam",
        "segmentor_model": str(network),
        "scoring": "sam6d",
        "confidence_threshold": 0.0,
        "score_threshold": 0.0,
    }
    with opened(start_cell({**parameters, **without_depth}, ["masks"]), "--without-depth") as cell:
        instances = cell.result("masks", without=["depth"]).instances
        assert instances
        for instance in instances:
            assert instance.geometric_score == 0.0
            assert instance.score == pytest.approx((instance.semantic_score + instance.appearance_score) / 2, abs=1e-5)
