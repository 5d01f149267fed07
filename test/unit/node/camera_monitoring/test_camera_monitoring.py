"""What is known of a camera from its messages: its frequency, what is dropped, and why no frame comes."""

import numpy as np
import pytest

from ism_ros.node.camera_monitoring.dropped_messages import (
    drop_remedy,
    dropped_fraction,
    dropped_message_events,
    lookback_s,
)
from ism_ros.node.camera_monitoring.frequency_monitor import FrequencyMonitor
from ism_ros.node.camera_monitoring.interleaved_publishers import InterleavedPublishers
from ism_ros.node.camera_monitoring.missing_frames import TopicState, why_no_frame

IMAGE = "sensor_msgs/msg/Image"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
RATE_HZ = 30.0


class Clock:
    """A clock that stands until it is told to go on."""

    def __init__(self):
        self.now_s = 100.0

    def __call__(self):
        return self.now_s


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
        (
            {},
            {"stamps_s": (50.1,)},
            {"age_s": 900.0, "stamps_s": (0.0,), "is_persistent": True},
            "stamps_never_match",
            "0.100",
        ),
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
    event = why_no_frame(topics, slop_s=0.05, timeout_s=5.0, remedy="do as told")
    assert event.reason == reason
    assert said in event.text
    assert "\n" not in event.text


@pytest.mark.parametrize(("apart_s", "advised"), [(0.1, True), (0.4, True), (5.0, False), (1.7e9, False)])
def test_slop_is_advised_only_where_it_would_match_what_belongs_together(apart_s, advised):
    topics = [topic("rgb"), topic("depth", stamps_s=(50.0 + apart_s,)), topic("camera_info")]
    text = why_no_frame(topics, slop_s=0.05, timeout_s=5.0, remedy="do as told").text
    assert ("raise slop" in text) is advised
    assert "one clock" in text


def test_the_text_has_the_silence_and_the_reason_follows_from_the_timeout():
    topics = [topic("rgb", age_s=80.3), topic("depth", age_s=80.4), topic("camera_info", age_s=80.2)]
    event = why_no_frame(topics, slop_s=0.05, timeout_s=1.0, remedy="do as told", silence_s=80.4)
    assert event.text.startswith("no frame for 80 s: nothing arrives on")


# frequency of frames


@pytest.mark.parametrize(("period_s", "timeout_s"), [(1 / 30, 1.0), (0.2, 1.0), (1.0, 3.0), (10.0, 5.0)])
def test_a_silence_is_one_after_three_frames_of_the_camera_but_one_to_five_seconds(period_s, timeout_s):
    clock = Clock()
    frequency = FrequencyMonitor(clock)
    for _ in range(8):
        clock.now_s += period_s
        frequency.tick()
    assert frequency.timeout_s == pytest.approx(timeout_s)
    clock.now_s += 0.7
    assert frequency.silence_s == frequency.last_frame_age_s == pytest.approx(0.7)


def test_before_the_first_frame_the_silence_counts_from_the_start():
    clock = Clock()
    frequency = FrequencyMonitor(clock)
    clock.now_s += 2.0
    assert frequency.silence_s == 2.0
    assert frequency.last_frame_age_s is None
    assert not frequency.had_frames


def test_one_long_pause_does_not_make_a_fast_camera_a_slow_one():
    clock = Clock()
    frequency = FrequencyMonitor(clock)
    for pause_s in (0.1, 0.1, 60.0, 0.1, 0.1):
        clock.now_s += pause_s
        frequency.tick()
    assert frequency.timeout_s == 1.0


def test_the_rate_of_a_camera_is_that_of_its_last_seconds():
    clock = Clock()
    frequency = FrequencyMonitor(clock)
    for _ in range(300):
        clock.now_s += 1 / 30
        frequency.tick()
    assert frequency.rate_hz == pytest.approx(30.0, rel=0.02)
    clock.now_s += 10.0
    assert frequency.rate_hz == 0.0


def stamps(seconds=5.0, rate_hz=RATE_HZ):
    return list(100.0 + np.arange(int(seconds * rate_hz)) / rate_hz)


# dropped messages


@pytest.mark.parametrize("lost", [0.0, 0.3, 0.5, 0.7])
def test_the_share_of_lost_messages_shows_in_the_gaps_between_stamps(lost):
    kept = np.random.default_rng(1).random(150) >= lost
    jitter_s = np.random.default_rng(2).normal(0.0, 0.002, 150)
    assert dropped_fraction(list((np.array(stamps()) + jitter_s)[kept])) == pytest.approx(lost, abs=0.1)


def test_every_second_message_missing_cannot_be_told_from_half_the_rate():
    assert dropped_fraction(stamps()[::2]) == 0.0


def test_a_camera_that_pauses_now_and_then_loses_nothing():
    times_s = np.array(stamps())
    assert dropped_fraction(list(times_s[(times_s % 2.5 - times_s[0] % 2.5) % 2.5 > 1.0])) == 0.0


def test_of_a_few_messages_and_of_a_stopped_clock_no_loss_is_concluded():
    assert dropped_fraction(stamps()[:5]) == 0.0
    assert dropped_fraction([7.0] * 100) == 0.0


def events(frames, **arrived):
    arrived = {"rgb": stamps(), "depth": stamps(), "camera_info": stamps(), **arrived}
    return dropped_message_events(
        {f"/{name}": values for name, values in arrived.items()}, frames, slop_s=0.05, remedy="do as told"
    )


def test_a_whole_stream_has_no_losses():
    assert events(frames=148) == []


def test_a_topic_with_gaps_is_named_with_the_remedy():
    kept = np.random.default_rng(1).random(150) >= 0.5
    (event,) = events(frames=70, depth=list(np.array(stamps())[kept]))
    assert event.reason == "frames_lost"
    assert "/depth" in event.text
    assert "do as told" in event.text


def test_a_slower_topic_is_named_as_what_leaves_images_without_partners():
    (event,) = events(frames=75, depth=stamps(rate_hz=RATE_HZ / 2))
    assert event.reason == "frames_incomplete"
    assert "of 150 images on /rgb" in event.text
    assert "/depth came only 75 times" in event.text


def test_stamps_that_rarely_match_are_told_to_be_synchronised():
    (event,) = events(frames=20)
    assert "slop (0.05 s)" in event.text


@pytest.mark.parametrize(("rate_hz", "seconds"), [(30.0, 5.0), (3.0, 10.0), (1.0, 20.0), (0.1, 40.0)])
def test_the_slower_a_camera_the_further_is_looked_back(rate_hz, seconds):
    arrivals_s = list(np.arange(1, 1 + 60 * rate_hz) / rate_hz)
    assert lookback_s([arrivals_s, arrivals_s[::2]], now_s=arrivals_s[-1]) == seconds


# publishers


def interleaved(sent, by_number=False, period_s=0.1):
    clock = Clock()
    publishers, counts = InterleavedPublishers(clock), dict.fromkeys(sent, 0)
    for publisher in sent:
        clock.now_s += period_s
        counts[publisher] += 1
        info = {"publication_sequence_number": counts[publisher]}
        publishers.add(info if by_number else {**info, "publisher_gid": {"data": publisher.encode()}})
    return publishers, clock


@pytest.mark.parametrize("by_number", [False, True])
def test_two_publishers_that_take_turns_are_mixed_and_one_that_follows_another_is_not(by_number):
    assert interleaved("abababababab", by_number)[0].are_interleaved
    assert interleaved("aabbaabbaabbaabb", by_number)[0].are_interleaved
    assert not interleaved("aaaaaaaabbbbbbbb", by_number)[0].are_interleaved
    assert not interleaved("aaaaaaaaaaaaaaaa", by_number)[0].are_interleaved


def test_publishers_were_mixed_only_for_some_seconds():
    publishers, clock = interleaved("abababab")
    clock.now_s += 6.0
    assert not publishers.are_interleaved


def test_without_a_word_of_the_middleware_nothing_is_concluded():
    publishers = InterleavedPublishers()
    for _ in range(20):
        publishers.add({"publication_sequence_number": None})
    assert not publishers.are_interleaved
    assert not publishers.are_identified
    assert interleaved("ab")[0].are_identified


# what to do about dropped messages


@pytest.mark.parametrize(
    ("middleware", "environment", "said"),
    [
        ("rmw_fastrtps_cpp", {}, "camera and node with the Fast DDS profile"),
        ("rmw_fastrtps_cpp", {"FASTDDS_DEFAULT_PROFILES_FILE": "/a.xml"}, "the camera, too"),
        ("rmw_fastrtps_cpp", {"FASTRTPS_DEFAULT_PROFILES_FILE": "/a.xml"}, "the camera, too"),
        ("rmw_cyclonedds_cpp", {}, "CYCLONEDDS_URI"),
        ("rmw_zenoh_cpp", {}, "shared memory"),
    ],
)
def test_the_remedy_for_lost_images_is_that_of_the_middleware_in_use(middleware, environment, said):
    assert said in drop_remedy(middleware, environment)
