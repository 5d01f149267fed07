"""What a crop looks like: one class token and a grid of patch tokens. One file a descriptor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import torch
from torch import Tensor

from ism_ros.checkpoints.catalog import find_checkpoint
from ism_ros.runtime.out_of_memory import OutOfMemoryCounter

TemplateNormalization = Literal["imagenet", "none"]
"""How neural descriptors see the colours of templates: see descriptors/vit.py."""


@dataclass(frozen=True)
class Descriptors:
    """What N crops look like.

    class_tokens: (N, D) unit rows. patch_tokens: (N, P, C) unit rows in row-major patch order, all zero where the
    patch lies outside the mask.
    """

    class_tokens: Tensor
    patch_tokens: Tensor

    def __getitem__(self, index: Tensor) -> Descriptors:
        return Descriptors(self.class_tokens[index], self.patch_tokens[index])


def concatenated(parts: Sequence[Descriptors]) -> Descriptors:
    """The rows of all `parts`, of which there is at least one."""
    return Descriptors(
        torch.cat([part.class_tokens for part in parts]), torch.cat([part.patch_tokens for part in parts])
    )


class Descriptor(Protocol):
    """Describes masked square crops."""

    @property
    def name(self) -> str: ...

    @property
    def fingerprint(self) -> str:
        """Changes whenever the numbers would: part of the key of descriptors cached on disk."""
        ...

    @property
    def crop_size(self) -> int:
        """Side of the square crops in pixels."""
        ...

    @property
    def turns_with_camera(self) -> bool:
        """Whether tokens change when the camera turns about its optical axis.

        Where they do not, the best template says nothing about that turn, and it is taken from the masks instead.
        """
        ...

    @property
    def view_weight(self) -> float:
        """How much the cosines of class tokens with the templates say in the choice of a pose's view; 0 = nothing.

        In units of the share of the outline that fits (pose.coarse_pose).
        """
        ...

    def describe(self, crops: Tensor, crop_masks: Tensor) -> Descriptors:
        """crops: (N, 3, S, S) float32 RGB in [0, 1], zero outside the mask; crop_masks: (N, S, S) bool; S = crop_size.

        Masks are not empty. Returns tensors on the descriptor's device. N may be 0 or above 1,000: chunk inside.
        """
        ...

    def describe_templates(self, crops: Tensor, crop_masks: Tensor) -> Descriptors:
        """The same for crops of templates, where the reference prepares them differently."""
        ...


def create_descriptor(
    name: str,
    device: str = "cpu",
    model: str = "",
    checkpoints_dir: Path | None = None,
    template_normalization: TemplateNormalization = "imagenet",
    recoveries: OutOfMemoryCounter | None = None,
) -> Descriptor:
    """The descriptor called `name`; ValueError lists the names there are, or says which checkpoint is missing.

    model: size of a neural descriptor, or the path of its checkpoint; empty = its usual size. checkpoints_dir: where
    checkpoints are looked for. recoveries: counts where memory ran out.
    """
    if name == "classic":
        from ism_ros.descriptors.classic import ClassicDescriptor

        return ClassicDescriptor(device=device)
    if name == "tiny":
        from ism_ros.descriptors.tiny.tiny_descriptor import TinyDescriptor

        return TinyDescriptor(device, Path(model) if model else None, recoveries)
    if name == "dinov2":
        from ism_ros.descriptors.dinov2 import dinov2_descriptor

        path = find_checkpoint(checkpoints_dir or Path(), name, model or "vitl14")
        return dinov2_descriptor(path, device, template_normalization, recoveries=recoveries)
    if name == "dinov3":
        from ism_ros.descriptors.dinov3 import dinov3_descriptor

        path = find_checkpoint(checkpoints_dir or Path(), name, model or "vitl16")
        return dinov3_descriptor(path, device, template_normalization, recoveries=recoveries)
    raise ValueError(f"descriptor '{name}' is unknown; choose one of: {', '.join(DESCRIPTORS)}")


DESCRIPTORS = ("classic", "tiny", "dinov2", "dinov3")
SMALL_DESCRIPTORS = {"classic", "tiny"}
"""As SMALL_SEGMENTORS (segmentors/__init__.py)."""
