"""SAM and DINOv2 of the published sizes with random weights, objects and a frame for them, for bench_gpu_frame.py."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import Dinov2Config, Dinov2Model, SamConfig, SamModel

from ism_ros.data.camera import Camera
from ism_ros.data.frame import Frame
from ism_ros.objects.known_object import KnownObject
from ism_ros.objects.library import ObjectLibrary
from ism_ros.rendering.views.polar_maps import ANGLES, RINGS, ViewMaps
from ism_ros.rendering.views.viewpoints import edge_midpoint_rotations, object_to_camera_rotations

TEMPLATES, CROP_PX = 42, 224
"""Templates of an object, and the side of a crop in pixels."""
SAM_SIZES: dict[str, dict[str, Any]] = {
    "vit_b": {},
    "vit_h": {
        "vision_config": {
            "hidden_size": 1280,
            "num_hidden_layers": 32,
            "num_attention_heads": 16,
            "global_attn_indexes": [7, 15, 23, 31],
            "mlp_dim": 5120,
        }
    },
    "small": {
        "vision_config": {
            "image_size": 256,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "global_attn_indexes": [1],
        },
        "prompt_encoder_config": {"image_size": 256},
    },
}
"""Configurations of SAM; vit_b is the default one."""
DINO_WIDTHS = {
    "vits14": {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6},
    "vitl14": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16},
    "small": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2},
}
"""Configurations of DINOv2."""


def random_sam(size: str, device: str) -> SamModel:
    """Create a SAM with random weights.

    Args:
        size: Key of SAM_SIZES.
        device: Where it is.

    Returns:
        The network.
    """
    torch.manual_seed(0)
    with torch.device(device):
        return SamModel(SamConfig(**SAM_SIZES[size])).eval().requires_grad_(False)


def random_dino(size: str, device: str) -> Dinov2Model:
    """Create a DINOv2 with random weights.

    Args:
        size: Key of DINO_WIDTHS.
        device: Where it is.

    Returns:
        The network.
    """
    torch.manual_seed(0)
    with torch.device(device):
        dino = Dinov2Model(Dinov2Config(**DINO_WIDTHS[size], image_size=CROP_PX, patch_size=14))
        return dino.eval().requires_grad_(False)


def random_library(descriptor: Any, count: int, device: str) -> ObjectLibrary:
    """Create objects with random pictures as templates, points of a can, and random views for their coarse poses.

    Args:
        descriptor: Describes the templates.
        count: How many objects.
        device: Where they are.

    Returns:
        The library.
    """
    turn, height = torch.rand(2, 2048, device=device)
    points_m = torch.stack([0.03 * (6.28 * turn).cos(), 0.03 * (6.28 * turn).sin(), 0.12 * (height - 0.5)], dim=1)
    rotations = object_to_camera_rotations()
    of_views = np.concatenate([rotations, edge_midpoint_rotations()])
    maps = np.random.default_rng(0).random((len(of_views), 5, RINGS, ANGLES)).astype(np.float16)
    views = ViewMaps(maps, np.zeros((len(of_views), 3)), 0.07, of_views, TEMPLATES)
    known = []
    for number in range(count):
        crops = torch.rand(TEMPLATES, 3, CROP_PX, CROP_PX, device=device)
        whole = torch.ones(TEMPLATES, CROP_PX, CROP_PX, dtype=torch.bool, device=device)
        described = descriptor.describe_templates(crops, whole)
        known.append(
            KnownObject(
                f"can {number}", number + 1, described.class_tokens, described.patch_tokens,
                torch.from_numpy(rotations).float().to(device), points_m, views=views,
            )
        )  # fmt: skip
    made = ObjectLibrary(tuple(known))
    made.build_index()
    return made


def synthetic_frame(height: int, width: int) -> Frame:
    """Create a frame of random colors and flat depth.

    Args:
        height: Pixels.
        width: Pixels.

    Returns:
        The frame.
    """
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    focal = float(width)
    camera = Camera(np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]]), width, height)
    return Frame(rgb=rgb, depth_m=np.full((height, width), 0.8, np.float32), camera=camera)


def weights(network: nn.Module) -> int:
    """Count the bytes of a network's weights.

    Args:
        network: The network.

    Returns:
        Bytes.
    """
    return sum(parameter.nbytes for parameter in network.parameters())
