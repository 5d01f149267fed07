"""Poses of known objects under masks, and the samples that they are refined by.

H poses, S samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Batch = TypeVar("Batch", bound="DataclassInstance")


@dataclass(frozen=True)
class PoseBatch:
    """H poses of known objects under masks.

    Attributes:
        rotation: (H, 3, 3) object-to-camera.
        centre_m: (H, 3) position of the model's centre in the camera frame, metres.
        mask_index: (H,) int64.
        object_index: (H,) int64.
        view: (H,) int64, the view that each started from.
        cost: (H,) alignment cost of that view.
    """

    rotation: Tensor
    centre_m: Tensor
    mask_index: Tensor
    object_index: Tensor
    view: Tensor
    cost: Tensor

    def __len__(self) -> int:
        """Count the poses, H."""
        return len(self.cost)

    def moved(self, rotation: Tensor, centre_m: Tensor) -> PoseBatch:
        """Return the same poses at other places.

        Args:
            rotation: (H, 3, 3) object-to-camera.
            centre_m: (H, 3) of the model's centre in the camera frame, metres.

        Returns:
            The moved poses.
        """
        return replace(self, rotation=rotation, centre_m=centre_m)

    def __getitem__(self, rows: Tensor) -> PoseBatch:
        """Return the poses at `rows`, (K,) int64 or (H,) bool."""
        return PoseBatch(
            self.rotation[rows],
            self.centre_m[rows],
            self.mask_index[rows],
            self.object_index[rows],
            self.view[rows],
            self.cost[rows],
        )


@dataclass(frozen=True)
class RefinementSamples:
    """The samples that H poses are refined by.

    Attributes:
        points_m: (H, 3, S) relative to the model's centre, object axes, metres.
        normals: (H, 3, S) outwards.
        is_rim: (H, S) bool.
        radius_m: (H,) radius of the object, metres.
    """

    points_m: Tensor
    normals: Tensor
    is_rim: Tensor
    radius_m: Tensor


def joined(batches: Sequence[Batch]) -> Batch:
    """Join batches of poses, or of what belongs to them, one after the other.

    Args:
        batches: One at least, dataclasses whose fields are all tensors with a row for each pose.

    Returns:
        One batch.
    """
    names = [field.name for field in fields(batches[0])]
    return type(batches[0])(*(torch.cat([getattr(batch, name) for batch in batches]) for name in names))
