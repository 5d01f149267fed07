"""In which numbers networks are computed."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch

AMPERE = (8, 0)
"""The first GPUs that compute in bfloat16; PyTorch says yes for older ones too, which imitate it slowly."""


def network_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 or float16 where the device computes in it, else float32."""
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.get_device_capability(device) >= AMPERE else torch.float16


def small_network_dtype(device: torch.device) -> torch.dtype:
    """For networks that were trained in bfloat16 and are not held to reference numbers: bfloat16 where the processor
    multiplies in it, which saves a third of their time, else float32. On a GPU their time is not that of products."""
    return torch.bfloat16 if device.type == "cpu" and _multiplies_in_bfloat16() else torch.float32


@cache
def _multiplies_in_bfloat16() -> bool:
    """Of x86 processors those with AVX-512 BF16 or AMX (Zen 4, Sapphire Rapids and later); PyTorch imitates it slowly
    on others."""
    try:
        words = set(Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split())
    except OSError:
        return False
    return bool(words & {"avx512_bf16", "amx_bf16"})
