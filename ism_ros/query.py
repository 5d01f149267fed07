"""Data that passes through the stages of the model: a query, the crops of its proposals, the time of each stage."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ism_ros.config.settings import Settings
from ism_ros.data.crops import crop_resize_pad, crop_scales, relative_depth_px
from ism_ros.data.frame import Frame
from ism_ros.data.proposals import Proposals
from ism_ros.descriptors.base import Descriptor, Descriptors, sees_depth
from ism_ros.matching.base import MATCHERS
from ism_ros.objects.grayscale import grayscale_crops, grayscale_library
from ism_ros.objects.library import ObjectLibrary
from ism_ros.registration.frame_registration import with_registered_depth
from ism_ros.segmentors.base import Segmentor
from ism_ros.segmentors.small_proposals import SmallProposals


@dataclass(frozen=True)
class Query:
    """One frame, the objects to find in it, and the settings.

    Attributes:
        frame: The frame.
        library: The objects to find.
        settings: Thresholds and matcher.
        segmentor: Segmentor of the proposals; None = the model's.
        with_poses: Whether poses are refined by alignment; False saves some milliseconds a detection where only masks
            are needed, and poses are then those of the geometric score.
        with_unit_check: Whether, where nothing is found, the frame is segmented again with depth in other units, up
            to three times.
        sought: Ids of the objects that are looked for; the others only tell what looks like something else. None = all.
    """

    frame: Frame
    library: ObjectLibrary
    settings: Settings
    segmentor: Segmentor | None = None
    with_poses: bool = True
    with_unit_check: bool = True
    sought: Sequence[str] | None = None

    @property
    def is_sought(self) -> Tensor | None:
        """(O,) bool, which objects are looked for, on the device of the library; None = all."""
        if self.sought is None:
            return None
        device = self.library.class_tokens.device
        return torch.tensor([known in self.sought for known in self.library.ids], device=device)

    def in_colors_of_frame(self) -> Query:
        """Convert the objects to grayscale where the frame has no colors.

        Returns:
            The query, with such objects.
        """
        return replace(self, library=grayscale_library(self.library)) if self.frame.is_gray else self

    def with_registered_depth(self) -> Query:
        """Register the depth of the frame where it is clearly not registered and the settings leave it to that.

        Returns:
            The query, with such a frame.
        """
        return replace(self, frame=with_registered_depth(self.frame)) if self.settings.registers_depth() else self


@dataclass(frozen=True)
class ProposalCrops:
    """Proposals of one frame and their crops.

    Attributes:
        proposals: N proposals that are large enough.
        too_small: Boxes and areas of the others.
        crops: (N, 3, S, S) float32 RGB in [0, 1], zero outside the mask; gray where no object has colors.
        crop_masks: (N, S, S) bool.
        stage_s: Seconds of each stage so far.
        in_gray: The crops in gray, where some of the objects have no colors and others have; else None.
        depth_px: (N, S, S) float32 relative depth as of `relative_depth_px`, where the descriptor sees it and the frame
            has it; else None.
    """

    proposals: Proposals
    too_small: SmallProposals
    crops: Tensor
    crop_masks: Tensor
    stage_s: dict[str, float]
    in_gray: Tensor | None = None
    depth_px: Tensor | None = None

    def at(self, rows: Tensor) -> ProposalCrops:
        """Return the proposals at `rows`, (K,) int64, with their crops."""
        return replace(
            self,
            proposals=self.proposals[rows],
            crops=self.crops[rows],
            crop_masks=self.crop_masks[rows],
            in_gray=None if self.in_gray is None else self.in_gray[rows],
            depth_px=None if self.depth_px is None else self.depth_px[rows],
        )


def crop_proposals(
    query: Query, proposals: Proposals, too_small: SmallProposals, descriptor: Descriptor, stage_s: dict[str, float]
) -> ProposalCrops:
    """Crop proposals as objects are compared with them: in gray, where the matcher says so, with what has no colors.

    Args:
        query: Frame and objects.
        proposals: N proposals.
        too_small: Those that are too small.
        descriptor: What the crops are for.
        stage_s: Seconds of each stage so far.

    Returns:
        The crops.
    """
    frame, is_colorless = query.frame, [known.is_colorless for known in query.library.objects]
    image = torch.from_numpy(frame.rgb).to(proposals.masks.device).permute(2, 0, 1).float() / 255.0
    compares_in_gray = MATCHERS.get(query.settings.resolved_scoring()).colorless_in_gray and not frame.is_gray
    if compares_in_gray and is_colorless and all(is_colorless):
        image = grayscale_crops(image[None])[0]
    size, boxes_xyxy = descriptor.crop_size, proposals.boxes_xyxy
    depth_m, depth_px = frame.depth_m if sees_depth(descriptor) else None, None
    if depth_m is not None:
        image = torch.cat([image, torch.from_numpy(depth_m).to(image.device)[None]])
    crops, masks = crop_resize_pad(image, proposals.masks, boxes_xyxy, size)
    if depth_m is not None:
        depth_px = relative_depth_px(crops[:, 3], masks, frame.camera.fx * crop_scales(boxes_xyxy, size))
        crops = crops[:, :3]
    in_gray = grayscale_crops(crops) if compares_in_gray and any(is_colorless) and not all(is_colorless) else None
    return ProposalCrops(proposals, too_small, crops, masks, stage_s, in_gray, depth_px)


def describe_crops(descriptor: Descriptor, crops: Sequence[ProposalCrops]) -> list[Descriptors]:
    """Describe the crops of several frames in one pass.

    Args:
        descriptor: The descriptor.
        crops: Of each frame.

    Returns:
        Tokens of each frame.
    """
    gray = [one for one in crops if one.in_gray is not None]
    images = [*(one.crops for one in crops), *(one.in_gray for one in gray if one.in_gray is not None)]
    both = torch.cat(images), torch.cat([one.crop_masks for one in (*crops, *gray)])
    if sees_depth(descriptor):
        described = descriptor.describe(*both, torch.cat([_depth_px(one) for one in (*crops, *gray)]))
    else:
        described = descriptor.describe(*both)
    parts = described.split([len(part) for part in images])
    in_gray = iter(parts[len(crops) :])
    colors = zip(crops, parts[: len(crops)], strict=True)
    return [of if one.in_gray is None else replace(of, in_gray=next(in_gray)) for one, of in colors]


def _depth_px(crops: ProposalCrops) -> Tensor:
    """Depth of crops, without any reading where the frame has none."""
    return torch.full_like(crops.crops[:, 0], torch.nan) if crops.depth_px is None else crops.depth_px


def distribute_seconds(crops: Sequence[ProposalCrops], stage: str, seconds: float) -> None:
    """Divide the seconds of a pass over the crops of several frames among the frames, by their number of crops.

    Args:
        crops: Of each frame; their `stage_s` is updated.
        stage: Name of the stage.
        seconds: Of the whole pass.
    """
    total = sum(len(one.proposals) for one in crops)
    for one in crops:
        one.stage_s[stage] += seconds * (len(one.proposals) / total if total else 1 / len(crops))


class StageClock:
    """Timer of the stages of a frame, which waits for a GPU to finish before it reads the clock.

    Attributes:
        stage_s: Seconds of each stage so far, by name.
    """

    def __init__(self, device: str) -> None:
        """Start the first stage.

        Args:
            device: PyTorch device that the work runs on.
        """
        self.stage_s: dict[str, float] = {}
        self._device = torch.device(device)
        self._since = time.perf_counter()

    def lap(self, stage: str) -> None:
        """Record the time since the last lap under the name `stage`."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        now = time.perf_counter()
        self.stage_s[stage] = now - self._since
        self._since = now
