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
from ism_ros.data.crops import crop_by_gather, crop_by_loops, crop_resize_pad, source_pixels

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
