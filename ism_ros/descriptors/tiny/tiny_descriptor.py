"""A descriptor by a small network that ships with this package: trained by contrastive learning on rendered objects.

Its class token encodes which object a crop shows and from which side, whatever the in-plane rotation; its patch tokens
encode the same of 12 x 12 patches. Training and limits: docs/tiny.md.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ism_ros.checkpoints.shipped import channels_last, load_weights
from ism_ros.descriptors.base import Descriptors, DescriptorSpec, concatenated
from ism_ros.descriptors.tiny.descriptor_network import (
    CLASS_WIDTH,
    CROP_PX,
    PATCH_PX,
    PATCH_WIDTH,
    TinyDescriptorNetwork,
    network_input,
    valid_patches,
)
from ism_ros.descriptors.tiny.onnx_descriptor import descriptor_export
from ism_ros.networks.network_runners import NetworkRunner, RunnableNetwork, requested_runner
from ism_ros.runtime.model_request import ModelRequest
from ism_ros.runtime.out_of_memory import OutOfMemoryCounter, OutOfMemoryRetry
from ism_ros.runtime.precision import small_network_dtype
from ism_ros.runtime.threads import map_on_threads, one_thread

CHUNK_CPU, CHUNK_GPU = 64, 512
"""Crops described at once on a CPU and on a GPU."""
CROPS_OF_A_THREAD = 10
"""Crops that a thread of a CPU describes at once."""
MIN_PATCH_COVERAGE = 0.3
"""Fraction of a patch that must lie inside the mask; others have no token."""


class TinyDescriptor:
    """Tokens of masked crops of 96 x 96 pixels."""

    name = "tiny"
    is_small = True
    crop_size = CROP_PX
    rotation_sensitive = False
    view_prior_weight = 0.75
    sees_depth = True

    def __init__(
        self,
        device: str = "cpu",
        weights: Path | None = None,
        recoveries: OutOfMemoryCounter | None = None,
        dtype: torch.dtype | None = None,
        runner: NetworkRunner | None = None,
    ) -> None:
        """Load the network.

        Args:
            device: PyTorch device.
            weights: File of weights; None = those of the package.
            recoveries: Counts where memory ran out.
            dtype: Number format of the convolutions; None = that of `small_network_dtype`.
            runner: Makes the network run, in float32; None = PyTorch, in that number format.

        Raises:
            CheckpointError: The weights cannot be read or are not of this network, or the runtime cannot be used.
            ExportError: The network cannot be exported for the runtime.
        """
        self._device = torch.device(device)
        network = TinyDescriptorNetwork()
        digest = load_weights(network, "descriptor", weights)
        self._network: RunnableNetwork
        if runner is None:
            dtype = dtype or small_network_dtype(self._device)
            network.convolve_in(dtype)
            self._network = channels_last(network, self._device)
        else:
            self._network = runner(descriptor_export(network))
        self.fingerprint = f"tiny-2-{digest[:16]}-{dtype if runner is None else runner.arithmetic}"
        self._chunks = OutOfMemoryRetry(CHUNK_CPU if self._device.type == "cpu" else CHUNK_GPU, "crops", recoveries)

    def describe(self, crops: Tensor, crop_masks: Tensor, depth_px: Tensor | None = None) -> Descriptors:
        """Describe crops.

        Args:
            crops: (N, 3, 96, 96) float32 RGB in [0, 1], zero outside the mask.
            crop_masks: (N, 96, 96) bool.
            depth_px: (N, 96, 96) float32 relative depth in pixels of the crop, NaN = no reading; None = none at all.

        Returns:
            Tokens, float32, on the device.
        """
        if len(crops) == 0:
            patches = (CROP_PX // PATCH_PX) ** 2
            return Descriptors(
                torch.zeros((0, CLASS_WIDTH), device=self._device),
                torch.zeros((0, patches, PATCH_WIDTH), device=self._device),
            )
        depth_px = torch.full_like(crops[:, 0], torch.nan) if depth_px is None else depth_px
        given = crops, crop_masks, depth_px
        return concatenated(self._chunks.run(len(crops), lambda rows: self._tokens(*(of[rows] for of in given))))

    def describe_templates(self, crops: Tensor, crop_masks: Tensor, depth_px: Tensor | None = None) -> Descriptors:
        """Describe crops of templates, in the same way as those of proposals."""
        return self.describe(crops, crop_masks, depth_px)

    def _tokens(self, crops: Tensor, masks: Tensor, depth_px: Tensor) -> Descriptors:
        """Describe crops, on a CPU each thread some of them, so that none waits for others within the network.

        Parts have the same size on any number of threads, and so the same tokens to the last digit.
        """
        given = [of.to(self._device) for of in (crops, masks, depth_px)]
        inputs = [of.split(len(of) if of.is_cuda else CROPS_OF_A_THREAD) for of in given]
        threads = torch.get_num_threads()
        with one_thread(given[0]):
            return concatenated(map_on_threads(self._tokens_of_part, threads, *inputs))

    @torch.inference_mode()
    def _tokens_of_part(self, crops: Tensor, masks: Tensor, depth_px: Tensor) -> Descriptors:
        pixels = network_input(crops, masks, depth_px)
        tokens, patches = self._network(pixels)
        valid = valid_patches(pixels, MIN_PATCH_COVERAGE)
        return Descriptors(tokens, patches * valid[:, :, None])


def load_tiny_descriptor(request: ModelRequest) -> TinyDescriptor:
    """Load the weights of the package, or those of the file that a request names.

    Args:
        request: Device and model.

    Returns:
        The descriptor.

    Raises:
        CheckpointError: The weights cannot be read or are not of this network, or the runtime cannot be used.
        ExportError: The network cannot be exported for the runtime.
    """
    weights = Path(request.model) if request.model else None
    runner = requested_runner(request)
    return TinyDescriptor(request.device, weights, request.recoveries, request.dtype, runner)


TINY = DescriptorSpec(load_tiny_descriptor, matcher="verified", cpu_threads=4)
"""Registry entry `tiny`. With more than four threads they wait for each other longer than they compute."""
