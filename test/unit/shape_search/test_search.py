"""What the segmentor has no mask for is found by its size and shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from mask_iou import mask_iou

from ism_ros.config.settings import Settings
from ism_ros.data.frame import Frame
from ism_ros.data.proposals import Proposals
from ism_ros.loading import load_model
from ism_ros.model import InstanceSegmentationModel
from ism_ros.query import Query
from ism_ros.selftest.sample_files import SCENE, read_sample_frame


class SegmentorOfNothing:
    """A segmentor that knows nothing of what is there."""

    name, is_small, needs_depth = "nothing", True, False

    def propose(self, frame: Frame, stability_score_threshold: float | None = None) -> Proposals:
        return Proposals.empty(frame.height, frame.width)


@pytest.fixture(scope="module")
def model(sample_cache: Path) -> InstanceSegmentationModel:
    objects = str(SCENE / "objects.yaml")
    return load_model(Settings(device="cpu", objects_file=objects, cache_dir=str(sample_cache)))


def searching(model: InstanceSegmentationModel, **settings: Any) -> Settings:
    return model.settings.model_copy(update={"search_by_shape": True, **settings})


def found_by(model: InstanceSegmentationModel, segmentor: Any = None, **settings: Any) -> dict[str, torch.Tensor]:
    """Masks of the detections in the sample scene, by their class."""
    query = Query(read_sample_frame(), model.library, searching(model, **settings), segmentor)
    (detections,) = model.segment_all([query])
    return {detections.class_id(row): detections.masks[row] for row in range(len(detections))}


def test_objects_are_found_where_the_segmentor_finds_nothing(model: InstanceSegmentationModel) -> None:
    usual, searched = found_by(model), found_by(model, SegmentorOfNothing())
    assert set(searched) == set(usual) == {"carton", "banana"}
    assert min(mask_iou(searched[name][None], mask[None]).item() for name, mask in usual.items()) > 0.7


def test_nothing_is_searched_where_that_is_off_or_another_matcher_is_chosen(model: InstanceSegmentationModel) -> None:
    assert not found_by(model, SegmentorOfNothing(), search_by_shape=False)
    assert not found_by(model, SegmentorOfNothing(), scoring="shape")


def test_nothing_is_searched_without_depth(model: InstanceSegmentationModel) -> None:
    frame, settings = replace(read_sample_frame(), depth_m=None), searching(model)
    (detections,) = model.segment_all([Query(frame, model.library, settings, SegmentorOfNothing())])
    assert not len(detections)


def test_nothing_is_searched_where_many_objects_are_missing(model: InstanceSegmentationModel) -> None:
    others: Sequence = [replace(known, id=f"{known.id}_{copy}") for known in model.library.objects for copy in "ab"]
    library = model.library
    for known in others:
        library = library.with_object(known)
    (detections,) = model.segment_all([Query(read_sample_frame(), library, searching(model), SegmentorOfNothing())])
    assert not len(detections)
