"""Weights of a network that has learned to see more than it did."""

from __future__ import annotations

import torch
from torch import Tensor


def with_more_inputs(weight: Tensor, like: Tensor) -> Tensor:
    """Give a layer more inputs, which change nothing at first.

    Args:
        weight: Of the layer, (outputs, inputs, ...), or any other.
        like: Weight of the layer with more inputs.

    Returns:
        With weights of 0 for further inputs; the same where there are none.
    """
    if weight.ndim < 2 or weight.shape[1] >= like.shape[1]:
        return weight
    nothing = weight.new_zeros(weight.shape[0], like.shape[1] - weight.shape[1], *weight.shape[2:])
    return torch.cat([weight, nothing], dim=1)
