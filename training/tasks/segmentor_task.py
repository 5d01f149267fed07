"""The segmentor's data, loss and validation for training.train."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from ism_ros.segmentors.tiny.mask_proposals import find_masks
from ism_ros.segmentors.tiny.segmentor_network import MASK_STRIDE, TinyNetwork
from training.augmentations.scene_augmentations import Scenes, changed
from training.datasets.shard_store import ShardStore, held_back
from training.tasks.batch_encoding import encode
from training.tasks.segmentor_loss import loss_of, make_targets

BATCH = 16
STEPS_AN_EPOCH = 100
VALIDATED = 100
"""Scenes."""
NAMES = ("rgb", "depth_mm", "instance", "camera")


class SegmentorTask:
    """See training.train.Task."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._device = torch.device(options.device)
        self._train = ShardStore(options.data, NAMES, self._device, lambda shard: not held_back(shard))
        self._held_back = ShardStore(options.data, NAMES, self._device, held_back)
        self._batch = options.batch or BATCH
        self.network: nn.Module = TinyNetwork()

    def batches(self, epoch: int) -> Iterator[Scenes]:
        """Of all that is there by now."""
        self._train.grow()
        for _ in range(STEPS_AN_EPOCH):
            yield changed(scenes_of(self._train, torch.randint(self._train.count, (self._batch,), device=self._device)))

    def loss(self, batch: Scenes) -> dict[str, Tensor]:
        with torch.autocast(self._device.type, enabled=False):
            pixels = encode(batch.rgb, batch.depth_m, batch.lens).contiguous(memory_format=torch.channels_last)
            targets = make_targets(batch.instance[:, ::MASK_STRIDE, ::MASK_STRIDE])
        return loss_of(self.network(pixels), targets)

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Recall of instances at IoU 0.5 and 0.75 by at most 60 proposals, mean best IoU, average precision at 0.5."""
        self._held_back.grow()
        best, counts, scored = [], [], []
        for first in range(0, min(self._held_back.count, VALIDATED), 10):
            rows = torch.arange(first, min(first + 10, self._held_back.count), device=self._device)
            scenes = scenes_of(self._held_back, rows)
            outputs = network(encode(scenes.rgb, scenes.depth_m, scenes.lens))
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


def scenes_of(store: ShardStore, rows: Tensor) -> Scenes:
    """Those scenes of a store, as they were made."""
    return Scenes(
        store["rgb"][rows].permute(0, 3, 1, 2).float(),
        store["depth_mm"][rows].float() / 1000,
        store["instance"][rows].long(),
        store["camera"][rows],
    )


def ious(masks: Tensor, instance: Tensor, least_pixels: int = 20) -> Tensor:
    """IoU of masks (N, h, w) bool with the instances of at least so many pixels of a map (h, w): (N, M)."""
    counts = torch.bincount(instance.flatten().long(), minlength=1)
    labels = torch.nonzero(counts >= least_pixels)[:, 0]
    truth = (instance[None] == labels[labels > 0][:, None, None]).flatten(1).float()
    own = masks.flatten(1).float()
    common = own @ truth.T
    return common / (own.sum(1)[:, None] + truth.sum(1)[None] - common).clamp(min=1)


def average_precision(scored: list[tuple[Tensor, Tensor]], threshold: float) -> float:
    """Area under precision over recall, class-agnostic; every instance is found once, by the best mask left."""
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
