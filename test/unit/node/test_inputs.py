"""The stream's parts that need no DDS: the order of stamps, losses told from them, remedies."""

import numpy as np
import pytest

from ism_ros.node.camera_monitoring.dropped_messages import losses, lost_share, window_s
from ism_ros.node.camera_monitoring.interleaved_publishers import Turns
from ism_ros.node.inputs.camera_info_matching import CameraInfos
from ism_ros.node.inputs.stamp_check import LATE_IN_A_ROW, Order, StampOrder
from ism_ros.node.qos import loss_remedy

RATE_HZ = 30.0


def stamps(seconds=5.0, rate_hz=RATE_HZ):
    return list(100.0 + np.arange(int(seconds * rate_hz)) / rate_hz)


# order


def orders(*stamps_s):
    order = StampOrder()
    return [order.judge(stamp_s) for stamp_s in stamps_s]


def test_stamps_in_order_are_newer_and_the_same_again_is_repeated():
    assert orders(1.0, 1.1, 1.1, 1.2) == [Order.NEWER, Order.NEWER, Order.REPEATED, Order.NEWER]


def test_a_stamp_a_little_older_is_late_and_the_next_newer_one_is_in_order():
    assert orders(1.0, 1.2, 1.1, 1.3) == [Order.NEWER, Order.NEWER, Order.LATE, Order.NEWER]


def test_a_stamp_much_older_is_a_jump_back_and_time_goes_on_from_there():
    assert orders(5000.0, 10.0, 10.1) == [Order.NEWER, Order.JUMPED_BACK, Order.NEWER]


def test_late_stamps_in_a_row_are_a_jump_back_as_when_a_short_bag_starts_again():
    again = [10.0 + 0.1 * number for number in range(LATE_IN_A_ROW + 1)]
    told = orders(10.9, *again)
    assert told[1:] == [Order.LATE] * (LATE_IN_A_ROW - 1) + [Order.JUMPED_BACK, Order.NEWER]


def test_hours_ahead_is_newer():
    assert orders(10.0, 10.0 + 7200) == [Order.NEWER, Order.NEWER]


# losses


@pytest.mark.parametrize("lost", [0.0, 0.3, 0.5, 0.7])
def test_the_share_of_lost_messages_shows_in_the_gaps_between_stamps(lost):
    kept = np.random.default_rng(1).random(150) >= lost
    jitter_s = np.random.default_rng(2).normal(0.0, 0.002, 150)
    assert lost_share(list((np.array(stamps()) + jitter_s)[kept])) == pytest.approx(lost, abs=0.1)


def test_every_second_message_missing_cannot_be_told_from_half_the_rate():
    assert lost_share(stamps()[::2]) == 0.0


def test_a_camera_that_pauses_now_and_then_loses_nothing():
    times_s = np.array(stamps())
    assert lost_share(list(times_s[(times_s % 2.5 - times_s[0] % 2.5) % 2.5 > 1.0])) == 0.0


def test_of_a_few_messages_and_of_a_stopped_clock_no_loss_is_concluded():
    assert lost_share(stamps()[:5]) == 0.0
    assert lost_share([7.0] * 100) == 0.0


def problems(triples, **arrived):
    arrived = {"rgb": stamps(), "depth": stamps(), "camera_info": stamps(), **arrived}
    return losses({f"/{name}": values for name, values in arrived.items()}, triples, slop_s=0.05, remedy="do as told")


def test_a_whole_stream_has_no_losses():
    assert problems(triples=148) == []


def test_a_topic_with_gaps_is_named_with_the_remedy():
    kept = np.random.default_rng(1).random(150) >= 0.5
    (problem,) = problems(triples=70, depth=list(np.array(stamps())[kept]))
    assert problem.reason == "frames_lost"
    assert "/depth" in problem.text
    assert "do as told" in problem.text


def test_a_slower_topic_is_named_as_what_leaves_images_without_partners():
    (problem,) = problems(triples=75, depth=stamps(rate_hz=RATE_HZ / 2))
    assert problem.reason == "frames_incomplete"
    assert "of 150 images on /rgb" in problem.text
    assert "/depth came only 75 times" in problem.text


def test_stamps_that_rarely_match_are_told_to_be_synchronised():
    (problem,) = problems(triples=20)
    assert "slop (0.05 s)" in problem.text


@pytest.mark.parametrize(("rate_hz", "seconds"), [(30.0, 5.0), (3.0, 10.0), (1.0, 20.0), (0.1, 40.0)])
def test_the_slower_a_camera_the_further_is_looked_back(rate_hz, seconds):
    arrivals_s = list(np.arange(1, 1 + 60 * rate_hz) / rate_hz)
    assert window_s([arrivals_s, arrivals_s[::2]], now_s=arrivals_s[-1]) == seconds


# publishers


class Clock:
    now_s = 0.0

    def __call__(self):
        return self.now_s


def turns(sent, by_number=False, period_s=0.1):
    clock = Clock()
    told, counts = Turns(clock), dict.fromkeys(sent, 0)
    for publisher in sent:
        clock.now_s += period_s
        counts[publisher] += 1
        info = {"publication_sequence_number": counts[publisher]}
        told.took(info if by_number else {**info, "publisher_gid": {"data": publisher.encode()}})
    return told, clock


@pytest.mark.parametrize("by_number", [False, True])
def test_two_publishers_that_take_turns_are_mixed_and_one_that_follows_another_is_not(by_number):
    assert turns("abababababab", by_number)[0].are_mixed
    assert turns("aabbaabbaabbaabb", by_number)[0].are_mixed
    assert not turns("aaaaaaaabbbbbbbb", by_number)[0].are_mixed
    assert not turns("aaaaaaaaaaaaaaaa", by_number)[0].are_mixed


def test_publishers_were_mixed_only_for_some_seconds():
    told, clock = turns("abababab")
    clock.now_s += 6.0
    assert not told.are_mixed


def test_without_a_word_of_the_middleware_nothing_is_concluded():
    told = Turns()
    for _ in range(20):
        told.took({"publication_sequence_number": None})
    assert not told.are_mixed
    assert not told.are_told
    assert turns("ab")[0].are_told


# camera_info


def answered(*events, slop_s=0.01, fits=lambda images, info: True):
    """(images, camera_info) in the order of completion; an event is ("images" or "info", stamp)."""
    completed = []
    infos = CameraInfos(lambda images, info: completed.append((images, info)), fits, slop_s, 5)
    for kind, stamp_s in events:
        (infos.add_images if kind == "images" else infos.add_info)(stamp_s, stamp_s)
    return completed, infos


@pytest.mark.parametrize("first", ["images", "info"])
def test_images_get_the_camera_info_of_their_moment_whichever_comes_first(first):
    second = "info" if first == "images" else "images"
    events = [(kind, float(moment)) for moment in range(20) for kind in (first, second)]
    completed, infos = answered(*events)
    assert completed == [(float(moment), float(moment)) for moment in range(20)]
    assert not infos.are_rare


def test_a_camera_info_that_comes_once_is_that_of_all_images():
    completed, infos = answered(("info", 0.0), *[("images", float(moment)) for moment in range(1, 30)])
    assert completed == [(float(moment), 0.0) for moment in range(1, 30)]
    assert infos.are_rare


def test_a_camera_info_slower_than_the_images_loses_none_of_them():
    events = [(kind, float(m)) for m in range(60) for kind in ("images", "info") if kind == "images" or m % 2 == 0]
    completed, _ = answered(*events)
    assert [images for images, _ in completed] == [float(moment) for moment in range(len(completed))]
    assert len(completed) >= 59
    assert all(abs(images - info) <= 2.0 for images, info in completed[5:])


def test_the_last_camera_info_that_fits_is_taken():
    images = [("images", float(moment)) for moment in range(10, 20)]
    completed, _ = answered(("info", 1.0), ("info", 2.0), *images, fits=lambda images, info: info == 1.0)
    assert {info for _, info in completed} == {1.0}


def test_images_of_before_the_first_camera_info_do_not_come_again():
    completed, _ = answered(*[("images", float(m)) for m in range(10)], ("info", 9.5), ("images", 10.0), ("info", 10.0))
    assert [images for images, _ in completed][-1] == 10.0
    assert len(completed) <= 5


# remedies


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
    assert said in loss_remedy(middleware, environment)
