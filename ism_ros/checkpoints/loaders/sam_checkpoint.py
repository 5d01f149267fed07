"""SAM (Kirillov et al., 2023), from sam_vit_*_*.pth or a safetensors folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ism_ros.checkpoints.key_mapping import count_blocks, rename_keys, require_keys, require_size
from ism_ros.checkpoints.loaders.transformers_library import prepare_transformers
from ism_ros.checkpoints.model_building import build, load_folder
from ism_ros.checkpoints.reading import StateDict, read_state_dict

if TYPE_CHECKING:
    from transformers import SamConfig, SamModel

DECODER_HEADS = 8
"""Attention heads of the mask decoder in all published sizes."""
SIZES = {768: "vit_b", 1024: "vit_l", 1280: "vit_h"}
"""Published sizes by their width."""

_GAUSSIAN = "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
_POSITIONS = ("shared_image_embedding.positional_embedding", "prompt_encoder.shared_embedding.positional_embedding")
_RULES = (
    (r"^image_encoder\.blocks\.", "vision_encoder.layers."),
    (r"^image_encoder\.patch_embed\.proj\.", "vision_encoder.patch_embed.projection."),
    (r"^image_encoder\.neck\.0\.", "vision_encoder.neck.conv1."),
    (r"^image_encoder\.neck\.1\.", "vision_encoder.neck.layer_norm1."),
    (r"^image_encoder\.neck\.2\.", "vision_encoder.neck.conv2."),
    (r"^image_encoder\.neck\.3\.", "vision_encoder.neck.layer_norm2."),
    (r"^image_encoder\.", "vision_encoder."),
    (r"\.norm([1-4])\.", r".layer_norm\1."),
    (r"\.norm_final_attn\.", ".layer_norm_final_attn."),
    (r"^prompt_encoder\.mask_downscaling\.0\.", "prompt_encoder.mask_embed.conv1."),
    (r"^prompt_encoder\.mask_downscaling\.1\.", "prompt_encoder.mask_embed.layer_norm1."),
    (r"^prompt_encoder\.mask_downscaling\.3\.", "prompt_encoder.mask_embed.conv2."),
    (r"^prompt_encoder\.mask_downscaling\.4\.", "prompt_encoder.mask_embed.layer_norm2."),
    (r"^prompt_encoder\.mask_downscaling\.6\.", "prompt_encoder.mask_embed.conv3."),
    (r"^prompt_encoder\.point_embeddings\.", "prompt_encoder.point_embed."),
    (r"^mask_decoder\.output_upscaling\.0\.", "mask_decoder.upscale_conv1."),
    (r"^mask_decoder\.output_upscaling\.1\.", "mask_decoder.upscale_layer_norm."),
    (r"^mask_decoder\.output_upscaling\.3\.", "mask_decoder.upscale_conv2."),
)


def load_sam(path: Path, decoder_heads: int = DECODER_HEADS) -> SamModel:
    """Load a SAM model.

    Args:
        path: Checkpoint file, whose size is determined from its tensors, or folder in the format of the library.
        decoder_heads: Attention heads of the mask decoder of a file.

    Returns:
        SamModel of the transformers library, float32 on the CPU.

    Raises:
        CheckpointError: The checkpoint cannot be used.
        TransformersError: The library is missing or of another version.
    """
    prepare_transformers()
    from transformers import SamModel

    if path.is_dir():
        return load_folder(SamModel, path, "SAM")
    state = from_official(read_state_dict(path), path)
    config = config_of(state, decoder_heads)
    width = config.vision_config.hidden_size
    require_size("sam", SIZES.get(width), path)
    return build(lambda: SamModel(config), state, path, f"SAM {SIZES.get(width, f'of width {width}')}")


def from_official(state: StateDict, path: Path) -> StateDict:
    """Map an official checkpoint to the library's keys.

    Args:
        state: Tensors of the file.
        path: The file, for messages.

    Returns:
        The tensors under the library's keys.

    Raises:
        CheckpointError: Keys by which such a checkpoint is recognised are missing.
    """
    known_by = ["image_encoder.pos_embed", "image_encoder.blocks.0.attn.rel_pos_h", "mask_decoder.mask_tokens.weight"]
    require_keys(state, [*known_by, _GAUSSIAN], "an official SAM", path)
    rest = {key: value for key, value in state.items() if key != _GAUSSIAN}
    return rename_keys(rest, [*_RULES, *_perceptron_rules(state)]) | dict.fromkeys(_POSITIONS, state[_GAUSSIAN])


def _perceptron_rules(state: StateDict) -> list[tuple[str, str]]:
    """Make the rules for perceptrons: the library names the first and last layer, and numbers those between from 0."""
    last = count_blocks(state, "mask_decoder.iou_prediction_head.layers.") - 1
    layer = r"^(mask_decoder\.(?:iou_prediction_head|output_hypernetworks_mlps\.\d+))\.layers\."
    return [
        (rf"{layer}0\.", r"\1.proj_in."),
        (rf"{layer}{last}\.", r"\1.proj_out."),
        *((rf"{layer}{number}\.", rf"\1.layers.{number - 1}.") for number in range(1, last)),
    ]


def config_of(state: StateDict, decoder_heads: int = DECODER_HEADS) -> SamConfig:
    """Determine the architecture of a checkpoint.

    Args:
        state: Tensors under the library's keys.
        decoder_heads: Attention heads of the mask decoder, which the tensors do not tell.

    Returns:
        The library's configuration.
    """
    from transformers import SamConfig
    from transformers.models.sam.configuration_sam import (
        SamMaskDecoderConfig,
        SamPromptEncoderConfig,
        SamVisionConfig,
    )

    positions = state["vision_encoder.pos_embed"]
    grid, width = int(positions.shape[1]), int(positions.shape[3])
    patch = int(state["vision_encoder.patch_embed.projection.weight"].shape[-1])
    blocks = range(count_blocks(state, "vision_encoder.layers."))
    # a table of relative positions has a row for each difference of two: as wide as the window, or as the whole grid
    spans = [(len(state[f"vision_encoder.layers.{block}.attn.rel_pos_h"]) + 1) // 2 for block in blocks]
    hidden = int(state["mask_decoder.iou_token.weight"].shape[1])
    vision = SamVisionConfig(
        hidden_size=width,
        output_channels=hidden,
        num_hidden_layers=len(blocks),
        num_attention_heads=width // int(state["vision_encoder.layers.0.attn.rel_pos_h"].shape[1]),
        image_size=grid * patch,
        patch_size=patch,
        window_size=min(spans),
        global_attn_indexes=[block for block in blocks if spans[block] == grid],
        num_pos_feats=hidden // 2,
        mlp_dim=int(state["vision_encoder.layers.0.mlp.lin1.weight"].shape[0]),
    )
    prompt = SamPromptEncoderConfig(
        hidden_size=hidden,
        image_size=grid * patch,
        patch_size=patch,
        mask_input_channels=int(state["prompt_encoder.mask_embed.conv2.weight"].shape[0]),
    )
    decoder = SamMaskDecoderConfig(
        hidden_size=hidden,
        mlp_dim=int(state["mask_decoder.transformer.layers.0.mlp.lin1.weight"].shape[0]),
        num_hidden_layers=count_blocks(state, "mask_decoder.transformer.layers."),
        num_attention_heads=decoder_heads,
        iou_head_hidden_dim=int(state["mask_decoder.iou_prediction_head.proj_in.weight"].shape[0]),
        iou_head_depth=2 + count_blocks(state, "mask_decoder.iou_prediction_head.layers."),
        layer_norm_eps=1e-5,  # of the authors' decoder; the library's default is that of the encoder
    )
    return SamConfig(
        vision_config=vision.to_dict(), prompt_encoder_config=prompt.to_dict(), mask_decoder_config=decoder.to_dict()
    )
