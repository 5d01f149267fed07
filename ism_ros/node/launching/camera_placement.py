"""Placement of several cameras on several GPUs: which node gets which camera and device."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
"""Pattern of names that can be a namespace."""


@dataclass(frozen=True)
class CameraPlacement:
    """One node.

    Attributes:
        camera: Name of its camera, which is its namespace.
        device: PyTorch device of its models.
    """

    camera: str
    device: str


def assign_devices(cameras: Sequence[str], devices: Sequence[str]) -> tuple[CameraPlacement, ...]:
    """Assign devices to cameras in turn, one node a camera.

    Args:
        cameras: Names of the cameras.
        devices: PyTorch devices; empty = the CPU for all.

    Raises:
        ValueError: There is no camera, or a name cannot be a namespace or comes twice.
    """
    if not cameras:
        raise ValueError("no cameras are named: give their names, separated by commas, as cameras:=left,right")
    for camera in cameras:
        if not NAME.fullmatch(camera):
            raise ValueError(f"camera name '{camera}' cannot be a namespace: use letters, digits and _, a letter first")
        if cameras.count(camera) > 1:
            raise ValueError(f"camera '{camera}' is named twice; each needs a name of its own")
    devices = devices or ("cpu",)
    return tuple(CameraPlacement(camera, devices[index % len(devices)]) for index, camera in enumerate(cameras))


def split_names(text: str) -> tuple[str, ...]:
    """Return the names in a list separated by commas, the form of launch arguments."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def camera_topic(pattern: str, camera: str) -> str:
    """Return the topic of a camera.

    Args:
        pattern: Topic with {camera} in the place of the name.
        camera: Name of the camera.

    Raises:
        ValueError: The pattern has other braces.
    """
    topic = pattern.replace("{camera}", camera)
    if "{" in topic or "}" in topic:
        raise ValueError(f"topic '{pattern}': only {{camera}} may stand in braces, for the camera's name")
    return topic


def visible_devices() -> tuple[str, ...]:
    """Return cuda:0, cuda:1, ... as PyTorch sees them (CUDA_VISIBLE_DEVICES counts); empty without a GPU."""
    import torch

    return tuple(f"cuda:{index}" for index in range(torch.cuda.device_count()))
