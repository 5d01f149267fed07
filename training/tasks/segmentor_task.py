"""The task of training the segmentor: its batches, loss and validation."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from ism_ros.segmentors.tiny.mask_proposals import find_masks
from ism_ros.segmentors.tiny.segmentor_network import MASK_STRIDE, TinyNetwork
from training.augmentations.scene_augmentations import SceneBatch, augment_scenes
from training.datasets.shard_store import ShardStore, is_validation
from training.tasks.batch_encoding import encode
from training.tasks.segmentor_loss import loss_of, make_targets

BATCH = 16
"""Images a batch on two cores."""
STEPS_AN_EPOCH = 100
"""Batches an epoch."""
VALIDATED = 100
"""Scenes that are validated on."""
NAMES = ("rgb", "depth_mm", "instance", "camera")
"""Arrays of a shard that are read."""


class SegmentorTask:
    """Task of the segmentor, see `training.trainer.Task`.

    Attributes:
        network: The network.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        """Read the data.

        Args:
            options: Options of training.train.
        """
        self._device = torch.device(options.device)
        self._train = ShardStore(options.data, NAMES, self._device, lambda shard: not is_validation(shard))
        self._validation = ShardStore(options.data, NAMES, self._device, is_validation)
        self._batch = options.batch or BATCH
        self.network: nn.Module = TinyNetwork()

    def batches(self, epoch: int) -> Iterator[SceneBatch]:
        """Sample the batches of one epoch of all data that exists by now.

        Args:
            epoch: Number of the epoch.

        Yields:
            Augmented batches on the device.
        """
        self._train.grow()
        for _ in range(STEPS_AN_EPOCH):
            yield augment_scenes(
                scenes_of(self._train, torch.randint(self._train.count, (self._batch,), device=self._device))
            )

    def loss(self, batch: SceneBatch) -> dict[str, Tensor]:
        """Compute the parts of the loss of one batch.

        Args:
            batch: The batch.

        Returns:
            Scalars by name, already weighted.
        """
        with torch.autocast(self._device.type, enabled=False):
            pixels = encode(batch.rgb, batch.depth_m, batch.intrinsics).contiguous(memory_format=torch.channels_last)
            targets = make_targets(batch.instance[:, ::MASK_STRIDE, ::MASK_STRIDE])
        return loss_of(self.network(pixels), targets)

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Measure the proposals on scenes that are not trained on.

        Args:
            network: The network.

        Returns:
            Recall of instances at IoU 0.5 and 0.75, mean best IoU, average precision at 0.5, mean number of proposals,
            and number of scenes trained on.
        """
        self._validation.grow()
        best, counts, scored = [], [], []
        for first in range(0, min(self._validation.count, VALIDATED), 10):
            rows = torch.arange(first, min(first + 10, self._validation.count), device=self._device)
            scenes = scenes_of(self._validation, rows)
            outputs = network(encode(scenes.rgb, scenes.depth_m, scenes.intrinsics))
            for index, instance in enumerate(scenes.instance[:, ::MASK_STRIDE, ::MASK_STRIDE]):
                found = find_masks(outputs, index)
                iou = ious(found.logits > 0, instance).cpu()
                best += iou.amax(dim=0).tolist() if len(found) else [0.0] * iou.shape[1]
                counts.append(len(found))
                scored.append((found.confidence.cpu(), iou))
        values = np.array(best)
        return {
            "recall50": float((values >= 0.5).mean()),
            "recall75": float((values >= 0.75).mean()),
            "mean_best_iou": float(values.mean()),
            "ap50": average_precision(scored, 0.5),
            "proposals": float(np.mean(counts)),
            "scenes": float(self._train.count),
        }


def scenes_of(store: ShardStore, rows: Tensor) -> SceneBatch:
    """Read scenes as they were made.

    Args:
        store: The shards.
        rows: (B,) their rows.

    Returns:
        The batch.
    """
    return SceneBatch(
        store["rgb"][rows].permute(0, 3, 1, 2).float(),
        store["depth_mm"][rows].float() / 1000,
        store["instance"][rows].long(),
        store["camera"][rows],
    )


def ious(masks: Tensor, instance: Tensor, min_pixels: int = 20) -> Tensor:
    """Compute the IoU of masks with instances.

    Args:
        masks: (N, h, w) bool.
        instance: (h, w) numbers of instances, 0 = surroundings.
        min_pixels: Least pixels of an instance that counts.

    Returns:
        (N, M) float32.
    """
    counts = torch.bincount(instance.flatten().long(), minlength=1)
    labels = torch.nonzero(counts >= min_pixels)[:, 0]
    truth = (instance[None] == labels[labels > 0][:, None, None]).flatten(1).float()
    own = masks.flatten(1).float()
    common = own @ truth.T
    return common / (own.sum(1)[:, None] + truth.sum(1)[None] - common).clamp(min=1)


def average_precision(scored: list[tuple[Tensor, Tensor]], threshold: float) -> float:
    """Compute the class-agnostic average precision, the area under precision over recall.

    Args:
        scored: Of each image the scores (N,) of its masks, best first, and their IoU (N, M) with the instances.
        threshold: Least IoU of a hit; each instance is hit once, by the best mask left.

    Returns:
        Average precision in [0, 1].
    """
    hits, scores, total = [], [], 0
    for confidence, iou in scored:
        total += iou.shape[1]
        free = torch.ones(iou.shape[1], dtype=torch.bool)
        for row in range(len(confidence)):
            value, column = (iou[row] * free).max(dim=0) if iou.shape[1] else (torch.tensor(0.0), torch.tensor(0))
            hit = bool(value >= threshold)
            if hit:
                free[column] = False
            hits.append(hit)
            scores.append(float(confidence[row]))
    order = np.argsort(-np.array(scores), kind="stable")
    right = np.cumsum(np.array(hits)[order]) if len(order) else np.zeros(0)
    precision = right / np.arange(1, len(right) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    recall = right / max(total, 1)
    return float(np.sum(precision * np.diff(recall, prepend=0)))
