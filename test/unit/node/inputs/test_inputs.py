"""The order of stamps, and which camera_info goes with which images."""

import pytest

from ism_ros.node.inputs.camera_info_matching import CameraInfoMatcher
from ism_ros.node.inputs.stamp_check import MAX_LATE_IN_A_ROW, StampCheck, StampOrder

# order


def orders(*stamps_s):
    check = StampCheck()
    return [check.check(stamp_s) for stamp_s in stamps_s]


def test_stamps_in_order_are_newer_and_the_same_again_is_repeated():
    assert orders(1.0, 1.1, 1.1, 1.2) == [StampOrder.NEWER, StampOrder.NEWER, StampOrder.REPEATED, StampOrder.NEWER]


def test_a_stamp_a_little_older_is_late_and_the_next_newer_one_is_in_order():
    assert orders(1.0, 1.2, 1.1, 1.3) == [StampOrder.NEWER, StampOrder.NEWER, StampOrder.LATE, StampOrder.NEWER]


def test_a_stamp_much_older_is_a_jump_back_and_time_goes_on_from_there():
    assert orders(5000.0, 10.0, 10.1) == [StampOrder.NEWER, StampOrder.JUMPED_BACK, StampOrder.NEWER]


def test_late_stamps_in_a_row_are_a_jump_back_as_when_a_short_bag_starts_again():
    again = [10.0 + 0.1 * number for number in range(MAX_LATE_IN_A_ROW + 1)]
    found = orders(10.9, *again)
    assert found[1:] == [StampOrder.LATE] * (MAX_LATE_IN_A_ROW - 1) + [StampOrder.JUMPED_BACK, StampOrder.NEWER]


def test_hours_ahead_is_newer():
    assert orders(10.0, 10.0 + 7200) == [StampOrder.NEWER, StampOrder.NEWER]


# camera_info


def answered(*events, slop_s=0.01, fits=lambda images, info: True):
    """(images, camera_info) in the order of completion; an event is ("images" or "info", stamp)."""
    completed = []
    infos = CameraInfoMatcher(lambda images, info: completed.append((images, info)), fits, slop_s, 5)
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
