"""Boxes and masks out of FastSAM's outputs: the numbers of the public implementation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from mask_iou import mask_iou

from ism_ros.data.rle import decode_rle
from ism_ros.segmentors.fastsam.letterbox import Letterbox, letterbox_around
from ism_ros.segmentors.fastsam.yolo_masks import Candidates, assemble_masks, find_candidates

REFERENCE = Path(__file__).parents[3] / "data" / "fastsam" / "yolov8_seg.npz"
CASES = {"same_size": ((80, 128), 128), "smaller_input": ((120, 192), 96)}


class Case:
    """One image of test/data/fastsam/README.md and what the public implementation says about it."""

    def __init__(self, name: str) -> None:
        stored = np.load(REFERENCE)
        self.letterbox = letterbox_around(*CASES[name])
        self.head = torch.from_numpy(stored[f"{name}_head"].astype(np.float32))
        self.prototypes = torch.from_numpy(stored[f"{name}_prototypes"].astype(np.float32))
        self.boxes = torch.from_numpy(stored[f"{name}_boxes_xyxy"])
        self.confidence = torch.from_numpy(stored[f"{name}_confidence"])
        size = stored[f"{name}_mask_size"].tolist()
        rles = stored[f"{name}_masks_rle"].tolist()
        self.masks = torch.from_numpy(np.stack([decode_rle({"size": size, "counts": counts}) for counts in rles]))

    def candidates(self) -> Candidates:
        return find_candidates(self.head, 0.25, 0.9, 50 if self.letterbox.scale == 1 else 100)


@pytest.fixture(scope="module", params=list(CASES))
def case(request: pytest.FixtureRequest) -> Case:
    return Case(request.param)


def test_boxes_are_those_of_the_public_implementation_in_its_order(case: Case) -> None:
    found = case.candidates()
    assert torch.equal(found.confidence, case.confidence)
    torch.testing.assert_close(case.letterbox.boxes_in_frame(found.boxes_xyxy), case.boxes, rtol=0, atol=1e-3)


def test_near_duplicates_are_among_the_stored_numbers() -> None:
    case = Case("smaller_input")
    assert len(case.candidates()) < int((case.head[4] > 0.25).sum())


def test_masks_at_the_input_s_size_are_those_of_the_public_implementation(case: Case) -> None:
    size = case.letterbox.input_size
    masks = assemble_masks(case.candidates(), case.prototypes, Letterbox(size, size, size, 0, 0, 1.0))
    assert len(masks) == len(case.masks)
    assert float(mask_iou(masks, case.masks).min()) > 0.999


def test_masks_of_a_frame_that_needs_no_scaling_are_those_of_the_public_implementation_without_padding() -> None:
    case = Case("same_size")
    masks = assemble_masks(case.candidates(), case.prototypes, case.letterbox)
    assert float(mask_iou(masks, case.masks[:, 8:88]).min()) > 0.999


def test_masks_of_a_scaled_frame_have_the_same_outlines() -> None:
    case = Case("smaller_input")
    masks = assemble_masks(case.candidates(), case.prototypes, case.letterbox)
    content = case.masks[:, 2:62].float()[None]
    stretched = torch.nn.functional.interpolate(content, (120, 192), mode="bilinear")[0] > 0.5
    # a prototype pixel is eight pixels of this frame
    assert float(mask_iou(masks, stretched).min()) > 0.96
    assert float(mask_iou(masks, stretched).median()) > 0.98


def test_the_network_s_input_is_that_of_the_public_implementation() -> None:
    y, x = np.mgrid[:120, :192]
    rgb = np.stack([(3 * x + y) % 256, (x * y // 40) % 256, (128 + 2 * y - x) % 256], axis=2).astype(np.uint8)
    expected = np.load(REFERENCE)["smaller_input_network_input"]
    ours = letterbox_around((120, 192), 96).apply(np.ascontiguousarray(rgb[..., ::-1]))
    assert ours.shape == expected.shape
    assert np.abs(ours.astype(int) - expected).max() <= 1
