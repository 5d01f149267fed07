"""A draw for each row of a batch: (B, channels, 1, 1) for `like` (B, ...), by PyTorch's generator of its device."""

from __future__ import annotations

import torch
from torch import Tensor


def some(like: Tensor, share: float) -> Tensor:
    """bool, true in `share` of the rows."""
    return torch.rand((len(like), 1, 1, 1), device=like.device) < share


def uniform(like: Tensor, low: float, high: float) -> Tensor:
    return torch.empty((len(like), 1, 1, 1), device=like.device).uniform_(low, high)


def normal(like: Tensor, deviation: float, channels: int = 1) -> Tensor:
    return torch.randn((len(like), channels, 1, 1), device=like.device) * deviation
