"""In which numbers networks are computed."""

from __future__ import annotations

import torch

AMPERE = (8, 0)
"""The first GPUs that compute in bfloat16; PyTorch says yes for older ones too, which imitate it slowly."""


def network_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 or float16 where the device computes in it, else float32."""
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.get_device_capability(device) >= AMPERE else torch.float16
