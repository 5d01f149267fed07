"""Properties of boxes, crops, suppression and RLE, for any masks."""

from __future__ import annotations

import pytest

pytest.importorskip("hypothesis", reason="hypothesis is not installed: pip install '.[test]'")

from random import Random

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco_mask

from ism_ros.data import crops as crops_module
from ism_ros.data import nms as nms_module
from ism_ros.data.boxes import box_iou, boxes_from_masks
from ism_ros.data.crops import crop_resize_pad
from ism_ros.data.masks import large_enough, mask_areas
from ism_ros.data.nms import mask_nms, nms
from ism_ros.data.rle import decode_rle, encode_rle

any_mask = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=24))
any_masks = hnp.arrays(bool, hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=16))


@st.composite
def boxes_and_scores(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    count = draw(st.integers(0, 20))
    corner = st.tuples(st.integers(0, 50), st.integers(0, 50), st.integers(0, 30), st.integers(0, 30))
    corners = draw(st.lists(corner, min_size=count, max_size=count))
    boxes = torch.tensor([[x, y, x + w, y + h] for x, y, w, h in corners], dtype=torch.int64).reshape(-1, 4)
    scores = torch.tensor(draw(st.lists(st.floats(0, 1, width=32), min_size=count, max_size=count)))
    group = torch.tensor(draw(st.lists(st.integers(0, 2), min_size=count, max_size=count)), dtype=torch.int64)
    return boxes, scores, group


@given(any_mask)
def test_rle_round_trip(mask: np.ndarray) -> None:
    rle = encode_rle(mask)
    assert rle["size"] == list(mask.shape)
    assert np.array_equal(decode_rle(rle), mask)


@given(any_mask)
def test_rle_is_that_of_pycocotools(mask: np.ndarray) -> None:
    wanted = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    assert encode_rle(mask) == {"size": wanted["size"], "counts": wanted["counts"].decode("ascii")}


@given(any_masks, st.integers(1, 40), st.booleans(), st.randoms(use_true_random=False))
def test_crops_one_by_one_are_those_of_all_at_once(
    masks: np.ndarray, size: int, one_image: bool, random: Random
) -> None:
    count, height, width = masks.shape
    across = torch.tensor([sorted(random.choices(range(width), k=2)) for _ in range(count)])
    down = torch.tensor([sorted(random.choices(range(height), k=2)) for _ in range(count)])
    boxes = torch.stack([across[:, 0], down[:, 0], across[:, 1], down[:, 1]], dim=1)
    image = torch.rand((3, height, width) if one_image else (count, 3, height, width))
    columns = crops_module._source_pixels(boxes[:, 0], boxes[:, 2], boxes, size)
    rows = crops_module._source_pixels(boxes[:, 1], boxes[:, 3], boxes, size)
    ours = crops_module._crop_one_by_one(image, torch.from_numpy(masks), columns, rows)
    theirs = crops_module._crop_all_at_once(image, torch.from_numpy(masks), columns, rows)
    assert torch.equal(ours[0], theirs[0])
    assert torch.equal(ours[1], theirs[1])


@given(any_masks)
def test_boxes_are_tight(masks: np.ndarray) -> None:
    for mask, box in zip(masks, boxes_from_masks(torch.from_numpy(masks)).tolist(), strict=True):
        rows, columns = np.nonzero(mask)
        expected = [columns.min(), rows.min(), columns.max(), rows.max()] if len(rows) else [0, 0, 0, 0]
        assert box == expected


@given(any_masks)
def test_areas_count_pixels(masks: np.ndarray) -> None:
    assert mask_areas(torch.from_numpy(masks)).tolist() == masks.sum(axis=(1, 2)).tolist()


@given(boxes_and_scores(), st.floats(0.05, 0.95))
def test_nms_keeps_no_overlapping_pair_and_drops_only_for_a_better_one(
    case: tuple[torch.Tensor, torch.Tensor, torch.Tensor], threshold: float
) -> None:
    boxes, scores, group = case
    kept = nms(boxes, scores, threshold, group)
    assert scores[kept].tolist() == sorted(scores[kept].tolist(), reverse=True)
    kept_rows = kept.tolist()
    rivals = {
        row: [k for k in kept_rows if k != row and group[k] == group[row] and box_iou(boxes[k], boxes[row]) > threshold]
        for row in range(len(boxes))
    }
    for row, overlapping in rivals.items():
        if row in kept_rows:
            assert overlapping == []
        else:
            assert any(scores[k] >= scores[row] for k in overlapping)


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


def test_no_proposals_are_no_boxes_and_no_crops() -> None:
    masks = torch.zeros(0, 8, 9, dtype=torch.bool)
    boxes = boxes_from_masks(masks)
    crops, crop_masks = crop_resize_pad(torch.zeros(3, 8, 9), masks, boxes, 16)
    assert boxes.shape == (0, 4)
    assert crops.shape == (0, 3, 16, 16)
    assert crop_masks.shape == (0, 16, 16)
    assert large_enough(masks, boxes).shape == (0,)
    assert nms(boxes, torch.zeros(0), 0.5).tolist() == []


def test_of_two_masks_of_one_region_the_first_is_kept() -> None:
    masks = torch.zeros(3, 40, 50, dtype=torch.bool)
    masks[0, 5:25, 5:25] = True
    masks[1, 7:25, 5:25] = True
    masks[2, 20:38, 20:45] = True
    best_first = torch.arange(3)
    assert mask_nms(masks, best_first, 0.5).tolist() == [0, 2]
    assert mask_nms(masks, best_first, 1.0).tolist() == [0, 1, 2]
    assert mask_nms(masks, best_first[1:], 0.5).tolist() == [1, 2]
    assert mask_nms(masks, best_first[:0], 0.5).tolist() == []


@given(boxes_and_scores(), st.floats(0, 1), st.integers(1, 6), st.integers(1, 8))
def test_nms_in_blocks_keeps_what_it_keeps_at_once(
    case: tuple[torch.Tensor, torch.Tensor, torch.Tensor], threshold: float, block: int, most: int
) -> None:
    at_once = nms(*case[:2], threshold, case[2])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nms_module, "NMS_BLOCK", block)
        assert nms(*case[:2], threshold, case[2]).tolist() == at_once.tolist()
        assert nms(*case[:2], threshold, case[2], max_kept=most).tolist() == at_once[:most].tolist()
