"""Crops of any box and mask have the size asked for, on every path."""

from __future__ import annotations

import pytest

pytest.importorskip("hypothesis", reason="hypothesis is not installed: pip install '.[test]'")

from random import Random

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ism_ros.data.boxes import boxes_from_masks
from ism_ros.data.crops import (
    crop_by_gather,
    crop_by_loops,
    crop_resize_pad,
    crop_scales,
    relative_depth_px,
    source_pixels,
)

any_masks = hnp.arrays(bool, hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=16))


@given(any_masks, st.integers(1, 40), st.booleans(), st.randoms(use_true_random=False))
def test_crops_of_loops_are_those_of_all_at_once(
    masks: np.ndarray, size: int, one_image: bool, random: Random
) -> None:
    count, height, width = masks.shape
    across = torch.tensor([sorted(random.choices(range(width), k=2)) for _ in range(count)])
    down = torch.tensor([sorted(random.choices(range(height), k=2)) for _ in range(count)])
    boxes = torch.stack([across[:, 0], down[:, 0], across[:, 1], down[:, 1]], dim=1)
    image = torch.rand((3, height, width) if one_image else (count, 3, height, width))
    columns = source_pixels(boxes[:, 0], boxes[:, 2], boxes, size)
    rows = source_pixels(boxes[:, 1], boxes[:, 3], boxes, size)
    ours = crop_by_loops(image, torch.from_numpy(masks), columns, rows)
    theirs = crop_by_gather(image, torch.from_numpy(masks), columns, rows)
    assert torch.equal(ours[0], theirs[0])
    assert torch.equal(ours[1], theirs[1])


@settings(max_examples=200)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 70), st.data())
def test_a_crop_of_any_box_has_exactly_the_size_asked_for(
    height: int, width: int, size: int, data: st.DataObject
) -> None:
    x_first = data.draw(st.integers(0, width - 1))
    y_first = data.draw(st.integers(0, height - 1))
    x_last = data.draw(st.integers(x_first, width - 1))
    y_last = data.draw(st.integers(y_first, height - 1))
    image = torch.ones(3, height, width)
    mask = torch.zeros(1, height, width, dtype=torch.bool)
    mask[0, y_first : y_last + 1, x_first : x_last + 1] = True
    crops, crop_masks = crop_resize_pad(image, mask, torch.tensor([[x_first, y_first, x_last, y_last]]), size)
    assert crops.shape == (1, 3, size, size)
    assert crop_masks.shape == (1, size, size)
    assert crop_masks.any()
    assert torch.equal(crops[0, 0] > 0, crop_masks[0])


def test_square_boxes_that_rounding_would_leave_a_pixel_short_still_fill_the_crop() -> None:
    size = 56
    for side in range(1, 200):
        mask = torch.ones(1, side + 1, side + 1, dtype=torch.bool)
        crops, _ = crop_resize_pad(torch.ones(1, side + 1, side + 1), mask, torch.tensor([[0, 0, side, side]]), size)
        assert crops.shape == (1, 1, size, size)
        assert crops.all()


def test_crops_of_one_image_a_mask_are_those_of_each_image_alone() -> None:
    images, masks = torch.rand(3, 3, 20, 30), torch.rand(3, 20, 30) > 0.3
    boxes = boxes_from_masks(masks)
    together, _ = crop_resize_pad(images, masks, boxes, 16)
    for row in range(3):
        alone, _ = crop_resize_pad(images[row], masks[row : row + 1], boxes[row : row + 1], 16)
        assert torch.equal(together[row], alone[0])


@pytest.mark.parametrize("distance_m", [0.4, 2.0])
def test_depth_in_crops_is_that_of_the_shape_whatever_its_size_and_distance(distance_m: float) -> None:
    focal_px, side_px = 600.0, 41
    size_m = side_px * distance_m / focal_px  # a slope of 45 degrees: as deep as it is wide
    mask = torch.ones(1, side_px, side_px, dtype=torch.bool)
    depth_m = (distance_m + torch.linspace(-size_m / 2, size_m / 2, side_px)).expand(side_px, side_px)
    boxes = torch.tensor([[0, 0, side_px - 1, side_px - 1]])
    crops, crop_masks = crop_resize_pad(depth_m[None], mask, boxes, 96)
    depth_px = relative_depth_px(crops[:, 0], crop_masks, focal_px * crop_scales(boxes, 96))
    assert float(depth_px.amax() - depth_px.amin()) == pytest.approx(96, rel=0.05)
    assert float(depth_px.mean()) == pytest.approx(0, abs=1e-3)


def test_depth_in_crops_says_where_there_is_no_reading() -> None:
    crop_masks = torch.zeros(3, 32, 32, dtype=torch.bool)
    crop_masks[:, 8:24, 8:24] = True
    depth_m = torch.zeros(3, 32, 32)
    depth_m[1, 12:20, 12:20] = 0.7
    depth_m[2, 9, 9] = 0.7  # none of those that the median is taken of
    depth_m[:, 0, 0] = 0.7  # outside the mask
    depth_px = relative_depth_px(depth_m, crop_masks, torch.full((3,), 500.0))
    assert torch.equal(depth_px.isfinite(), crop_masks & (depth_m > 0))
    assert not depth_px.nan_to_num(0.0).any()


def test_what_is_far_behind_in_a_mask_does_not_move_the_mean_of_its_depth() -> None:
    crop_masks = torch.ones(1, 32, 32, dtype=torch.bool)
    depth_m = torch.full((1, 32, 32), 0.7)
    depth_m[:, 20:] = 2.0
    depth_px = relative_depth_px(depth_m, crop_masks, torch.tensor([500.0]))
    torch.testing.assert_close(depth_px[0, :20], torch.zeros(20, 32), atol=1e-3, rtol=0)
