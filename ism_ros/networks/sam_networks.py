"""The networks of SAM and SAM 2 as they are run: the image encoder, and the mask decoder for points and for boxes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ism_ros.networks.onnx_export import NetworkExport

MASKS = ("logits", "predicted_iou")
LENGTHS = {"images": (1, 1, 4), "prompts": (1, 64, 256)}
"""Least, usual and largest number of images and of prompts at once."""


class SamEncoder(nn.Module):
    """Image encoder of SAM."""

    def __init__(self, model: Any) -> None:
        """Take the encoder of a model."""
        super().__init__()
        self.encoder = model.vision_encoder

    def forward(self, pixels: Tensor) -> Tensor:
        """Compute embeddings (B, C, h, w) float32 of normalised pixels (B, 3, S, S)."""
        return self.encoder(pixels.to(_dtype(self.encoder))).last_hidden_state.float()


class Sam2Encoder(nn.Module):
    """Image encoder of SAM 2, with the projections of its decoder."""

    def __init__(self, model: Any) -> None:
        """Take the encoder of a model."""
        super().__init__()
        self.encoder = model.vision_encoder
        self.fine, self.middle = model.mask_decoder.conv_s0, model.mask_decoder.conv_s1
        self.no_memory = model.no_memory_embedding

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compute features, float32, of normalised pixels (B, 3, S, S), from the finest to the coarsest."""
        levels = self.encoder(pixels.to(_dtype(self.encoder))).fpn_hidden_states
        fine, middle, coarse = (level.float() for level in levels)
        return self.fine(fine), self.middle(middle), coarse + self.no_memory.permute(0, 2, 1)[:, :, :, None]


class Decoder(nn.Module):
    """Prompt encoder and mask decoder for one image and N prompts."""

    def __init__(self, model: Any, boxes: bool) -> None:
        """Wrap a model.

        Args:
            model: SAM or SAM 2 of the transformers library.
            boxes: Whether prompts are boxes (N, 4) instead of points (N, 2).
        """
        super().__init__()
        self.model = model
        self._boxes = boxes

    def forward(self, prompts: Tensor, *features: Tensor) -> tuple[Tensor, Tensor]:
        """Compute low-resolution logits (N, 3, h, w) and predicted IoU (N, 3).

        Args:
            prompts: (N, 2) or (N, 4), pixels of the encoder's square.
            *features: Of one image, outputs of the encoder.

        Returns:
            Both.
        """
        embeddings: Any = features[0] if len(features) == 1 else list(features)
        given: dict[str, Tensor] = {"input_boxes": prompts[None]}
        if not self._boxes:
            given = {
                "input_points": prompts[None, :, None],
                "input_labels": torch.ones_like(prompts[None, :, :1], dtype=torch.int64),
            }
        output = self.model(image_embeddings=embeddings, multimask_output=True, **given)
        return output.pred_masks[0], output.iou_scores[0]


def sam_exports(model: Any) -> list[NetworkExport]:
    """Describe the networks of SAM.

    Args:
        model: SamModel of the transformers library.

    Returns:
        encoder, point_decoder and box_decoder.
    """
    config = model.config
    side, cells = int(config.vision_config.image_size), int(config.prompt_encoder_config.image_embedding_size)
    channels = int(config.vision_config.output_channels)
    return _exports(model, SamEncoder(model), side, {"embedding": (channels, cells)})


def sam2_exports(model: Any) -> list[NetworkExport]:
    """Describe the networks of SAM 2.

    Args:
        model: Sam2Model of the transformers library.

    Returns:
        encoder, point_decoder and box_decoder.
    """
    side, decoder = int(model.config.prompt_encoder_config.image_size), model.mask_decoder
    features = {
        "fine": (decoder.conv_s0.out_channels, side // 4),
        "middle": (decoder.conv_s1.out_channels, side // 8),
        "coarse": (model.no_memory_embedding.shape[-1], side // 16),
    }
    return _exports(model, Sam2Encoder(model), side, features)


def _exports(model: Any, encoder: nn.Module, side: int, features: dict[str, tuple[int, int]]) -> list[NetworkExport]:
    """Describe the networks; each map of features is given by its channels and its side."""
    pixels = torch.zeros(1, 3, side, side)
    images = {name: {0: "images"} for name in ("pixels", *features)}
    half = (model.vision_encoder,)
    exports = [NetworkExport("encoder", encoder, {"pixels": pixels}, tuple(features), images, LENGTHS, half)]
    given = {name: torch.zeros(1, channels, cells, cells) for name, (channels, cells) in features.items()}
    for kind, numbers in (("point", 2), ("box", 4)):
        name = "points_xy" if kind == "point" else "boxes_xyxy"
        prompts = torch.arange(3.0 * numbers).view(3, numbers)
        axes = {of: {0: "prompts"} for of in (name, *MASKS)}
        decoder = Decoder(model, kind == "box")
        exports.append(NetworkExport(f"{kind}_decoder", decoder, {name: prompts, **given}, MASKS, axes, LENGTHS))
    return exports


def _dtype(network: nn.Module) -> torch.dtype:
    return next(network.parameters()).dtype
