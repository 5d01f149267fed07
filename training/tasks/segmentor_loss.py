"""Targets and loss of the segmentor: the mask of an object from every cell near its centre, and the IoU of that mask.

Whole batches at once, on any device.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ism_ros.segmentors.tiny.segmentor_network import (
    CELL_STRIDE,
    CENTRE_UNIT_PX,
    MASK_STRIDE,
    NetworkOutputs,
    mask_inputs,
    mask_weights,
)

RATIO = CELL_STRIDE // MASK_STRIDE
"""Mask pixels along the side of a cell."""
MIN_AREA = 8
"""Instances with fewer mask pixels are ignored."""
CELLS_AN_OBJECT = 5
"""Most cells of one object."""
MAX_CELLS = 48
"""Most cells of one image; of more, a random subset is taken."""


@dataclass(frozen=True)
class Targets:
    """Targets of B images with masks of h x w pixels and grids of gh x gw cells.

    Attributes:
        instance: (B, h, w) int64, number of the instance, 0 = surroundings.
        centres: (B, 2, h, w) float32, centre of each pixel's object in units of CENTRE_UNIT_PX.
        border: (B, h, w) bool, pixels that touch another instance or the surroundings.
        cell: (B, K) int64, numbers of the cells that must give a mask.
        labels: (B, K) int64, of which instance.
        is_positive: (B, K) bool, False where an image has fewer than K such cells.
        ignored: (B, gh, gw) bool, cells whose score has no loss.
    """

    instance: Tensor
    centres: Tensor
    border: Tensor
    cell: Tensor
    labels: Tensor
    is_positive: Tensor
    ignored: Tensor


def make_targets(instance: Tensor) -> Targets:
    """Compute the targets of instance maps; which cells of many are taken is random.

    Args:
        instance: (B, h, w) int64 at the size of the masks, 0 = surroundings.

    Returns:
        The targets.
    """
    count, height, width = instance.shape
    device = instance.device
    most = max(1, int(instance.max()))
    labels = torch.arange(1, most + 1, device=device)
    x = torch.arange(width, device=device, dtype=torch.float32)
    y = torch.arange(height, device=device, dtype=torch.float32)

    masks = instance[:, None] == labels[None, :, None, None]
    columns, rows = masks.sum(dim=2).float(), masks.sum(dim=3).float()
    area = columns.sum(dim=2)
    middle = torch.stack([columns @ x, rows @ y], dim=-1) / area.clamp(min=1)[..., None]
    away = (x - middle[..., 0, None]).square()[:, :, None, :] + (y - middle[..., 1, None]).square()[..., None]
    nearest = away.masked_fill(~masks, torch.inf).flatten(2).argmin(dim=2)
    middle = 0.5 * middle + 0.5 * torch.stack([nearest % width, nearest // width], dim=-1)
    everywhere = torch.cat([middle.new_zeros(count, 1, 2), middle / CENTRE_UNIT_PX], dim=1)
    centres = everywhere.gather(1, instance.flatten(1)[..., None].expand(-1, -1, 2)).transpose(1, 2)

    grid = instance[:, ::RATIO, ::RATIO]
    grid_height, grid_width = grid.shape[1:]
    own = grid.flatten(1)[:, None] == labels[None, :, None]
    cell_x = (torch.arange(grid_width, device=device) * RATIO).float().repeat(grid_height)
    cell_y = (torch.arange(grid_height, device=device) * RATIO).float().repeat_interleave(grid_width)
    # objects between the cells have the one that is nearest
    closest = (middle / RATIO).round().long()
    closest = closest[..., 1].clamp(max=grid_height - 1) * grid_width + closest[..., 0].clamp(max=grid_width - 1)
    without_cell = (area >= MIN_AREA) & ~own.any(dim=2)
    own = own | (F.one_hot(closest, grid_height * grid_width).bool() & without_cell[..., None])
    distance = torch.hypot(cell_x - middle[..., 0, None], cell_y - middle[..., 1, None]).masked_fill(~own, torch.inf)
    reach = (0.4 * area.sqrt()).clamp(min=1.0)[..., None]
    cell_count = (distance < reach).sum(dim=2).clamp(1, CELLS_AN_OBJECT)
    near = distance.topk(CELLS_AN_OBJECT, dim=2, largest=False)
    good = (torch.arange(CELLS_AN_OBJECT, device=device) < cell_count[..., None]) & near.values.isfinite()
    good &= (area >= MIN_AREA)[..., None]

    # a random subset of them, the good ones first
    order = torch.where(good, torch.rand(good.shape, device=device), 2.0).flatten(1).argsort(dim=1)
    kept = order[:, : min(MAX_CELLS, max(1, int(good.flatten(1).sum(dim=1).max())))]
    cell = near.indices.flatten(1).gather(1, kept)
    is_positive = good.flatten(1).gather(1, kept)
    # neither positive nor negative: cells a little further out on the object, and those of objects that are too small
    small = ((area > 0) & (area < MIN_AREA))[..., None]
    ignored = ((distance < 1.8 * reach) | (own & small)).any(dim=1)
    ignored = ignored.scatter(1, cell, ignored.gather(1, cell) & ~is_positive)
    return Targets(
        instance,
        centres.reshape(count, 2, height, width),
        _borders(instance),
        cell,
        kept // CELLS_AN_OBJECT + 1,
        is_positive,
        ignored.view(count, grid_height, grid_width),
    )


def _borders(instance: Tensor) -> Tensor:
    """Pixels that touch another instance or the surroundings."""
    out = torch.zeros_like(instance, dtype=torch.bool)
    for axis in (1, 2):
        differs = instance.diff(dim=axis) != 0
        length = differs.shape[axis]
        out.narrow(axis, 0, length).logical_or_(differs)
        out.narrow(axis, 1, length).logical_or_(differs)
    return out


def loss_of(outputs: NetworkOutputs, targets: Targets) -> dict[str, Tensor]:
    """Compute the parts of the loss, in float32: bfloat16 resolves positions to several pixels only.

    mask: Dice (Milletari et al., 2016) and cross-entropy. score: quality focal loss (Li et al., 2020), its target the
    IoU of the cell's current mask, 0 elsewhere. centre, object, border: of single pixels, to train the features early.

    Args:
        outputs: Outputs of the network.
        targets: The targets.

    Returns:
        Scalars by name, already weighted.
    """
    with torch.autocast(outputs.features.device.type, enabled=False):
        return _loss_of(outputs, targets)


def _loss_of(outputs: NetworkOutputs, targets: Targets) -> dict[str, Tensor]:
    grid_width = outputs.score.shape[2]
    cell, is_positive = targets.cell, targets.is_positive
    found = is_positive.sum().clamp(min=1)
    kernels = outputs.kernels.flatten(2)
    kernels = kernels.gather(2, cell[:, None].expand(-1, kernels.shape[1], -1)).transpose(1, 2)
    cell_xy = torch.stack([cell % grid_width, cell // grid_width], dim=-1).float() * RATIO
    weights = mask_weights(kernels.flatten(0, 1), cell_xy.flatten(0, 1)).view(*cell.shape, -1)
    logits = weights @ mask_inputs(outputs.features, outputs.centres)
    truth = (targets.instance.flatten(1)[:, None] == targets.labels[..., None]).float()
    area = truth.sum(2)
    share = logits.sigmoid()
    dice = 1 - (2 * (share * truth).sum(2) + 1) / (share.square().sum(2) + area + 1)
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none").sum(2) / (2 * area + 100)
    with torch.no_grad():
        mask = logits > 0
        common = (mask * truth).sum(2)
        iou = common / (mask.sum(2) + area - common).clamp(min=1)
        # a cell of two objects is trained for the better one
        target_score = torch.zeros_like(outputs.score).flatten(1).scatter_reduce(1, cell, iou * is_positive, "amax")
        target_score = target_score.view_as(outputs.score)
    focus = (target_score - outputs.score.sigmoid()).abs().detach().square()
    score = focus * F.binary_cross_entropy_with_logits(outputs.score, target_score, reduction="none") * ~targets.ignored
    inside = (targets.instance > 0).float()
    away = F.smooth_l1_loss(outputs.centres, targets.centres, reduction="none", beta=0.1).sum(dim=1)
    return {
        "dice": 1.5 * (dice * is_positive).sum() / found,
        "entropy": 0.7 * (entropy * is_positive).sum() / found,
        "score": 2.0 * score.sum() / found,
        "centre": 1.0 * (away * inside).sum() / inside.sum().clamp(min=1),
        "object": 0.5 * F.binary_cross_entropy_with_logits(outputs.dense[:, 0], inside),
        "border": 0.5
        * F.binary_cross_entropy_with_logits(
            outputs.dense[:, 1], targets.border.float(), pos_weight=inside.new_tensor(3.0)
        ),
    }
