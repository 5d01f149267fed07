"""Areas of masks, and what becomes of no proposals at all."""

from __future__ import annotations

import pytest

pytest.importorskip("hypothesis", reason="hypothesis is not installed: pip install '.[test]'")

import numpy as np
import torch
from hypothesis import given
from hypothesis.extra import numpy as hnp

from ism_ros.data.boxes import boxes_from_masks
from ism_ros.data.crops import crop_resize_pad
from ism_ros.data.masks import large_enough, mask_areas
from ism_ros.data.nms import nms

any_masks = hnp.arrays(bool, hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=16))


@given(any_masks)
def test_areas_count_pixels(masks: np.ndarray) -> None:
    assert mask_areas(torch.from_numpy(masks)).tolist() == masks.sum(axis=(1, 2)).tolist()


def test_no_proposals_are_no_boxes_and_no_crops() -> None:
    masks = torch.zeros(0, 8, 9, dtype=torch.bool)
    boxes = boxes_from_masks(masks)
    crops, crop_masks = crop_resize_pad(torch.zeros(3, 8, 9), masks, boxes, 16)
    assert boxes.shape == (0, 4)
    assert crops.shape == (0, 3, 16, 16)
    assert crop_masks.shape == (0, 16, 16)
    assert large_enough(masks, boxes).shape == (0,)
    assert nms(boxes, torch.zeros(0), 0.5).tolist() == []
