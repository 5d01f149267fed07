"""Upsampling to masks gives what bilinear interpolation and a comparison give."""

from __future__ import annotations

import pytest

pytest.importorskip("hypothesis", reason="hypothesis is not installed: pip install '.[test]'")

import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ism_ros.segmentors.upsampling import upsample_along_contours, upsample_to_masks

side = st.integers(1, 40)


def positions(length: int, size: int) -> Tensor:
    """Where `length` pixels are among `size` that cover the same extent."""
    return (torch.arange(length, dtype=torch.float64) + 0.5) * size / length - 0.5


def images(count: int, height: int, width: int, seed: int) -> Tensor:
    return torch.rand((count, height, width), generator=torch.Generator().manual_seed(seed))


@given(st.integers(0, 3), side, side, side, side, st.integers(0, 9))
def test_masks_are_where_the_interpolated_image_is_above_the_threshold(
    count: int, height: int, width: int, mask_height: int, mask_width: int, seed: int
) -> None:
    values = images(count, height, width, seed)
    masks = upsample_to_masks(values, positions(mask_height, height), positions(mask_width, width), 0.5)
    assert masks.shape == (count, mask_height, mask_width)
    if count:
        expected = F.interpolate(values[None], (mask_height, mask_width), mode="bilinear", align_corners=False)[0]
        certain = (expected - 0.5).abs() > 1e-4
        assert torch.equal(masks[certain], expected[certain] > 0.5)


def test_a_part_of_the_image_can_be_enlarged() -> None:
    values = images(2, 20, 30, 0)
    whole = upsample_to_masks(values, positions(80, 20), positions(120, 30), 0.5)
    part = upsample_to_masks(values, positions(80, 20)[10:50], positions(120, 30)[7:9], 0.5)
    assert torch.equal(part, whole[:, 10:50, 7:9])


@given(side, side, side, side, st.integers(0, 9))
def test_loops_and_operations_of_pytorch_give_the_same(
    height: int, width: int, mask_height: int, mask_width: int, seed: int
) -> None:
    values = images(3, height, width, seed)
    at = positions(mask_height, height), positions(mask_width, width)
    by_loops, by_operations = upsample_to_masks(values, *at, 0.5), upsample_along_contours(values, *at, 0.5)
    assert float((by_loops != by_operations).float().mean()) < 1e-3


def test_many_contours_are_computed_in_several_steps() -> None:
    values = images(3, 20, 30, 0)
    at_once = upsample_along_contours(values, positions(80, 20), positions(120, 30), 0.5)
    in_steps = upsample_along_contours(values, positions(80, 20), positions(120, 30), 0.5, pixels_per_batch=100)
    assert torch.equal(in_steps, at_once)
