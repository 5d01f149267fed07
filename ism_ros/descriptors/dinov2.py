"""DINOv2, the descriptor of SAM-6D, with and without registers."""

from __future__ import annotations

from pathlib import Path

import torch

from ism_ros.checkpoints.catalog import find_checkpoint
from ism_ros.checkpoints.loaders.dinov2_checkpoint import load_dinov2
from ism_ros.checkpoints.reading import fingerprint
from ism_ros.descriptors.base import DescriptorSpec, TemplateNormalization
from ism_ros.descriptors.vit import VitDescriptor
from ism_ros.networks.network_runners import NetworkRunner, requested_runner
from ism_ros.runtime.model_request import ModelRequest
from ism_ros.runtime.out_of_memory import OutOfMemoryCounter

CROP_SIZE = 224
"""Side of the square crops, pixels."""


def dinov2_descriptor(
    checkpoint: Path,
    device: str = "cpu",
    template_normalization: TemplateNormalization = "imagenet",
    heads: int | None = None,
    recoveries: OutOfMemoryCounter | None = None,
    dtype: torch.dtype | None = None,
    runner: NetworkRunner | None = None,
) -> VitDescriptor:
    """Load a checkpoint as a descriptor.

    Args:
        checkpoint: An official file or a safetensors folder.
        device: PyTorch device.
        template_normalization: How the colors of templates are normalised.
        heads: Attention heads; None = those of the published sizes.
        recoveries: Counts where memory ran out.
        dtype: Data type of the computation; None = half precision on a GPU that has it, else float32.
        runner: Makes the model run; None = PyTorch.

    Returns:
        The descriptor.

    Raises:
        CheckpointError: The checkpoint cannot be used.
    """
    model = load_dinov2(checkpoint, CROP_SIZE, heads)
    name = f"dinov2-{fingerprint(checkpoint)}"
    return VitDescriptor(
        "dinov2", model, name, device, dtype, template_normalization, recoveries=recoveries, runner=runner
    )


def load_dinov2_descriptor(request: ModelRequest) -> VitDescriptor:
    """Load the checkpoint of a request, by default ViT-L.

    Args:
        request: Device, model and settings.

    Returns:
        The descriptor.

    Raises:
        CheckpointError: The checkpoint is missing or cannot be used.
    """
    checkpoint = find_checkpoint(request.checkpoints_dir, "dinov2", request.model or "vitl14")
    normalization = request.given(template_normalization="template_normalization")
    return dinov2_descriptor(
        checkpoint,
        request.device,
        recoveries=request.recoveries,
        dtype=request.dtype,
        runner=requested_runner(request),
        **normalization,
    )


DINOV2 = DescriptorSpec(load_dinov2_descriptor, requires=("transformers",))
"""Registry entry `dinov2`."""
