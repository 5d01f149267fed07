"""Memory of this process and of its GPU."""

from __future__ import annotations

import gc
import os
import resource
from pathlib import Path

import torch


def resident_bytes() -> int:
    """Read the memory that this process has now.

    Returns:
        Bytes; the most that it has had where the system does not tell.
    """
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError):
        return peak_bytes()
    return pages * os.sysconf("SC_PAGE_SIZE")


def peak_bytes() -> int:
    """Read the peak memory of this process.

    Returns:
        Bytes since it was started.
    """
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def reset_peak(device: str) -> None:
    """Free what is unused of a GPU, and start to measure its peak memory again.

    Args:
        device: The device; nothing happens where it is no GPU.
    """
    if device.startswith("cuda"):
        gc.collect()  # what is held in cycles alone would count
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def device_peak_bytes(device: str) -> int | None:
    """Read the peak memory of a GPU.

    Args:
        device: The device.

    Returns:
        Bytes of tensors since `reset_peak`; None where it is no GPU.
    """
    return torch.cuda.max_memory_allocated(device) if device.startswith("cuda") else None


def device_segments(device: str) -> int | None:
    """Count how often PyTorch has asked a GPU for memory; tensors mostly have what earlier ones gave back.

    Args:
        device: The device.

    Returns:
        The number since the process began; None where it is no GPU.
    """
    if not device.startswith("cuda"):
        return None
    return int(torch.cuda.memory_stats(device).get("segment.all.allocated", 0))
