"""The task of training the descriptor: its batches and validation; the loss is in `descriptor_loss`.

Every batch holds some objects, each with crops out of scenes and some of its 42 templates. Half of the objects come as
pairs of one shape with two textures.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ism_ros.data.boxes import boxes_from_masks
from ism_ros.data.crops import centred_depth_px, crop_resize_pad, crop_scales
from ism_ros.descriptors.tiny.descriptor_network import (
    CROP_PX,
    TinyDescriptorNetwork,
    network_input,
    valid_patches,
)
from ism_ros.matching.scores.similarity import semantic_score
from ism_ros.rendering.views.viewpoints import VIEW_COUNT
from training.augmentations.crop_augmentations import augment_crops
from training.augmentations.template_colors import TemplateColors, sample_template_colors
from training.datasets.data_folder import read_description
from training.datasets.descriptor_data import CropPool, Crops, Templates
from training.tasks.descriptor_loss import loss_of

OBJECTS, CROPS, TEMPLATES = 24, 4, 12
"""Objects a batch on two cores, and crops and templates of each."""
VALIDATION_OBJECTS = 60
"""Number of the last objects, which are not trained on."""
NEAR_DEG = 35.0
"""Largest angle between views that validation counts as right, degrees."""
SAME_DEG = 22.0
"""Angle between views at which their likeness has fallen to 1/e, degrees."""
MIN_PATCH_SHARE = 0.3
"""Least share of a patch inside the mask for it to count."""
DEPTH_OFFSET_PX = 2000.0
"""Constant that is added to relative depth, pixels."""
STEPS_AN_EPOCH = 100
"""Batches an epoch."""


@dataclass(frozen=True)
class Batch:
    """One batch of B crops, Q of them from scenes, then T templates.

    Attributes:
        crops: (B, 3, S, S) uint8 RGB.
        masks: (B, S, S) bool.
        depth_px: (B, S, S) float32 relative depth in pixels of the crop, NaN without a reading.
        owner: (B,) int64, index of the object of each.
        weight: (Q, T) how well a template shows what a crop shows, 1 = the same view, 0 = another view or object.
    """

    crops: Tensor
    masks: Tensor
    depth_px: Tensor
    owner: Tensor
    weight: Tensor


class DescriptorTask:
    """Task of the descriptor, see `training.trainer.Task`.

    Attributes:
        network: The network.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        """Read the data.

        Args:
            options: Options of training.train.
        """
        count = int(read_description(options.data)["objects"])
        self._device = torch.device(options.device)
        self._pool = CropPool(options.data, self._device)
        self._templates = Templates(options.data, count, self._device)
        self._seen, self._unseen = range(count - VALIDATION_OBJECTS), range(count - VALIDATION_OBJECTS, count)
        self._size = options.batch or OBJECTS
        self._seed = options.seed
        self.network: nn.Module = TinyDescriptorNetwork()

    def batches(self, epoch: int) -> Iterator[Batch]:
        """Sample the batches of one epoch of all data that exists by now.

        Args:
            epoch: Number of the epoch.

        Yields:
            Augmented batches on the device.
        """
        self._pool.grow()
        rng = np.random.default_rng([33, self._seed, epoch])
        known = [number for number in self._seen if number in self._pool.of_object]
        for _ in range(STEPS_AN_EPOCH):
            yield self._batch(rng, known)

    def _batch(self, rng: np.random.Generator, known: list[int]) -> Batch:
        objects = sample_objects(rng, known, self._size)
        chosen = np.concatenate([rng.choice(self._pool.of_object[number], CROPS) for number in objects])
        rows = torch.from_numpy(chosen).to(self._device)
        numbers = torch.tensor(objects, device=self._device)
        label = torch.arange(len(objects), device=self._device)
        angle = self._pool.angle_deg[rows].view(len(objects), CROPS, VIEW_COUNT)
        # the views nearest to the crops, and others at random
        nearest = F.one_hot(angle.argmin(dim=2), VIEW_COUNT).sum(dim=1) > 0
        views = (torch.rand(nearest.shape, device=self._device) + nearest).topk(TEMPLATES, dim=1).indices
        alike = self._templates.likeness[numbers[:, None, None], angle.argmin(dim=2)[..., None], views[:, None]]
        near = (-(angle.gather(2, views[:, None].expand(-1, CROPS, -1)) / SAME_DEG).square()).exp()
        weight = torch.zeros((len(objects), CROPS, len(objects), TEMPLATES), device=self._device)
        weight[label, :, label] = torch.maximum(near, alike)

        colors = sample_template_colors(len(objects), self._device)
        owner, shown = label.repeat_interleave(CROPS), label.repeat_interleave(TEMPLATES)
        crops = self._seen_crops(rows, colors, owner)
        templates = self._templates.of(numbers[shown], views.flatten(), colors, shown)
        return Batch(
            *(torch.cat(both) for both in zip(crops, templates, strict=True)),
            torch.cat([owner, shown]),
            weight.view(len(objects) * CROPS, len(objects) * TEMPLATES),
        )

    def _seen_crops(self, rows: Tensor, colors: TemplateColors, owner: Tensor) -> Crops:
        rgb, masks, depth_px = augment_crops(*self._pool.pictures(rows))
        return crop_like_runtime(colors.of_crops(rgb, owner), masks, depth_px)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Compute the parts of the loss of one batch.

        Args:
            batch: The batch.

        Returns:
            Scalars by name, already weighted.
        """
        with torch.autocast(self._device.type, enabled=False):
            pixels = network_input(batch.crops.float() / 255, batch.masks, batch.depth_px)
            valid = valid_patches(pixels, MIN_PATCH_SHARE)
        tokens, patches = self.network(pixels.contiguous(memory_format=torch.channels_last))
        with torch.autocast(self._device.type, enabled=False):
            return loss_of(tokens, patches * valid[:, :, None], valid, batch.owner, batch.weight)

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Measure the tokens on objects that are not trained on.

        Args:
            network: The network.

        Returns:
            Share of crops whose object is found among all 60 and among five random ones, share of those whose best
            template is within 35 degrees of the truth or looks the same, and the median of that angle in degrees; then
            the share among all 60 and that of near views where no CAD model has colors.
        """
        count = len(self._unseen)
        as_rendered = TemplateColors.unchanged(count, self._device)
        plain = TemplateColors.plain(count, self._device)
        found = self._validate_colors(network, plain)
        in_gray = {"top1_of_60_plain": found["top1_of_60"], "view35_plain": found["view35"]}
        return {**self._validate_colors(network, as_rendered), **in_gray}

    def _validate_colors(self, network: nn.Module, colors: TemplateColors) -> dict[str, float]:
        rng = np.random.default_rng(35)
        every_view = torch.arange(VIEW_COUNT, device=self._device)
        tokens = torch.stack(
            [
                self._describe(
                    network,
                    self._templates.of(
                        torch.full_like(every_view, number), every_view, colors, torch.full_like(every_view, label)
                    ),
                )
                for label, number in enumerate(self._unseen)
            ]
        )
        right, of_five, near, angles = [], [], [], []
        for label, number in enumerate(self._unseen):
            rows = torch.from_numpy(self._pool.of_object.get(number, np.zeros(0, np.int64))[:10]).to(self._device)
            if not len(rows):
                continue
            query = self._describe(network, self._seen_crops(rows, colors, torch.full_like(rows, label)))
            pairwise = torch.einsum("nd,otd->not", query, tokens).clamp(0, 1)
            right += (semantic_score(pairwise)[1] == label).tolist()
            five = [label, *rng.choice(np.delete(np.arange(len(self._unseen)), label), 4, replace=False).tolist()]
            of_five += (semantic_score(pairwise[:, five])[1] == 0).tolist()
            view = pairwise[:, label].argmax(dim=1)
            angle = self._pool.angle_deg[rows]
            alike = self._templates.likeness[number, angle.argmin(dim=1), view]
            off = angle.gather(1, view[:, None])[:, 0]
            near += ((off <= NEAR_DEG) | (alike > 0.5)).tolist()
            angles += off.tolist()
        return {
            "top1_of_60": float(np.mean(right)),
            "top1_of_5": float(np.mean(of_five)),
            "view35": float(np.mean(near)),
            "median_angle": float(np.median(angles)),
        }

    def _describe(self, network: nn.Module, crops: Crops) -> Tensor:
        """Class tokens (N, D) of crops."""
        rgb, masks, depth_px = crops
        return network(network_input(rgb.float() / 255, masks, depth_px))[0]


def sample_objects(rng: np.random.Generator, known: list[int], size: int) -> list[int]:
    """Sample the objects of a batch, half of them pairs of one shape with two textures.

    Args:
        rng: Source of randomness.
        known: Numbers of the objects that have crops.
        size: How many objects.

    Returns:
        Their numbers.
    """
    there = set(known)
    out: list[int] = []
    while len(out) < size:
        number = known[rng.integers(len(known))]
        pair = [number]
        if len(out) < size // 2:
            twin = number + 1 if number % 4 == 2 else number - 1 if number % 4 == 3 else None
            if twin is None or twin not in there:
                continue
            pair.append(twin)
        out += [n for n in pair if n not in out]
    return out[:size]


def crop_like_runtime(rgb: Tensor, mask: Tensor, depth_px: Tensor) -> Crops:
    """Crop as the runtime crops proposals.

    Args:
        rgb: (N, 3, S, S) in [0, 255].
        mask: (N, S, S) bool.
        depth_px: (N, S, S) depth in pixels, NaN without a reading.

    Returns:
        Masked crops (N, 3, 96, 96) uint8, their masks (N, 96, 96) bool and depth (N, 96, 96).
    """
    boxes_xyxy = boxes_from_masks(mask)
    # crops are 0 outside of masks, which for depth means no reading
    depth = (depth_px + DEPTH_OFFSET_PX).clamp(min=1.0).nan_to_num(0.0)
    crops, masks = crop_resize_pad(torch.cat([rgb.round(), depth[:, None]], dim=1), mask, boxes_xyxy, CROP_PX)
    readings = torch.where(crops[:, 3] > 0, crops[:, 3], torch.nan)
    return crops[:, :3].to(torch.uint8), masks, centred_depth_px(readings, crop_scales(boxes_xyxy, CROP_PX))
