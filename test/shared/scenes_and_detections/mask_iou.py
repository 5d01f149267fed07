"""How well masks agree."""

from torch import Tensor


def mask_iou(first: Tensor, second: Tensor) -> Tensor:
    return (first & second).flatten(1).sum(1) / (first | second).flatten(1).sum(1)
