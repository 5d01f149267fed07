"""Descriptors by a vision transformer: class token and patch tokens of a crop from one pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from ism_ros.descriptors.base import Descriptors, TemplateNormalization, concatenated
from ism_ros.networks.network_runners import NetworkRunner, TorchRunner
from ism_ros.networks.vit_network import vit_export
from ism_ros.runtime.out_of_memory import OutOfMemoryCounter, OutOfMemoryRetry

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Mean and standard deviation of the colors of ImageNet, in [0, 1]."""
MIN_PATCH_COVERAGE = 0.5
"""Fraction of a patch that must lie inside the mask; others have no token."""
CHUNK_CPU, CHUNK_GPU = 16, 128
"""Crops described at once on a CPU and on a GPU."""


class VitDescriptor:
    """Tokens of a vision transformer, with crops normalised as SAM-6D does.

    Proposals are normalised by ImageNet's colors and then masked: their background is 0. Templates are normalised
    with their black background ("imagenet", as in SAM-6D's BOP runs) or not at all ("none", as in its
    run_inference_custom.py).
    """

    is_small = False
    rotation_sensitive = True
    view_prior_weight = 0.0

    def __init__(
        self,
        name: str,
        model: nn.Module,
        fingerprint: str,
        device: str = "cpu",
        dtype: torch.dtype | None = None,
        template_normalization: TemplateNormalization = "imagenet",
        crop_size: int = 224,
        chunk: int | None = None,
        recoveries: OutOfMemoryCounter | None = None,
        runner: NetworkRunner | None = None,
    ) -> None:
        """Move a model to a device.

        Args:
            name: Name of the descriptor.
            model: Called with pixel values (N, 3, S, S); its last_hidden_state is (N, 1 + registers + P, D), normalised
                by its last layer.
            fingerprint: Identifies the model and its weights.
            device: PyTorch device.
            dtype: Data type of the computation; None = half precision on a GPU that has it, else float32.
            template_normalization: How the colors of templates are normalised.
            crop_size: Side S of the square crops, pixels.
            chunk: Crops described at once; None = CHUNK_CPU or CHUNK_GPU.
            recoveries: Counts where memory ran out.
            runner: Makes the model run; None = PyTorch.
        """
        self.name = name
        self.crop_size = crop_size
        self._device = torch.device(device)
        runner = runner or TorchRunner(self._device, dtype)
        self._network = runner(vit_export(model, crop_size))
        self._fingerprint = f"{fingerprint}-{template_normalization}-{runner.arithmetic}"
        self._template_normalization = template_normalization
        self._patch_size = int(model.config.patch_size)  # type: ignore[union-attr,arg-type]
        self._width = int(model.config.hidden_size)  # type: ignore[union-attr,arg-type]
        chunk = chunk or (CHUNK_CPU if self._device.type == "cpu" else CHUNK_GPU)
        self._chunks = OutOfMemoryRetry(chunk, "crops", recoveries)

    @property
    def fingerprint(self) -> str:
        """A text that changes whenever the numbers would: part of the key of descriptors cached on disk."""
        return self._fingerprint

    def describe(self, crops: Tensor, crop_masks: Tensor) -> Descriptors:
        """Describe crops of proposals.

        Args:
            crops: (N, 3, S, S) float32 RGB in [0, 1], zero outside the mask.
            crop_masks: (N, S, S) bool.

        Returns:
            Tokens, float32, on the device.
        """
        return self._in_chunks(crops, crop_masks, lambda crop, mask: imagenet(crop) * mask[:, None])

    def describe_templates(self, crops: Tensor, crop_masks: Tensor) -> Descriptors:
        """Describe crops of templates, normalised by `template_normalization`.

        Args:
            crops: (N, 3, S, S) float32 RGB in [0, 1], zero outside the mask.
            crop_masks: (N, S, S) bool.

        Returns:
            Tokens, float32, on the device.
        """
        if self._template_normalization == "none":
            return self._in_chunks(crops, crop_masks, lambda crop, mask: crop)
        return self._in_chunks(crops, crop_masks, lambda crop, mask: imagenet(crop))

    def _in_chunks(self, crops: Tensor, crop_masks: Tensor, normalise: Any) -> Descriptors:
        def work(rows: slice) -> Descriptors:
            crop, mask = crops[rows].to(self._device), crop_masks[rows].to(self._device)
            return self._tokens(normalise(crop, mask), mask)

        if len(crops) == 0:
            return self._nothing()
        return concatenated(self._chunks.run(len(crops), work))

    @torch.inference_mode()
    def _tokens(self, pixels: Tensor, masks: Tensor) -> Descriptors:
        class_tokens, patch_tokens = self._network(pixels)
        valid = avg_pool2d(masks[:, None].float(), self._patch_size).flatten(1) > MIN_PATCH_COVERAGE
        return Descriptors(class_tokens, patch_tokens * valid[:, :, None])

    def _nothing(self) -> Descriptors:
        patches = (self.crop_size // self._patch_size) ** 2
        return Descriptors(
            torch.zeros((0, self._width), device=self._device),
            torch.zeros((0, patches, self._width), device=self._device),
        )


def imagenet(crops: Tensor) -> Tensor:
    """Normalise colors by the mean and standard deviation of ImageNet's.

    Args:
        crops: (N, 3, S, S) in [0, 1].

    Returns:
        (N, 3, S, S).
    """
    mean, std = (crops.new_tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (crops - mean) / std
