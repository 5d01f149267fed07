"""Which units are tried where nothing is found, and what tells that one is wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ism_ros.result_checks.size_checks import factors_to_try, is_convincing, is_unusual


def test_tenths_of_a_millimetre_and_centimetres_are_tried_whatever_the_sizes() -> None:
    assert sorted(factors_to_try(torch.tensor([]))) == [0.1, 10.0]
    assert sorted(factors_to_try(torch.tensor([torch.nan, 1.0]))) == [0.1, 10.0]


def test_the_factor_that_gives_proposals_the_size_of_their_objects_comes_first() -> None:
    assert factors_to_try(torch.tensor([9.0, 11.0, 1.0]))[0] == 0.1
    assert factors_to_try(torch.tensor([0.09, 0.12, 1.0]))[0] == 10.0


def test_inches_are_tried_where_sizes_speak_for_them() -> None:
    assert factors_to_try(torch.tensor([30.0, 31.0]))[0] == pytest.approx(1 / 25.4)


@pytest.mark.parametrize(("median_m", "unusual"), [(0.06, True), (0.5, False), (1.5, False), (7.0, True)])
def test_depth_is_unusual_nearer_or_farther_than_tables_are(median_m: float, unusual: bool) -> None:
    depth_m = np.full((48, 64), median_m, np.float32)
    depth_m[:, ::3] = 0  # no reading
    assert is_unusual(depth_m) == unusual


def test_an_image_without_readings_is_not_unusual() -> None:
    assert not is_unusual(np.zeros((48, 64), np.float32))


def test_depth_that_becomes_usual_needs_one_likely_object() -> None:
    assert is_convincing([0.5], 0.0, is_depth=True)
    assert not is_convincing([0.4], 0.0, is_depth=True)


def test_what_is_found_without_must_be_clearly_less_likely() -> None:
    assert is_convincing([0.7], 0.5, is_depth=True)
    assert not is_convincing([0.6], 0.5, is_depth=True)


def test_usual_depth_is_doubted_for_a_sure_object_or_two_likely_ones_alone() -> None:
    assert not is_convincing([0.74], 0.0, is_depth=False)
    assert is_convincing([0.85], 0.0, is_depth=False)
    assert is_convincing([0.6, 0.55], 0.0, is_depth=False)
    assert not is_convincing([], 0.0, is_depth=False)
