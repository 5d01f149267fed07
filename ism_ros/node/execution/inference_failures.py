"""What follows when the model raises: a sentence for the user, and memory given back."""

from __future__ import annotations

import torch

from ism_ros.errors import first_line
from ism_ros.runtime.out_of_memory import is_out_of_memory


def failure_text(error: Exception) -> str:
    """Return one sentence about an exception of the model, with what to do."""
    name, line = type(error).__name__, first_line(error)
    cause = name if line == name else f"{name}: {line}"
    if is_out_of_memory(error):
        return (
            f"inference failed, out of memory ({cause}): close other programs that use the device, set profile to a "
            "smaller one, or lower points_per_side"
        )
    return (
        f"inference failed: {cause}: the frame is skipped; if it happens again, restart the node, run ism doctor and "
        "report it with the log"
    )


def free_memory_after(error: Exception) -> None:
    """Free the tensors that a failed allocation left: those in the traceback, and PyTorch's cache on the GPU."""
    if not is_out_of_memory(error):
        return
    error.__traceback__ = error.__context__ = None
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
