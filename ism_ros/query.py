"""What goes through the stages of the model: a query, the crops of its proposals, and the time of each stage."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ism_ros.config.settings import Settings
from ism_ros.data.frame import Frame
from ism_ros.data.proposals import Proposals
from ism_ros.objects.grayscale import grayscale_library
from ism_ros.objects.library import ObjectLibrary
from ism_ros.segmentors.base import Segmentor
from ism_ros.segmentors.small_proposals import LeftOut


@dataclass(frozen=True)
class Query:
    """One frame, and what to look for in it by which thresholds.

    Attributes:
        frame: The frame.
        library: The objects to look for.
        settings: Thresholds and matcher.
        segmentor: Finds the proposals; None = the model's.
        with_poses: False saves some milliseconds a detection where only masks count; poses are then those of the
            geometric score.
        with_unit_check: Where nothing is found, look whether something would be if depth or CAD models were in another
            unit, which takes as long again.
    """

    frame: Frame
    library: ObjectLibrary
    settings: Settings
    segmentor: Segmentor | None = None
    with_poses: bool = True
    with_unit_check: bool = True

    def in_colors_of_frame(self) -> Query:
        """Return the query, with objects in grayscale where the frame has no colours."""
        return replace(self, library=grayscale_library(self.library)) if self.frame.is_grey else self


@dataclass(frozen=True)
class ProposalCrops:
    """Proposals of one frame and their crops.

    Attributes:
        proposals: N proposals that are large enough.
        too_small: The others.
        crops: (N, 3, S, S) float32 RGB in [0, 1], zero outside the mask.
        crop_masks: (N, S, S) bool.
        stage_s: Seconds of each stage so far.
    """

    proposals: Proposals
    too_small: LeftOut
    crops: Tensor
    crop_masks: Tensor
    stage_s: dict[str, float]

    def at(self, rows: Tensor) -> ProposalCrops:
        """Return those of the proposals at `rows`."""
        return replace(
            self, proposals=self.proposals[rows], crops=self.crops[rows], crop_masks=self.crop_masks[rows]
        )


def share_seconds(crops: Sequence[ProposalCrops], stage: str, seconds: float) -> None:
    """Add the seconds of a pass over the crops of several frames to their stage, by the number of crops."""
    total = sum(len(one.proposals) for one in crops)
    for one in crops:
        one.stage_s[stage] += seconds * (len(one.proposals) / total if total else 1 / len(crops))


class StageClock:
    """Measures the stages of a frame; waits for a GPU to finish before it reads the clock."""

    def __init__(self, device: str) -> None:
        """Start the first stage, of work on `device`."""
        self.stage_s: dict[str, float] = {}
        self._device = torch.device(device)
        self._since = time.perf_counter()

    def lap(self, stage: str) -> None:
        """Book the time since the last lap under `stage`."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        now = time.perf_counter()
        self.stage_s[stage] = now - self._since
        self._since = now
