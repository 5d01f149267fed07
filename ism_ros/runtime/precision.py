"""Number formats in which networks are computed."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch

AMPERE = (8, 0)
"""Compute capability of the first GPUs that compute in bfloat16; PyTorch emulates it slowly on older ones."""


def network_dtype(device: torch.device) -> torch.dtype:
    """Choose the number format of a large network.

    Args:
        device: Where it runs.

    Returns:
        bfloat16 or float16 where the device computes in it, else float32.
    """
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.get_device_capability(device) >= AMPERE else torch.float16


def small_network_dtype(device: torch.device) -> torch.dtype:
    """Choose the number format of a small network that was trained in bfloat16 and has no reference numbers to match.

    Args:
        device: Where it runs.

    Returns:
        bfloat16 on processors that multiply in it, which saves a third of the time; else float32, also on GPUs, where
        the time of small networks is not that of multiplications.
    """
    return torch.bfloat16 if device.type == "cpu" and _multiplies_in_bfloat16() else torch.float32


@cache
def _multiplies_in_bfloat16() -> bool:
    """Tell whether the CPU has AVX-512 BF16 or AMX (x86: Zen 4, Sapphire Rapids and later).

    PyTorch emulates bfloat16 slowly on others.
    """
    try:
        words = set(Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split())
    except OSError:
        return False
    return bool(words & {"avx512_bf16", "amx_bf16"})
