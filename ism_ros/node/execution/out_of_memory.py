"""What is given back after a frame that the model could not finish."""

from __future__ import annotations

import torch

from ism_ros.runtime.batches import is_out_of_memory


def give_back_memory(error: Exception) -> None:
    """After an allocation failed: lets go of the tensors that `error` holds, and of what PyTorch keeps for later."""
    if not is_out_of_memory(error):
        return
    error.__traceback__ = error.__context__ = None
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
