"""Crops of scenes and templates of objects, as the descriptor is trained on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ism_ros.data.crops import centred_depth_px
from ism_ros.descriptors.tiny.descriptor_network import CROP_PX
from ism_ros.rendering.views.viewpoints import VIEW_COUNT, camera_positions
from training.augmentations.template_colors import TemplateColors
from training.datasets.data_folder import template_file
from training.datasets.scene_arrays import DEPTH_STEPS, NO_READING
from training.datasets.shard_store import ShardStore

MIN_VISIBLE_SHARE = 0.3
"""Least visible share of an object whose crop is used."""
NAMES = ("crop_rgb", "crop_mask", "crop_depth", "crop_object", "crop_rotation", "crop_visible")
"""Arrays of a shard that are read."""

Crops = tuple[Tensor, Tensor, Tensor]
"""RGB (N, 3, S, S), masks (N, S, S) and depth (N, S, S)."""


class Templates:
    """Templates of many objects on a device.

    Attributes:
        views: (count, 42, 96, 96, 5) uint8, RGB, mask, and white paint in the same light.
        depth: (count, 42, 96, 96) int16, as of `scene_arrays.stored_depth`.
        likeness: (count, 42, 42) float32 in [0, 1], how similar two views look: round objects look the same from many
            sides.
    """

    def __init__(self, data: Path, count: int, device: torch.device) -> None:
        """Read the templates.

        Args:
            data: The folder of data.
            count: How many objects.
            device: Where they are kept.
        """
        self.views = torch.empty((count, VIEW_COUNT, CROP_PX, CROP_PX, 5), dtype=torch.uint8, device=device)
        self.depth = torch.empty((count, VIEW_COUNT, CROP_PX, CROP_PX), dtype=torch.int16, device=device)
        self.likeness = torch.empty((count, VIEW_COUNT, VIEW_COUNT), device=device)
        for number in range(count):
            with np.load(template_file(data, number)) as stored:
                views = torch.from_numpy(stored["views"]).to(device)
                self.depth[number] = torch.from_numpy(stored["depth"]).to(device)
            self.views[number] = views
            small = F.avg_pool2d(views[..., :4].permute(0, 3, 1, 2).float() / 255, CROP_PX // 24).flatten(1)
            self.likeness[number] = (-torch.cdist(small, small).square() / small.shape[1] / 0.004).exp()

    def of(self, objects: Tensor, views: Tensor, colors: TemplateColors, owner: Tensor) -> Crops:
        """Look up templates.

        Args:
            objects: (N,) numbers of objects.
            views: (N,) numbers of views.
            colors: Of the objects' CAD models.
            owner: (N,) which of them each is of.

        Returns:
            Crops (N, 3, S, S) uint8, masks (N, S, S) bool and depth (N, S, S).
        """
        pictures = self.views[objects, views].permute(0, 3, 1, 2)
        rgb = colors.of_templates(pictures[:, :3].float(), pictures[:, 4:].float(), owner)
        depth_px = centred_depth_px(depth_of_stored(self.depth[objects, views]), torch.ones(len(views)).to(rgb))
        return rgb.round().to(torch.uint8), pictures[:, 3] > 0, depth_px


class CropPool:
    """All crops of the data so far.

    Attributes:
        angle_deg: (N, 42) angle between the view of each crop and that of each template, degrees.
        of_object: Rows of the crops of each object.
    """

    def __init__(self, data: Path, device: torch.device) -> None:
        """Read the crops that exist.

        Args:
            data: The folder of data.
            device: Where they are kept.
        """
        self._store = ShardStore(data, NAMES, device, lambda _: True)
        self._views = torch.from_numpy(camera_positions()).float().to(device)
        self._sort()

    def grow(self) -> None:
        """Read the crops that were made since."""
        if self._store.grow():
            self._sort()

    def _sort(self) -> None:
        towards = -self._store["crop_rotation"][:, 2] @ self._views.T
        self.angle_deg = torch.rad2deg(towards.clamp(-1, 1).arccos())
        number, seen = (self._store[f"crop_{name}"].cpu().numpy() for name in ("object", "visible"))
        rows = np.flatnonzero(seen >= MIN_VISIBLE_SHARE)
        rows = rows[np.argsort(number[rows], kind="stable")]
        numbers, first = np.unique(number[rows], return_index=True)
        self.of_object = dict(zip(numbers.tolist(), np.split(rows, first[1:]), strict=True))

    def pictures(self, rows: Tensor) -> Crops:
        """Look up crops.

        Args:
            rows: (N,) rows.

        Returns:
            Crops (N, 3, 128, 128) float32 in [0, 255], masks (N, 128, 128) bool and depth (N, 128, 128) float32 in
            pixels, NaN without a reading.
        """
        rgb, depth_px = self._store["crop_rgb"][rows], depth_of_stored(self._store["crop_depth"][rows])
        return rgb.permute(0, 3, 1, 2).float(), self._store["crop_mask"][rows], depth_px


def depth_of_stored(stored: Tensor) -> Tensor:
    """Read depth as it is kept.

    Args:
        stored: int16, as of `scene_arrays.stored_depth`.

    Returns:
        float32 pixels, NaN without a reading.
    """
    return torch.where(stored == NO_READING, torch.nan, stored.float() / DEPTH_STEPS)
