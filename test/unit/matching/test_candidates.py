"""Candidates of the matcher `verified`: which proposals are joined because they may be parts of one object."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh
from lone_objects import known, pose, seen
from scipy.spatial.transform import Rotation

from ism_ros.data.boxes import boxes_from_masks
from ism_ros.data.frame import Frame
from ism_ros.data.proposals import Proposals
from ism_ros.matching.candidates import MAX_UNIONS, Candidates
from ism_ros.objects.library import ObjectLibrary
from ism_ros.pose.observed_points import sample_observed_points

BOX = trimesh.creation.box((0.16, 0.11, 0.08))
SIDE = Rotation.from_euler("xyz", (35, 40, 10), degrees=True)


@pytest.fixture(scope="module")
def library() -> ObjectLibrary:
    return ObjectLibrary((known("box", BOX),))


@pytest.fixture(scope="module")
def scene() -> tuple[Frame, np.ndarray]:
    return seen(BOX, pose(SIDE, (-0.02, 0.01, 0.6)))


def halves(mask: np.ndarray, gap_px: int = 0) -> tuple[np.ndarray, np.ndarray]:
    middle = int(np.nonzero(mask)[1].mean())
    columns = np.arange(mask.shape[1])
    return mask & (columns < middle - gap_px), mask & (columns >= middle + gap_px)


def candidates(frame: Frame, library: ObjectLibrary, *masks: np.ndarray, semantic: float = 0.7) -> Candidates:
    stack = torch.from_numpy(np.stack(masks))
    proposals = Proposals(stack, torch.linspace(0.9, 0.5, len(masks)), boxes_from_masks(stack))
    looks = torch.full((len(masks), len(library)), semantic)
    return Candidates.of(frame, proposals, looks, looks - 0.4, library)


def test_two_halves_of_an_object_make_a_union_that_covers_both(
    scene: tuple[Frame, np.ndarray], library: ObjectLibrary
) -> None:
    frame, mask = scene
    found = candidates(frame, library, *halves(mask))
    assert found.is_union.tolist() == [False, False, True]
    assert torch.equal(found.proposals.masks[2], torch.from_numpy(mask))
    assert torch.equal(found.proposals.boxes_xyxy[2:], boxes_from_masks(torch.from_numpy(mask)[None]))
    assert found.proposal.tolist() in ([0, 1, 0], [0, 1, 1])
    assert found.points is not None
    again = sample_observed_points(found.proposals.masks, found.proposals.boxes_xyxy, frame)
    for name in ("points_m", "colors", "pixels", "median_m"):
        assert torch.equal(getattr(found.points, name), getattr(again, name))


def test_a_union_is_compared_with_the_object_that_its_parts_look_like(
    scene: tuple[Frame, np.ndarray], library: ObjectLibrary
) -> None:
    frame, mask = scene
    other = known("other", BOX)
    both = ObjectLibrary((*library.objects, other))
    stack = torch.from_numpy(np.stack(halves(mask)))
    proposals = Proposals(stack, torch.tensor([0.9, 0.8]), boxes_from_masks(stack))
    semantic = torch.tensor([[0.5, 0.8], [0.4, 0.7]])
    found = Candidates.of(frame, proposals, semantic, semantic - semantic.flip(1), both)
    assert found.prior[2].isfinite().tolist() == [False, True]
    torch.testing.assert_close(found.semantic[2], semantic.mean(dim=0))


@pytest.mark.parametrize("reason", ["unlike", "the same twice", "apart", "no depth"])
def test_what_cannot_be_parts_of_one_object_is_not_joined(
    scene: tuple[Frame, np.ndarray], library: ObjectLibrary, reason: str
) -> None:
    frame, mask = scene
    masks = {"the same twice": (mask, mask), "apart": halves(mask, gap_px=25)}.get(reason, halves(mask))
    shown = Frame(frame.rgb, None, frame.camera) if reason == "no depth" else frame
    found = candidates(shown, library, *masks, semantic=0.3 if reason == "unlike" else 0.7)
    assert not found.is_union.any()


def test_an_object_with_many_parts_leaves_room_for_the_unions_of_another() -> None:
    both = ObjectLibrary((known("box", BOX), known("other", BOX)))
    left, mask = seen(BOX, pose(SIDE, (-0.12, 0.01, 0.6)))
    right, beside = seen(BOX, pose(SIDE, (0.12, 0.01, 0.6)))
    depth_m = np.where(beside, right.depth_m, left.depth_m)
    rows, columns = np.indices(mask.shape)
    thirds = np.digitize(columns, np.quantile(np.nonzero(mask)[1], (1 / 3, 2 / 3)))
    is_upper = rows < rows[mask].mean()
    parts = [mask & half & (thirds == third) for half in (is_upper, ~is_upper) for third in range(3)]
    stack = torch.from_numpy(np.stack([*parts, *halves(beside)]))
    proposals = Proposals(stack, torch.linspace(0.9, 0.5, 8), boxes_from_masks(stack))
    semantic = torch.tensor([[0.9, 0.1]] * 6 + [[0.1, 0.5]] * 2)
    frame = replace(left, depth_m=depth_m)
    found = Candidates.of(frame, proposals, semantic, semantic - semantic.flip(1), both)
    united = found.proposals.masks[found.is_union]
    assert len(united) == MAX_UNIONS
    assert any(torch.equal(one, torch.from_numpy(beside)) for one in united)
