"""What a crop looks like: one class token and a grid of patch tokens. One file a descriptor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


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

    def describe(self, crops: Tensor, crop_masks: Tensor) -> Descriptors:
        """crops: (N, 3, S, S) float32 RGB in [0, 1], zero outside the mask; crop_masks: (N, S, S) bool; S = crop_size.

        Masks are not empty. Returns tensors on the descriptor's device. N may be 0 or above 1,000: chunk inside.
        """
        ...


def create_descriptor(name: str, device: str = "cpu") -> Descriptor:
    """The descriptor called `name`; ValueError lists the names there are."""
    if name == "classic":
        from ism_ros.descriptors.classic import ClassicDescriptor

        return ClassicDescriptor(device=device)
    raise ValueError(f"descriptor '{name}' is unknown; choose one of: {', '.join(DESCRIPTORS)}")


DESCRIPTORS = ("classic",)
