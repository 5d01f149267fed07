"""Onboarding with pictures of 48 pixels and a descriptor whose numbers can be checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from ism_ros.descriptors.base import Descriptors
from ism_ros.objects import onboarding
from ism_ros.objects.known_object import KnownObject
from ism_ros.objects.template_builder import build_templates

onboard = partial(onboarding.onboard, template_builder=partial(build_templates, size_px=48))
"""Pictures of 48 pixels: all the same to what is tested here, and fast."""


@dataclass
class MeanColor:
    """A descriptor so small that its numbers can be checked: the mean color, and that of each of four quarters."""

    fingerprint: str = "mean color 1"
    seen: list[int] = field(default_factory=list)
    name = "mean_color"
    crop_size = 32
    rotation_sensitive = True
    view_prior_weight = 0.0

    def describe(self, crops: Tensor, crop_masks: Tensor) -> Descriptors:
        assert crops.shape == (len(crops), 3, 32, 32)
        assert crop_masks.any(dim=(1, 2)).all()
        assert (crops * ~crop_masks[:, None] == 0).all()
        self.seen.append(len(crops))
        tokens = crops.sum(dim=(2, 3)) / crop_masks.sum(dim=(1, 2))[:, None]
        quarters = crops.unfold(2, 16, 16).unfold(3, 16, 16).mean(dim=(4, 5)).flatten(2).transpose(1, 2)
        normalize = torch.nn.functional.normalize
        return Descriptors(normalize(tokens, dim=1), normalize(quarters, dim=2))

    def describe_templates(self, crops: Tensor, crop_masks: Tensor) -> Descriptors:
        return self.describe(crops, crop_masks)


@dataclass
class Views:
    """Counts the views that are rendered."""

    told: list[int] = field(default_factory=list)

    def __call__(self, done: int, total: int) -> None:
        assert total == 42
        self.told.append(done)


def same(first: KnownObject, second: KnownObject) -> bool:
    names = ("class_tokens", "patch_tokens", "rotations", "points_m")
    return all(torch.equal(getattr(first, name), getattr(second, name)) for name in names)
