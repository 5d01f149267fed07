"""Suppression of boxes and masks that overlap a better one."""

from __future__ import annotations

import pytest

pytest.importorskip("hypothesis", reason="hypothesis is not installed: pip install '.[test]'")

import torch
from hypothesis import given
from hypothesis import strategies as st

from ism_ros.data.boxes import box_iou
from ism_ros.data.nms import mask_nms, nms, shared_mask_nms, wholes_before_parts


@st.composite
def boxes_and_scores(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    count = draw(st.integers(0, 20))
    corner = st.tuples(st.integers(0, 50), st.integers(0, 50), st.integers(0, 30), st.integers(0, 30))
    corners = draw(st.lists(corner, min_size=count, max_size=count))
    boxes = torch.tensor([[x, y, x + w, y + h] for x, y, w, h in corners], dtype=torch.int64).reshape(-1, 4)
    scores = torch.tensor(draw(st.lists(st.floats(0, 1, width=32), min_size=count, max_size=count)))
    group = torch.tensor(draw(st.lists(st.integers(0, 2), min_size=count, max_size=count)), dtype=torch.int64)
    return boxes, scores, group


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
    assert nms(*case[:2], threshold, case[2], block=block).tolist() == at_once.tolist()
    assert nms(*case[:2], threshold, case[2], max_kept=most, block=block).tolist() == at_once[:most].tolist()


def strip(*columns: tuple[int, int]) -> torch.Tensor:
    """Masks of one row, each from a first column up to another one."""
    at = torch.arange(20)
    return torch.stack([(at >= first) & (at < last) for first, last in columns])[:, None]


def test_a_whole_comes_before_its_more_probable_part_of_the_same_object() -> None:
    masks = strip((0, 10), (0, 20), (0, 20))
    scores, group = torch.tensor([0.5, 0.4, 0.4]), torch.tensor([7, 7, 8])
    raised = wholes_before_parts(masks, scores, group, least_share=0.85, least_growth=1.2, least_ratio=0.75)
    assert raised[1] > raised[0] == 0.5
    assert raised[2] == scores[2]


def test_without_masks_there_are_no_wholes() -> None:
    none = torch.zeros(0)
    assert not len(wholes_before_parts(torch.zeros(0, 1, 20, dtype=torch.bool), none, none.long(), 0.85, 1.2, 0.75))


def test_what_is_much_less_probable_is_no_whole() -> None:
    scores = torch.tensor([0.5, 0.3])
    raised = wholes_before_parts(strip((0, 10), (0, 20)), scores, torch.zeros(2, dtype=torch.int64), 0.85, 1.2, 0.75)
    assert torch.equal(raised, scores)


def test_of_masks_that_share_more_than_allowed_the_best_is_kept_and_of_each_group_one() -> None:
    masks = strip((0, 10), (5, 15), (15, 20), (10, 14))
    kept = shared_mask_nms(masks, torch.tensor([0.5, 0.4, 0.3, 0.2]), torch.tensor([0, 1, 2, 2]), max_shared=0.3)
    assert kept.tolist() == [0, 2]
