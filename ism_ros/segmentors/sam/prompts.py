"""Which prompts a frame gets: a grid of points, or points and boxes of what could be an object."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from ism_ros.data.frame import Frame
from ism_ros.runtime.model_request import ModelRequest
from ism_ros.segmentors.base import SEGMENTORS, PromptSource
from ism_ros.segmentors.sam.guided_prompts import GuidedPrompter
from ism_ros.segmentors.sam.image_crops import Crop, Size, point_grid
from ism_ros.segmentors.sam.promptable import CropPrompts, Prompts

Prompter = Callable[[Frame], CropPrompts]
"""Makes the prompts of each crop of a frame."""

GUIDE = "tiny"
"""Segmentor whose proposals guide: it needs no checkpoint, and takes a small part of an image encoder's time."""


def grid_prompts(points_per_side: int, crop_points_scale: int = 1) -> CropPrompts:
    """Prompt with a grid of points, as segment-anything does.

    Args:
        points_per_side: Points along each side of a crop.
        crop_points_scale: Factor by which the grid is coarser in each layer of crops.

    Returns:
        The prompts of any crop.
    """

    def in_crop(crop: Crop, image_size: Size) -> Prompts:
        per_side = max(1, points_per_side // crop_points_scale**crop.layer)
        return Prompts(point_grid(per_side, crop.size), torch.zeros((0, 4)))

    return in_crop


def requested_prompter(request: ModelRequest) -> Prompter | None:
    """Make the prompter of the settings of a request.

    Args:
        request: Its settings `prompts` and `points_per_side`, and its device.

    Returns:
        The prompter; None = the grid of the options of automatic masks.
    """
    return PROMPTERS[request.settings.get("prompts", "grid")](request)


def _grid_of_options(request: ModelRequest) -> None:
    return None


def _guided(request: ModelRequest) -> Prompter:
    guide = SEGMENTORS.get(GUIDE).load(ModelRequest(request.device, recoveries=request.recoveries))
    return GuidedPrompter(guide, **request.given(points_per_side="points_per_side"))


PROMPTERS: Mapping[PromptSource, Callable[[ModelRequest], Prompter | None]] = {
    "grid": _grid_of_options,
    "guided": _guided,
}
"""Prompters by the value of the setting `prompts`."""
