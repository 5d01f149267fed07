"""The network of the segmentor `tiny` for ONNX and other runtimes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ism_ros.networks.network_runners import NetworkRunner
from ism_ros.networks.onnx_export import NetworkExport
from ism_ros.segmentors.tiny.input_channels import CHANNELS
from ism_ros.segmentors.tiny.segmentor_network import NetworkOutputs, TinyNetwork

LENGTHS = {"images": (1, 2, 8), "height": (16, 240, 640), "width": (16, 320, 1024)}
"""Least, usual and largest number of images at once, and their sides, pixels."""
OUTPUTS = ("features", "centres", "dense", "score", "kernels")
"""Fields of NetworkOutputs, in order."""


class OutputTuple(nn.Module):
    """The network with its outputs as a tuple."""

    def __init__(self, network: TinyNetwork) -> None:
        """Wrap the network."""
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Compute the outputs of (B, 10, H, W) in the order of OUTPUTS."""
        outputs = self.network(pixels)
        return tuple(getattr(outputs, name) for name in OUTPUTS)


def segmentor_export(network: TinyNetwork) -> NetworkExport:
    """Describe the export of the network, for any number of images of any size.

    Args:
        network: In eval mode.

    Returns:
        The export.
    """
    image = {0: "images", 2: "height", 3: "width"}
    maps = {0: "images", 2: "rows", 3: "columns"}
    axes = {"pixels": image, **dict.fromkeys(OUTPUTS, maps), "score": {0: "images", 1: "rows", 2: "columns"}}
    pixels = {"pixels": torch.zeros(2, CHANNELS, 48, 64)}
    return NetworkExport("segmentor", OutputTuple(network), pixels, OUTPUTS, axes, LENGTHS)


class RunSegmentorNetwork:
    """The network run by another runtime, called as the one of PyTorch."""

    def __init__(self, network: TinyNetwork, runner: NetworkRunner) -> None:
        """Make the network run; raises what the runner raises."""
        self._run = runner(segmentor_export(network))

    def __call__(self, pixels: Tensor) -> NetworkOutputs:
        """Compute the outputs of (B, 10, H, W)."""
        return NetworkOutputs(*self._run(pixels))
