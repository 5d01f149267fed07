"""What the segmentor `tiny` is trained for: the mask of an object from every cell near its middle, and its IoU."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ism_ros.segmentors.tiny_network import (
    CELL_STRIDE,
    MASK_STRIDE,
    REACH,
    NetworkOutputs,
    mask_inputs,
    mask_weights,
)

RATIO = CELL_STRIDE // MASK_STRIDE
LEAST_AREA = 8
"""Instances with fewer mask pixels are ignored."""
CELLS_AN_OBJECT = 5
MOST_CELLS = 40


@dataclass(frozen=True)
class SceneTargets:
    """Of one image. instance: (h, w) int64 at the masks' size, 0 = surroundings. centres: (2, h, w) float32, the middle
    of each pixel's object in units of REACH. border: (h, w) bool. cells: (P, 2) int64, rows and columns of cells that
    are to give a mask, and labels (P,) of which instance. ignored: (gh, gw) bool, cells that are not judged.
    """

    instance: Tensor
    centres: Tensor
    border: Tensor
    cells: Tensor
    labels: Tensor
    ignored: Tensor


def make_targets(instance: Tensor) -> SceneTargets:
    """Targets of an instance map (h, w) uint8 at the masks' size."""
    ids = instance.numpy()
    height, width = ids.shape
    rows, columns = np.mgrid[:height, :width]
    grid = ids[::RATIO, ::RATIO]
    ignored = np.zeros(grid.shape, bool)
    centres = np.zeros((2, height, width), np.float32)
    cells, labels = [], []
    for label in np.unique(ids[ids > 0]):
        mask = ids == label
        ys, xs = rows[mask], columns[mask]
        area = len(ys)
        middle = np.array((xs.mean(), ys.mean()))
        nearest = np.argmin((xs - middle[0]) ** 2 + (ys - middle[1]) ** 2)
        middle = 0.5 * middle + 0.5 * np.array((xs[nearest], ys[nearest]))
        centres[:, mask] = (middle / REACH)[:, None]
        own = np.argwhere(grid == label)
        if area < LEAST_AREA:
            ignored |= grid == label
            continue
        if not len(own):
            own = np.rint([[middle[1] / RATIO, middle[0] / RATIO]]).astype(int)
            own = np.minimum(own, np.array(grid.shape) - 1)
        distance = np.hypot(own[:, 1] * RATIO - middle[0], own[:, 0] * RATIO - middle[1])
        order = np.argsort(distance)
        reach = max(0.4 * area**0.5, 1.0)
        good = order[: max(1, min(CELLS_AN_OBJECT, int((distance < reach).sum())))]
        cells.append(own[good])
        labels += [label] * len(good)
        # between what is asked for and what is not: cells of the object a little further out
        near = own[distance < 1.8 * reach]
        ignored[near[:, 0], near[:, 1]] = True
    for own in cells:
        ignored[own[:, 0], own[:, 1]] = False
    all_cells = np.concatenate(cells) if cells else np.zeros((0, 2), int)
    labels = np.array(labels, np.int64)
    if len(all_cells) > MOST_CELLS:
        kept = np.sort(np.random.default_rng(len(all_cells)).choice(len(all_cells), MOST_CELLS, replace=False))
        dropped = np.setdiff1d(np.arange(len(all_cells)), kept)
        ignored[all_cells[dropped, 0], all_cells[dropped, 1]] = True
        all_cells, labels = all_cells[kept], labels[kept]
    return SceneTargets(
        torch.from_numpy(ids.astype(np.int64)),
        torch.from_numpy(centres),
        torch.from_numpy(_borders(ids)),
        torch.from_numpy(all_cells.astype(np.int64)),
        torch.from_numpy(labels),
        torch.from_numpy(ignored),
    )


def _borders(ids: np.ndarray) -> np.ndarray:
    """Pixels that touch another instance or the surroundings."""
    out = np.zeros(ids.shape, bool)
    for axis in (0, 1):
        differs = np.diff(ids.astype(np.int16), axis=axis) != 0
        first, second = [slice(None)] * 2, [slice(None)] * 2
        first[axis], second[axis] = slice(None, -1), slice(1, None)
        out[tuple(first)] |= differs
        out[tuple(second)] |= differs
    return out


def loss_of(outputs: NetworkOutputs, targets: list[SceneTargets]) -> dict[str, Tensor]:
    """Parts of the loss, each a scalar, already weighted.

    mask: Dice (Milletari et al., 2016) and cross-entropy. score: quality focal loss (Li et al., 2020): the IoU of the
    cell's mask as it is now, 0 elsewhere. centre, object, border: of single pixels; they teach the features early.
    """
    dice, entropy, score, found = [], [], [], 0
    device = outputs.features.device
    for index, target in enumerate(targets):
        cells, logit = target.cells.to(device), outputs.score[index]
        wanted = torch.zeros_like(logit)
        if len(cells):
            kernels = outputs.kernels[index][:, cells[:, 0], cells[:, 1]].T
            weights = mask_weights(kernels, cells.flip(1).float() * RATIO)
            logits = weights @ mask_inputs(outputs.features[index], outputs.centres[index])
            truth = (target.instance.flatten().to(device)[None] == target.labels.to(device)[:, None]).float()
            share = logits.sigmoid()
            dice.append(1 - (2 * (share * truth).sum(1) + 1) / ((share * share).sum(1) + truth.sum(1) + 1))
            area = truth.sum(1)
            each = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
            entropy.append(each.sum(1) / (2 * area + 100))
            with torch.no_grad():
                mask = logits > 0
                common = (mask * truth).sum(1)
                iou = common / (mask.sum(1) + area - common).clamp(min=1)
            wanted[cells[:, 0], cells[:, 1]] = iou
            found += len(cells)
        judged = ~target.ignored.to(device)
        focus = (wanted - logit.sigmoid()).abs().detach() ** 2
        score.append((focus * F.binary_cross_entropy_with_logits(logit, wanted, reduction="none"))[judged].sum())
    count = max(found, 1)
    instance = torch.stack([target.instance for target in targets]).to(device)
    centres = torch.stack([target.centres for target in targets]).to(device)
    inside = (instance > 0).float()
    border = torch.stack([target.border for target in targets]).to(device).float()
    away = F.smooth_l1_loss(outputs.centres, centres, reduction="none", beta=0.1).sum(dim=1)
    zero = outputs.features.sum() * 0
    return {
        "dice": 1.5 * torch.cat(dice).mean() if dice else zero,
        "entropy": 0.7 * torch.cat(entropy).mean() if entropy else zero,
        "score": 2.0 * torch.stack(score).sum() / count,
        "centre": 1.0 * (away * inside).sum() / inside.sum().clamp(min=1),
        "object": 0.5 * F.binary_cross_entropy_with_logits(outputs.dense[:, 0], inside),
        "border": 0.5
        * F.binary_cross_entropy_with_logits(outputs.dense[:, 1], border, pos_weight=border.new_tensor(3.0)),
    }
