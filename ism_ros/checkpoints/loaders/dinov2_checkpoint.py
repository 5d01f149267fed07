"""DINOv2 (Oquab et al., 2023), with and without registers, from dinov2_vit*14*_pretrain.pth or a safetensors folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from ism_ros.checkpoints.key_mapping import count_blocks, rename_keys, require_keys, require_size, split_qkv
from ism_ros.checkpoints.loaders.transformers_library import prepare_transformers
from ism_ros.checkpoints.model_building import build, load_folder, model_type
from ism_ros.checkpoints.reading import StateDict, read_state_dict
from ism_ros.errors import CheckpointError

HEAD_SIZE = 64
"""Channels of an attention head in all published sizes."""
SIZES = {384: "vits14", 768: "vitb14", 1024: "vitl14", 1536: "vitg14"}
"""Published sizes by their width."""
OFFSET = 0.1
"""Number that the authors add to the grid they resize the position embedding to, before dividing by its size."""

_RULES = (
    (r"^(cls_token|mask_token|register_tokens)$", r"embeddings.\1"),
    (r"^pos_embed$", "embeddings.position_embeddings"),
    (r"^patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
    (r"^blocks\.(\d+)\.", r"encoder.layer.\1."),
    (r"\.attn\.(q|k|v)_proj\.", r".attention.\1_proj."),
    (r"\.attn\.proj\.", ".attention.o_proj."),
    (r"\.ls([12])\.gamma$", r".layer_scale\1.lambda1"),
    (r"\.mlp\.w3\.", ".mlp.down_proj."),
    (r"^norm\.", "layernorm."),
)


def load_dinov2(path: Path, image_size: int = 224, heads: int | None = None) -> nn.Module:
    """Load a DINOv2 model.

    Args:
        path: Checkpoint file, or folder in the format of the transformers library.
        image_size: Side of the square images that it will see, pixels.
        heads: Attention heads; None = one for every HEAD_SIZE channels, as in all published sizes.

    Returns:
        Dinov2Model or Dinov2WithRegistersModel of the transformers library, float32 on the CPU.

    Raises:
        CheckpointError: The checkpoint cannot be used.
        TransformersError: The library is missing or of another version.
    """
    prepare_transformers()
    from transformers import Dinov2Config, Dinov2Model, Dinov2WithRegistersConfig, Dinov2WithRegistersModel

    if path.is_dir():
        return _load_folder(path, image_size)
    state = from_official(read_state_dict(path), path)
    patch, width = state["embeddings.patch_embeddings.projection.weight"].shape[-1], state["layernorm.weight"].shape[0]
    registers = state.get("embeddings.register_tokens")
    state["embeddings.position_embeddings"] = resized_positions(
        state["embeddings.position_embeddings"], image_size // patch, with_registers=registers is not None
    )
    options: dict[str, Any] = {
        "hidden_size": width,
        "num_hidden_layers": count_blocks(state, "encoder.layer."),
        "num_attention_heads": heads or max(1, width // HEAD_SIZE),
        "image_size": image_size,
        "patch_size": patch,
        "use_swiglu_ffn": "encoder.layer.0.mlp.gate_proj.weight" in state,
    }
    size = SIZES.get(width)
    require_size("dinov2", size and (size if registers is None else f"{size}_reg"), path)
    what = f"DINOv2 {size or f'of width {width}'}"
    if registers is None:
        return build(lambda: Dinov2Model(Dinov2Config(**options)), state, path, what)
    options["num_register_tokens"] = registers.shape[1]
    return build(
        lambda: Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**options)), state, path, f"{what} with registers"
    )


def _load_folder(path: Path, image_size: int) -> nn.Module:
    from transformers import Dinov2Model, Dinov2WithRegistersModel

    with_registers = model_type(path) == Dinov2WithRegistersModel.config_class.model_type
    model = load_folder(Dinov2WithRegistersModel if with_registers else Dinov2Model, path, "DINOv2")
    grid = image_size // model.config.patch_size
    positions = resized_positions(model.embeddings.position_embeddings, grid, with_registers)
    model.embeddings.position_embeddings = nn.Parameter(positions, requires_grad=False)
    model.config.image_size = image_size
    return model


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
    require_keys(
        state, ["pos_embed", "patch_embed.proj.weight", "blocks.0.attn.qkv.weight"], "an official DINOv2", path
    )
    return split_gates(rename_keys(split_qkv(state, "qkv", ("q_proj", "k_proj", "v_proj")), _RULES))


def split_gates(state: StateDict) -> StateDict:
    """Split SwiGLU layers (vitg14) into the gate and what it lets through, as the library keeps them.

    Args:
        state: Tensors of a checkpoint.

    Returns:
        The tensors with these split.
    """
    result: StateDict = {}
    for key, value in state.items():
        if ".mlp.w12." in key:
            gate, up = value.chunk(2)
            result[key.replace(".w12.", ".gate_proj.")] = gate
            result[key.replace(".w12.", ".up_proj.")] = up
        else:
            result[key] = value
    return result


def resized_positions(positions: Tensor, grid: int, with_registers: bool) -> Tensor:
    """Resize position embeddings to another grid of patches.

    As the authors do it: without registers by the factor (grid + OFFSET) / G, with registers to the size itself,
    antialiased. The library resizes to the size in both cases, which changes patch tokens by up to 3 %.

    Args:
        positions: (1, 1 + G * G, D), the class token's first.
        grid: Patches along a side.
        with_registers: Whether the model has register tokens.

    Returns:
        (1, 1 + grid * grid, D).

    Raises:
        CheckpointError: The patches are no square grid.
    """
    own = round((positions.shape[1] - 1) ** 0.5)
    if own * own != positions.shape[1] - 1:
        raise CheckpointError(f"position embeddings of {positions.shape[1] - 1} patches are not a square grid")
    if own == grid:
        return positions
    square = positions[:, 1:].float().reshape(1, own, own, -1).permute(0, 3, 1, 2)
    if with_registers:
        square = interpolate(square, size=(grid, grid), mode="bicubic", antialias=True)
    else:
        factor = (grid + OFFSET) / own
        square = interpolate(square, scale_factor=(factor, factor), mode="bicubic")
    flat = square.permute(0, 2, 3, 1).reshape(1, grid * grid, -1)
    return torch.cat([positions[:, :1], flat.to(positions.dtype)], dim=1)
