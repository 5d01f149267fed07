"""One random number for each row of a batch, by PyTorch's generator of its device."""

from __future__ import annotations

import torch
from torch import Tensor


def bernoulli(like: Tensor, probability: float) -> Tensor:
    """Sample a boolean for each row.

    Args:
        like: (B, ...) the batch.
        probability: Of True.

    Returns:
        (B, 1, 1, 1) bool on the device of `like`.
    """
    return torch.rand((len(like), 1, 1, 1), device=like.device) < probability


def uniform(like: Tensor, low: float, high: float) -> Tensor:
    """Sample a number of a uniform distribution for each row.

    Args:
        like: (B, ...) the batch.
        low: Least value.
        high: Largest value.

    Returns:
        (B, 1, 1, 1) float32 on the device of `like`.
    """
    return torch.empty((len(like), 1, 1, 1), device=like.device).uniform_(low, high)


def normal(like: Tensor, deviation: float, channels: int = 1) -> Tensor:
    """Sample numbers of a normal distribution of mean 0 for each row.

    Args:
        like: (B, ...) the batch.
        deviation: Standard deviation.
        channels: How many numbers a row.

    Returns:
        (B, channels, 1, 1) float32 on the device of `like`.
    """
    return torch.randn((len(like), channels, 1, 1), device=like.device) * deviation
