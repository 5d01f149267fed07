"""What a descriptor is, and which there are: one class token and a grid of patch tokens for each masked crop.

Imports no PyTorch, which takes seconds: helps of commands list the names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeGuard

from ism_ros.runtime.model_request import ModelRequest
from ism_ros.runtime.out_of_memory import OutOfMemoryCounter
from ism_ros.runtime.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

TemplateNormalization = Literal["imagenet", "none"]
"""How neural descriptors normalise the colors of templates (descriptors/vit.py)."""


@dataclass(frozen=True)
class Descriptors:
    """Tokens of N crops.

    Attributes:
        class_tokens: (N, D) unit rows.
        patch_tokens: (N, P, C) unit rows in row-major patch order, all zero where the patch lies outside the mask.
        in_gray: Tokens of the same crops in gray, which objects without colors are compared with, where other objects
            have colors; None where that makes no difference.
    """

    class_tokens: Tensor
    patch_tokens: Tensor
    in_gray: Descriptors | None = None

    def __getitem__(self, index: Tensor) -> Descriptors:
        """Return the rows at `index`, a bool mask or integers."""
        in_gray = None if self.in_gray is None else self.in_gray[index]
        return Descriptors(self.class_tokens[index], self.patch_tokens[index], in_gray)

    def split(self, counts: Sequence[int]) -> list[Descriptors]:
        """Split the rows into parts.

        Args:
            counts: Rows of each part; they sum to N.

        Returns:
            The parts, in order.
        """
        parts = zip(self.class_tokens.split(list(counts)), self.patch_tokens.split(list(counts)), strict=True)
        return [Descriptors(class_tokens, patch_tokens) for class_tokens, patch_tokens in parts]

    def patches_of(self, rows: Tensor, in_gray: Tensor) -> tuple[Tensor, Tensor]:
        """Find the patch tokens of some crops, in color or in gray.

        Args:
            rows: (M,) int64, the crops.
            in_gray: (M,) bool, of which of them those in gray are meant, where there are any.

        Returns:
            Patch tokens (K, P, C), and which of them (M,) int64 are those of the crops.
        """
        import torch

        if self.in_gray is None:
            return self.patch_tokens, rows
        both = torch.cat([self.patch_tokens, self.in_gray.patch_tokens])
        return both, rows + len(self.patch_tokens) * in_gray


def concatenated(parts: Sequence[Descriptors]) -> Descriptors:
    """Join the rows of all `parts`, of which there is at least one."""
    import torch

    return Descriptors(
        torch.cat([part.class_tokens for part in parts]), torch.cat([part.patch_tokens for part in parts])
    )


class Descriptor(Protocol):
    """A network that describes masked square crops by tokens."""

    @property
    def name(self) -> str:
        """The name it is chosen by."""
        ...

    @property
    def is_small(self) -> bool:
        """Whether several frames, each on one thread of a CPU, take less time than one by one on all threads."""
        ...

    @property
    def fingerprint(self) -> str:
        """A text that changes whenever the numbers would: part of the key of descriptors cached on disk."""
        ...

    @property
    def crop_size(self) -> int:
        """Side of the square crops, pixels."""
        ...

    @property
    def rotation_sensitive(self) -> bool:
        """Whether tokens change when the camera rotates about its optical axis.

        Where they do not, the best template says nothing about the in-plane rotation, and it is taken from the masks
        instead (matching.scores.geometry).
        """
        ...

    @property
    def view_prior_weight(self) -> float:
        """Weight of the cosines of class tokens in the choice of a pose's view; 0 = none.

        In units of the IoU of silhouettes (pose.alignment).
        """
        ...

    def describe(self, crops: Tensor, crop_masks: Tensor) -> Descriptors:
        """Describe crops.

        Args:
            crops: (N, 3, S, S) float32 RGB in [0, 1], zero outside the mask; S = crop_size. N may be 0 or above 1,000.
            crop_masks: (N, S, S) bool, none of them empty.

        Returns:
            Descriptors on the descriptor's device.
        """
        ...

    def describe_templates(self, crops: Tensor, crop_masks: Tensor) -> Descriptors:
        """Describe crops of templates, which the reference normalises differently; otherwise as `describe`."""
        ...


class DepthDescriptor(Descriptor, Protocol):
    """A descriptor that looks at the depth in crops, too."""

    @property
    def sees_depth(self) -> bool:
        """True."""
        ...

    def describe(self, crops: Tensor, crop_masks: Tensor, depth_px: Tensor | None = None) -> Descriptors:
        """Describe crops.

        Args:
            crops: As of Descriptor.
            crop_masks: As of Descriptor.
            depth_px: (N, S, S) float32 relative depth in pixels of the crop, NaN without a reading, as of
                data.crops.relative_depth_px; None = no reading at all.

        Returns:
            Descriptors on the descriptor's device.
        """
        ...

    def describe_templates(self, crops: Tensor, crop_masks: Tensor, depth_px: Tensor | None = None) -> Descriptors:
        """Describe crops of templates; otherwise as `describe`."""
        ...


def sees_depth(descriptor: Descriptor) -> TypeGuard[DepthDescriptor]:
    """Say whether a descriptor looks at the depth in crops.

    Args:
        descriptor: It has an attribute `sees_depth`, or has not.

    Returns:
        The value of that attribute, or False.
    """
    return bool(getattr(descriptor, "sees_depth", False))


@dataclass(frozen=True)
class DescriptorSpec:
    """A descriptor that can be chosen, with the facts that others need to know before it is loaded.

    Attributes:
        load: Loads it; raises ValueError with one line where a checkpoint or package is missing.
        matcher: The matcher that suits it, where the setting `scoring` is auto.
        cpu_threads: Most threads of PyTorch that make it faster; None = as many as there are.
        requires: Python packages that it needs beyond the package's own.
    """

    load: Callable[[ModelRequest], Descriptor]
    matcher: str = "sam6d"
    cpu_threads: int | None = None
    requires: tuple[str, ...] = ()


DESCRIPTORS: Registry[DescriptorSpec] = Registry(
    "descriptor",
    DescriptorSpec,
    "ism_ros.descriptors",
    {
        "tiny": "ism_ros.descriptors.tiny.tiny_descriptor:TINY",
        "dinov2": "ism_ros.descriptors.dinov2:DINOV2",
        "dinov3": "ism_ros.descriptors.dinov3:DINOV3",
    },
)
"""Descriptors by name. A new one is one new file and one line here, or the entry point or `module:attr` of a
DescriptorSpec elsewhere."""


def create_descriptor(
    name: str,
    device: str = "cpu",
    model: str = "",
    checkpoints_dir: Path | None = None,
    template_normalization: TemplateNormalization = "imagenet",
    recoveries: OutOfMemoryCounter | None = None,
) -> Descriptor:
    """Load a descriptor.

    Args:
        name: One of DESCRIPTORS, or `module:attr` of a DescriptorSpec.
        device: PyTorch device.
        model: Size of a neural descriptor, or the path of its checkpoint; empty = its usual size.
        checkpoints_dir: Folder that is searched for checkpoints.
        template_normalization: How neural descriptors normalise the colors of templates.
        recoveries: Counts where memory ran out.

    Returns:
        The descriptor, on `device`.

    Raises:
        ValueError: The name is unknown (the message lists those there are), or a checkpoint is missing.
    """
    settings = {"template_normalization": template_normalization}
    request = ModelRequest(device, model, checkpoints_dir or Path(), settings, recoveries or OutOfMemoryCounter())
    return DESCRIPTORS.get(name).load(request)
