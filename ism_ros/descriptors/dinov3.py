"""DINOv3, with patches of 16 pixels and rotary position embeddings."""

from __future__ import annotations

from pathlib import Path

import torch

from ism_ros.checkpoints.catalog import find_checkpoint
from ism_ros.checkpoints.loaders.dinov3_checkpoint import load_dinov3
from ism_ros.checkpoints.reading import fingerprint
from ism_ros.descriptors.base import DescriptorSpec, TemplateNormalization
from ism_ros.descriptors.vit import VitDescriptor
from ism_ros.networks.network_runners import NetworkRunner, requested_runner
from ism_ros.runtime.model_request import ModelRequest
from ism_ros.runtime.out_of_memory import OutOfMemoryCounter

CROP_SIZE = 224
"""Side of the square crops, pixels."""


def dinov3_descriptor(
    checkpoint: Path,
    device: str = "cpu",
    template_normalization: TemplateNormalization = "imagenet",
    dtype: torch.dtype | None = None,
    recoveries: OutOfMemoryCounter | None = None,
    runner: NetworkRunner | None = None,
) -> VitDescriptor:
    """Load a checkpoint as a descriptor.

    Args:
        checkpoint: An official file or a safetensors folder.
        device: PyTorch device.
        template_normalization: How the colors of templates are normalised.
        dtype: Data type of the computation; None = half precision on a GPU that has it, else float32.
        recoveries: Counts where memory ran out.
        runner: Makes the model run; None = PyTorch.

    Returns:
        The descriptor.

    Raises:
        CheckpointError: The checkpoint cannot be used.
    """
    model = load_dinov3(checkpoint, CROP_SIZE)
    frequencies = model.rope_embeddings.inv_freq
    name = f"dinov3-{fingerprint(checkpoint)}"
    descriptor = VitDescriptor(
        "dinov3", model, name, device, dtype, template_normalization, CROP_SIZE, recoveries=recoveries, runner=runner
    )
    # angles in half precision would be off by up to a degree
    model.rope_embeddings.inv_freq = frequencies.to(device)
    return descriptor


def load_dinov3_descriptor(request: ModelRequest) -> VitDescriptor:
    """Load the checkpoint of a request, by default ViT-L.

    Args:
        request: Device, model and settings.

    Returns:
        The descriptor.

    Raises:
        CheckpointError: The checkpoint is missing or cannot be used.
    """
    checkpoint = find_checkpoint(request.checkpoints_dir, "dinov3", request.model or "vitl16")
    normalization = request.given(template_normalization="template_normalization")
    return dinov3_descriptor(
        checkpoint,
        request.device,
        dtype=request.dtype,
        recoveries=request.recoveries,
        runner=requested_runner(request),
        **normalization,
    )


DINOV3 = DescriptorSpec(load_dinov3_descriptor, requires=("transformers",))
"""Registry entry `dinov3`."""
