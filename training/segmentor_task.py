"""The segmentor's data, loss and validation for training.train."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ism_ros.segmentors.tiny_masks import find_masks
from ism_ros.segmentors.tiny_network import TinyNetwork
from training.datasets import SceneDataset, find_shards, held_back
from training.segmentor import SceneTargets, loss_of, make_targets

Batch = tuple[Tensor, list[SceneTargets]]
BATCH = 16


class SegmentorTask:
    """See training.train.Task."""

    def __init__(self, options: argparse.Namespace) -> None:
        shards = find_shards(options.data)
        self._device = torch.device(options.device)
        self._train = SceneDataset([s for s in shards if not held_back(s)], augment=True, seed=options.seed)
        self._held_back = SceneDataset([s for s in shards if held_back(s)], augment=False)
        self._workers = options.workers
        self._batch = options.batch or BATCH
        self._seed = options.seed
        self.network: nn.Module = TinyNetwork()
        self.steps_an_epoch = len(self._train) // self._batch

    def batches(self, epoch: int) -> Iterator[Batch]:
        self._train.epoch = epoch
        order = torch.Generator().manual_seed(1000 * self._seed + epoch)
        yield from DataLoader(
            self._train,
            self._batch,
            shuffle=True,
            generator=order,
            num_workers=self._workers,
            collate_fn=collated,
            drop_last=True,
            prefetch_factor=3 if self._workers else None,
        )

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        images, targets = batch
        images = images.to(self._device).contiguous(memory_format=torch.channels_last)
        return loss_of(self.network(images), targets)

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Recall of instances at IoU 0.5 and 0.75 by at most 60 proposals, mean best IoU, average precision at 0.5."""
        best, counts, scored = [], [], []
        for first in range(0, len(self._held_back), 10):
            items = [self._held_back[k] for k in range(first, min(first + 10, len(self._held_back)))]
            outputs = network(torch.stack([image for image, _ in items]).to(self._device))
            for index, (_, instance) in enumerate(items):
                found = find_masks(outputs, index)
                iou = ious(found.logits.cpu() > 0, instance)
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
        }


def collated(items: list[tuple[Tensor, Tensor]]) -> Batch:
    """Images (B, 10, H, W) and the targets of each."""
    return torch.stack([image for image, _ in items]), [make_targets(instance) for _, instance in items]


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
