"""The models of the package with networks in float32 on every device, chosen as `float32_models:NAME`.

What they find on a GPU can be compared with what they find on a CPU: thresholds fall alike.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import torch

from ism_ros.descriptors.base import DESCRIPTORS, DescriptorSpec
from ism_ros.runtime.model_request import ModelRequest
from ism_ros.runtime.registry import Registry
from ism_ros.segmentors.base import SEGMENTORS, SegmentorSpec

Spec = TypeVar("Spec", SegmentorSpec, DescriptorSpec)


def in_float32(registry: Registry[Spec], name: str) -> Spec:
    spec = registry.get(name)

    def load(request: ModelRequest) -> object:
        return spec.load(replace(request, dtype=torch.float32))

    return replace(spec, load=load)


SAM, SAM2, FASTSAM = (in_float32(SEGMENTORS, name) for name in ("sam", "sam2", "fastsam"))
DINOV2, DINOV3 = (in_float32(DESCRIPTORS, name) for name in ("dinov2", "dinov3"))
