"""From the outputs of the network `tiny` to masks: the best cells, their masks, no near duplicates."""

from __future__ import annotations

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
    """Masks of one image, best first. logits: (N, h, w) float32, above 0 = inside. confidence: (N,) in [0, 1]."""

    logits: Tensor
    confidence: Tensor

    def __len__(self) -> int:
        return len(self.confidence)


def find_masks(
    outputs: NetworkOutputs,
    index: int = 0,
    *,
    least_score: float = 0.05,
    candidates: int = 120,
    most: int = 60,
    duplicate_iou: float = 0.75,
    least_pixels: int = 8,
) -> FoundMasks:
    """The masks of image `index` of a batch.

    Of at most `candidates` cells with a score above `least_score`, those that are not near duplicates (mask IoU above
    `duplicate_iou`) of a better one, at most `most`. Masks that overlap less stay: parts and wholes, if both may be.
    Confidence is the predicted IoU times the mean share of the mask's own pixels (as in SOLO, Wang et al., 2020).
    """
    score = outputs.score[index].sigmoid().flatten()
    width = outputs.score.shape[2]
    best = torch.topk(score, min(candidates, len(score)))
    cells = best.indices[best.values > least_score]
    shape = outputs.features.shape[2:]
    if not len(cells):
        return FoundMasks(score.new_zeros((0, *shape)), score.new_zeros(0))
    xy = torch.stack([cells % width, cells // width], dim=1).float() * (CELL_STRIDE // MASK_STRIDE)
    kernels = outputs.kernels[index].flatten(1)[:, cells].T
    weights = mask_weights(kernels, xy)
    pixels = mask_inputs(outputs.features[index], outputs.centres[index])
    # Every second row and column is enough to tell which masks are the same and how sure they are.
    coarse = pixels.view(-1, *shape)[:, ::2, ::2]
    logits = weights @ coarse.flatten(1)
    inside = logits > 0
    area = inside.sum(dim=1)
    sure = (logits.sigmoid() * inside).sum(dim=1) / area.clamp(min=1)
    confidence = (score[cells] * sure).clamp(0, 1) * (4 * area >= least_pixels)
    order = torch.argsort(confidence, descending=True)
    order = order[confidence[order] > least_score]
    kept = mask_nms(inside.view(-1, *coarse.shape[1:]), order, duplicate_iou)[:most]
    return FoundMasks((weights[kept] @ pixels).view(-1, *shape), confidence[kept])
