"""Decoding of the outputs of the network `tiny`: the masks of the best cells, without near duplicates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ism_ros.data.nms import mask_nms
from ism_ros.segmentors.tiny.segmentor_network import (
    CELL_STRIDE,
    MASK_STRIDE,
    NetworkOutputs,
    mask_inputs,
    mask_weights,
)


@dataclass(frozen=True)
class FoundMasks:
    """Masks of one image, best first.

    Attributes:
        logits: (N, h, w) float32, above 0 = inside.
        confidence: (N,) float32 in [0, 1].
    """

    logits: Tensor
    confidence: Tensor

    def __len__(self) -> int:
        """Return N, how many there are."""
        return len(self.confidence)


def find_masks(
    outputs: NetworkOutputs,
    index: int = 0,
    *,
    min_score: float = 0.05,
    max_candidates: int = 120,
    max_masks: int = 60,
    duplicate_iou: float = 0.75,
    min_pixels: int = 8,
) -> FoundMasks:
    """Decode the masks of one image of a batch.

    Confidence is the predicted IoU times the mean probability of the mask's own pixels (as in SOLO, Wang et al., 2020).
    Masks that overlap less than near duplicates do are kept: an object and a part of it may both be proposals.

    Args:
        outputs: Of the batch.
        index: Of the image in the batch.
        min_score: Predicted IoU and confidence above which masks are kept.
        max_candidates: Most cells whose masks are computed, those with the largest predicted IoU.
        max_masks: Most masks.
        duplicate_iou: Of two masks whose IoU is above it, the less confident is dropped.
        min_pixels: Least area of a mask, mask pixels.

    Returns:
        The masks, best first.
    """
    score = outputs.score[index].sigmoid().flatten()
    width = outputs.score.shape[2]
    best = torch.topk(score, min(max_candidates, len(score)))
    cells = best.indices[best.values > min_score]
    shape = outputs.features.shape[2:]
    if not len(cells):
        return FoundMasks(score.new_zeros((0, *shape)), score.new_zeros(0))
    xy = torch.stack([cells % width, cells // width], dim=1).float() * (CELL_STRIDE // MASK_STRIDE)
    kernels = outputs.kernels[index].flatten(1)[:, cells].T
    weights = mask_weights(kernels, xy)
    pixels = mask_inputs(outputs.features[index], outputs.centres[index])
    # Every second row and column is enough for duplicates and confidence.
    coarse = pixels.view(-1, *shape)[:, ::2, ::2]
    logits = weights @ coarse.flatten(1)
    inside = logits > 0
    area = inside.sum(dim=1)
    sure = (logits.sigmoid() * inside).sum(dim=1) / area.clamp(min=1)
    confidence = (score[cells] * sure).clamp(0, 1) * (4 * area >= min_pixels)
    order = torch.argsort(confidence, descending=True)
    order = order[confidence[order] > min_score]
    kept = mask_nms(inside.view(-1, *coarse.shape[1:]), order, duplicate_iou)[:max_masks]
    return FoundMasks((weights[kept] @ pixels).view(-1, *shape), confidence[kept])


def joined_masks(found: Sequence[FoundMasks], max_masks: int, duplicate_iou: float) -> FoundMasks:
    """Join what was found in several images of one frame, without near duplicates.

    Args:
        found: Of each image, masks of one size.
        max_masks: Most masks.
        duplicate_iou: Of two masks whose IoU is above it, the less confident is dropped.

    Returns:
        The masks, best first.
    """
    logits = torch.cat([one.logits for one in found])
    confidence = torch.cat([one.confidence for one in found])
    if not len(confidence):
        return found[0]
    order = torch.argsort(confidence, descending=True, stable=True)
    kept = mask_nms(logits[:, ::2, ::2] > 0, order, duplicate_iou)[:max_masks]
    return FoundMasks(logits[kept], confidence[kept])
