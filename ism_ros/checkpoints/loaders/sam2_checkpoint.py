"""SAM 2 and 2.1 (Ravi et al., 2024) for single images, from sam2.1_hiera_*.pt or a safetensors folder.

The files hold a video model. Its memory is left out: for one image, the authors' predictor does not use it either.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ism_ros.checkpoints.key_mapping import count_blocks, rename_keys, require_keys, require_size
from ism_ros.checkpoints.loaders.transformers_library import prepare_transformers
from ism_ros.checkpoints.model_building import build, load_folder
from ism_ros.checkpoints.reading import StateDict, read_state_dict
from ism_ros.errors import CheckpointError

if TYPE_CHECKING:
    from transformers import Sam2Config, Sam2Model

DECODER_HEADS = 8
"""Attention heads of the mask decoder in all published sizes."""
IMAGE_SIZE = 1024
"""Side in pixels of the square that all published sizes see."""
STRIDE = 4
"""Pixels from one token of the backbone's first stage to the next; each later stage doubles them."""


@dataclass(frozen=True)
class Hiera:
    """What the tensors of a Hiera backbone do not tell.

    Attributes:
        name: Published name of the size.
        heads: Attention heads of the first stage, doubled at each later one.
        stages: Number of blocks of each stage.
        windows: Side of the attention windows of each stage, in tokens.
        global_blocks: Numbers of the blocks that attend to everything.
    """

    name: str
    heads: int
    stages: tuple[int, ...]
    windows: tuple[int, ...]
    global_blocks: tuple[int, ...]


SIZES = {
    (96, 12): Hiera("tiny", 1, (1, 2, 7, 2), (8, 4, 14, 7), (5, 7, 9)),
    (96, 16): Hiera("small", 1, (1, 2, 11, 2), (8, 4, 14, 7), (7, 10, 13)),
    (112, 24): Hiera("base_plus", 2, (2, 3, 16, 3), (8, 4, 14, 7), (12, 16, 20)),
    (144, 48): Hiera("large", 2, (2, 6, 36, 4), (8, 4, 16, 8), (23, 33, 43)),
}
"""The published backbones by their width and number of blocks."""

VIDEO_PART = (
    "memory_attention.",
    "memory_encoder.",
    "maskmem_tpos_enc",
    "mask_downsample.",
    "no_mem_pos_enc",
    "no_obj_embed_spatial",
    "no_obj_ptr",
    "obj_ptr_proj.",
    "obj_ptr_tpos_proj.",
)
"""Keys, or their beginnings, of what follows objects from frame to frame."""

_GAUSSIAN = "sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
_POSITIONS = ("shared_image_embedding.positional_embedding", "prompt_encoder.shared_embedding.positional_embedding")
_POINTS = tuple(f"sam_prompt_encoder.point_embeddings.{kind}.weight" for kind in range(4))
_NEEDED = (
    "image_encoder.trunk.pos_embed",
    "image_encoder.trunk.pos_embed_window",
    "image_encoder.trunk.patch_embed.proj.weight",
    "image_encoder.trunk.blocks.0.mlp.layers.0.weight",
    "image_encoder.neck.convs.0.conv.weight",
    "sam_mask_decoder.transformer.layers.0.mlp.layers.0.weight",
    "sam_mask_decoder.transformer.layers.0.cross_attn_token_to_image.q_proj.weight",
    "sam_mask_decoder.iou_prediction_head.layers.0.weight",
    "sam_mask_decoder.mask_tokens.weight",
    "sam_prompt_encoder.mask_downscaling.3.weight",
    _GAUSSIAN,
    *_POINTS,
)

_RULES = (
    (r"^image_encoder\.trunk\.patch_embed\.proj\.", "vision_encoder.backbone.patch_embed.projection."),
    (r"^image_encoder\.trunk\.", "vision_encoder.backbone."),
    (r"^image_encoder\.neck\.convs\.(\d+)\.conv\.", r"vision_encoder.neck.convs.\1."),
    (r"^no_mem_embed$", "no_memory_embedding"),
    (r"^sam_prompt_encoder\.mask_downscaling\.0\.", "prompt_encoder.mask_embed.conv1."),
    (r"^sam_prompt_encoder\.mask_downscaling\.1\.", "prompt_encoder.mask_embed.layer_norm1."),
    (r"^sam_prompt_encoder\.mask_downscaling\.3\.", "prompt_encoder.mask_embed.conv2."),
    (r"^sam_prompt_encoder\.mask_downscaling\.4\.", "prompt_encoder.mask_embed.layer_norm2."),
    (r"^sam_prompt_encoder\.mask_downscaling\.6\.", "prompt_encoder.mask_embed.conv3."),
    (r"^sam_prompt_encoder\.", "prompt_encoder."),
    (r"^sam_mask_decoder\.output_upscaling\.0\.", "mask_decoder.upscale_conv1."),
    (r"^sam_mask_decoder\.output_upscaling\.1\.", "mask_decoder.upscale_layer_norm."),
    (r"^sam_mask_decoder\.output_upscaling\.3\.", "mask_decoder.upscale_conv2."),
    (r"^sam_mask_decoder\.", "mask_decoder."),
    (r"^(mask_decoder\..*)\.out_proj\.", r"\1.o_proj."),
    (r"\.norm([1-4])\.", r".layer_norm\1."),
    (r"\.norm_final_attn\.", ".layer_norm_final_attn."),
)
_PERCEPTRON = re.compile(
    r"^(.*\.(?:mlp|iou_prediction_head|pred_obj_score_head|output_hypernetworks_mlps\.\d+))\.layers\.(\d+)\.(.*)$"
)


def load_sam2(
    path: Path, image_size: int = IMAGE_SIZE, hiera: Hiera | None = None, decoder_heads: int = DECODER_HEADS
) -> Sam2Model:
    """Load the image model of SAM 2 or 2.1.

    Args:
        path: Checkpoint file, or folder in the format of the transformers library.
        image_size: Side of the square that a file's model sees, pixels.
        hiera: Backbone of a file; None = the published one of the width and number of blocks that its tensors have.
        decoder_heads: Attention heads of the mask decoder of a file.

    Returns:
        Sam2Model of the transformers library, float32 on the CPU.

    Raises:
        CheckpointError: The checkpoint cannot be used.
        TransformersError: The library is missing or of another version.
    """
    prepare_transformers()
    from transformers import Sam2Model, Sam2VideoConfig

    if path.is_dir():
        model: Sam2Model = load_folder(Sam2Model, path, "SAM 2", larger=Sam2VideoConfig.model_type)
        return model
    state = from_official(read_state_dict(path), path)
    if hiera is None:
        hiera = published(state, path)
        require_size("sam2", hiera.name, path)
    config = config_of(state, hiera, image_size, decoder_heads)
    return build(lambda: Sam2Model(config), state, path, f"SAM 2 {hiera.name}")


def from_official(state: StateDict, path: Path) -> StateDict:
    """Map an official checkpoint to the library's keys.

    Args:
        state: Tensors of the file.
        path: The file, for messages.

    Returns:
        The tensors under the library's keys, those of the image model alone.

    Raises:
        CheckpointError: Keys by which such a checkpoint is recognised are missing.
    """
    require_keys(state, _NEEDED, "an official SAM 2", path)
    left_out = {key for key in state if key.startswith(VIDEO_PART)}
    rest = {key: value for key, value in state.items() if key not in {_GAUSSIAN, *_POINTS, *left_out}}
    return {
        **rename_keys(_named_layers(rest), _RULES),
        **{name: state[_GAUSSIAN].clone() for name in _POSITIONS},
        "prompt_encoder.point_embed.weight": torch.cat([state[key] for key in _POINTS]),
    }


def _named_layers(state: StateDict) -> StateDict:
    """Rename the layers of perceptrons: the library names the first and last, and numbers those between from 0."""
    matches = {key: match for key in state if (match := _PERCEPTRON.match(key))}
    last: dict[str, int] = {}
    for match in matches.values():
        last[match[1]] = max(last.get(match[1], 0), int(match[2]))

    def name(owner: str, layer: int) -> str:
        return "proj_in" if layer == 0 else "proj_out" if layer == last[owner] else f"layers.{layer - 1}"

    return {
        f"{match[1]}.{name(match[1], int(match[2]))}.{match[3]}" if (match := matches.get(key)) else key: value
        for key, value in state.items()
    }


def published(state: StateDict, path: Path) -> Hiera:
    """Recognise the published backbone of a checkpoint.

    Args:
        state: Tensors under the library's keys.
        path: The checkpoint, for messages.

    Returns:
        The backbone.

    Raises:
        CheckpointError: It is none of the published sizes.
    """
    width = int(state["vision_encoder.backbone.pos_embed"].shape[1])
    found = width, count_blocks(state, "vision_encoder.backbone.blocks.")
    if found not in SIZES:
        sizes = ", ".join(f"{hiera.name} ({width}, {blocks})" for (width, blocks), hiera in SIZES.items())
        raise CheckpointError(
            f"checkpoint {path} is of no published size of SAM 2: expected a backbone of the width and number of "
            f"blocks of one of {sizes}, found {found}"
        )
    return SIZES[found]


def config_of(
    state: StateDict, hiera: Hiera, image_size: int = IMAGE_SIZE, decoder_heads: int = DECODER_HEADS
) -> Sam2Config:
    """Determine the architecture of a checkpoint.

    Args:
        state: Tensors under the library's keys.
        hiera: The backbone.
        image_size: Side of the square that the model sees, pixels.
        decoder_heads: Attention heads of the mask decoder, which the tensors do not tell.

    Returns:
        The library's configuration.
    """
    from transformers import (
        Sam2Config,
        Sam2HieraDetConfig,
        Sam2MaskDecoderConfig,
        Sam2PromptEncoderConfig,
        Sam2VisionConfig,
    )

    background = state["vision_encoder.backbone.pos_embed"].shape
    hidden = int(state["vision_encoder.neck.convs.0.weight"].shape[0])
    attention = state["mask_decoder.transformer.layers.0.cross_attn_token_to_image.q_proj.weight"]
    stages = range(len(hiera.stages))
    widths = [int(background[1]) * 2**stage for stage in stages]
    tokens = [image_size // STRIDE // 2**stage for stage in stages]
    backbone = Sam2HieraDetConfig(
        hidden_size=widths[0],
        num_attention_heads=hiera.heads,
        image_size=[image_size, image_size],
        patch_kernel_size=list(state["vision_encoder.backbone.patch_embed.projection.weight"].shape[2:]),
        patch_stride=[STRIDE, STRIDE],
        window_positional_embedding_background_size=list(background[2:]),
        num_query_pool_stages=len(stages) - 1,
        blocks_per_stage=list(hiera.stages),
        embed_dim_per_stage=widths,
        num_attention_heads_per_stage=[hiera.heads * 2**stage for stage in stages],
        window_size_per_stage=list(hiera.windows),
        global_attention_blocks=list(hiera.global_blocks),
        mlp_ratio=state["vision_encoder.backbone.blocks.0.mlp.proj_in.weight"].shape[0] / widths[0],
    )
    vision = Sam2VisionConfig(
        backbone_config=backbone.to_dict(),
        backbone_channel_list=widths[::-1],
        backbone_feature_sizes=[[size, size] for size in tokens[:-1]],
        fpn_hidden_size=hidden,
        num_feature_levels=len(stages) - 1,
    )
    prompt = Sam2PromptEncoderConfig(
        hidden_size=hidden,
        image_size=image_size,
        patch_size=image_size // tokens[-2],
        mask_input_channels=int(state["prompt_encoder.mask_embed.conv2.weight"].shape[0]),
    )
    decoder = Sam2MaskDecoderConfig(
        hidden_size=hidden,
        mlp_dim=int(state["mask_decoder.transformer.layers.0.mlp.proj_in.weight"].shape[0]),
        num_hidden_layers=count_blocks(state, "mask_decoder.transformer.layers."),
        num_attention_heads=decoder_heads,
        attention_downsample_rate=attention.shape[1] // attention.shape[0],
        num_multimask_outputs=state["mask_decoder.mask_tokens.weight"].shape[0] - 1,
        iou_head_depth=2 + count_blocks(state, "mask_decoder.iou_prediction_head.layers."),
        iou_head_hidden_dim=int(state["mask_decoder.iou_prediction_head.proj_in.weight"].shape[0]),
    )
    return Sam2Config(
        vision_config=vision.to_dict(), prompt_encoder_config=prompt.to_dict(), mask_decoder_config=decoder.to_dict()
    )
