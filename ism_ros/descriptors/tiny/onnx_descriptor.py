"""The network of the descriptor `tiny` for ONNX and other runtimes."""

from __future__ import annotations

import torch

from ism_ros.descriptors.tiny.descriptor_network import CROP_PX, INPUT_CHANNELS, TinyDescriptorNetwork
from ism_ros.networks.onnx_export import NetworkExport

LENGTHS = {"crops": (1, 48, 512)}
"""Least, usual and largest number of crops at once."""
OUTPUTS = ("class_tokens", "patch_tokens")


def descriptor_export(network: TinyDescriptorNetwork) -> NetworkExport:
    """Describe the export of the network, for any number of crops.

    Args:
        network: In eval mode.

    Returns:
        The export.
    """
    axes = {name: {0: "crops"} for name in ("pixels", *OUTPUTS)}
    pixels = {"pixels": torch.zeros(2, INPUT_CHANNELS, CROP_PX, CROP_PX)}
    return NetworkExport("descriptor", network, pixels, OUTPUTS, axes, LENGTHS)
