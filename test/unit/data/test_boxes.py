"""Boxes of any masks are tight."""

from __future__ import annotations

import pytest

pytest.importorskip("hypothesis", reason="hypothesis is not installed: pip install '.[test]'")

import numpy as np
import torch
from hypothesis import given
from hypothesis.extra import numpy as hnp

from ism_ros.data.boxes import boxes_from_masks, mask_to_xywh, sam6d_xywh_to_xyxy, xyxy_to_sam6d_xywh, xyxy_to_xywh

any_masks = hnp.arrays(bool, hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=16))


@given(any_masks)
def test_boxes_are_tight(masks: np.ndarray) -> None:
    for mask, box in zip(masks, boxes_from_masks(torch.from_numpy(masks)).tolist(), strict=True):
        rows, columns = np.nonzero(mask)
        expected = [columns.min(), rows.min(), columns.max(), rows.max()] if len(rows) else [0, 0, 0, 0]
        assert box == expected


def test_a_box_of_one_pixel_is_one_wide_but_for_sam6d() -> None:
    mask = np.zeros((4, 5), bool)
    mask[2, 3] = True
    box_xyxy = boxes_from_masks(torch.from_numpy(mask[None]))[0].tolist()
    assert box_xyxy == [3, 2, 3, 2]
    assert xyxy_to_xywh(box_xyxy) == list(mask_to_xywh(mask)) == [3, 2, 1, 1]
    assert xyxy_to_sam6d_xywh(box_xyxy) == [3, 2, 0, 0]
    assert sam6d_xywh_to_xyxy([3, 2, 0, 0]) == (3, 2, 3, 2)
