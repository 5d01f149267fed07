"""DINOv3 (Siméoni et al., 2025), from dinov3_vit*16*_pretrain_lvd1689m-*.pth or a safetensors folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ism_ros.checkpoints.key_mapping import count_blocks, rename_keys, require_keys, require_size, split_qkv
from ism_ros.checkpoints.loaders.transformers_library import prepare_transformers
from ism_ros.checkpoints.model_building import build, load_folder
from ism_ros.checkpoints.reading import StateDict, read_state_dict
from ism_ros.errors import CheckpointError

if TYPE_CHECKING:
    from transformers import DINOv3ViTConfig, DINOv3ViTModel

SIZES = {
    (384, False): "vits16",
    (384, True): "vits16plus",
    (768, False): "vitb16",
    (1024, False): "vitl16",
    (1024, True): "vitl16plus",
    (1280, True): "vith16plus",
    (4096, True): "vit7b16",
}
"""The published sizes by their width and whether their perceptrons have gates."""

TRAINING_PART = ("local_cls_norm.weight", "local_cls_norm.bias")
"""Keys of what only training uses: the norm of the class tokens of small crops (vit7b16)."""

_PERIODS = "rope_embed.periods"
_NEEDED = (
    "cls_token",
    "storage_tokens",
    "mask_token",
    _PERIODS,
    "patch_embed.proj.weight",
    "blocks.0.attn.qkv.weight",
    "norm.weight",
)

_RULES = (
    (r"^(cls_token|mask_token)$", r"embeddings.\1"),
    (r"^storage_tokens$", "embeddings.register_tokens"),
    (r"^patch_embed\.proj\.", "embeddings.patch_embeddings."),
    (r"^blocks\.(\d+)\.", r"model.layer.\1."),
    (r"\.attn\.(q|k|v)_proj\.", r".attention.\1_proj."),
    (r"\.attn\.proj\.", ".attention.o_proj."),
    (r"\.ls([12])\.gamma$", r".layer_scale\1.lambda1"),
    (r"\.mlp\.fc1\.", ".mlp.up_proj."),
    (r"\.mlp\.fc2\.", ".mlp.down_proj."),
    (r"\.mlp\.w1\.", ".mlp.gate_proj."),
    (r"\.mlp\.w2\.", ".mlp.up_proj."),
    (r"\.mlp\.w3\.", ".mlp.down_proj."),
)


def load_dinov3(path: Path, image_size: int = 224) -> DINOv3ViTModel:
    """Load a DINOv3 model.

    Args:
        path: Checkpoint file, or folder in the format of the transformers library.
        image_size: Side of the square images that it will see, pixels.

    Returns:
        DINOv3ViTModel of the transformers library, float32 on the CPU.

    Raises:
        CheckpointError: The checkpoint cannot be used.
        TransformersError: The library is missing or of another version.
    """
    prepare_transformers()
    from transformers import DINOv3ViTModel

    if path.is_dir():
        model: DINOv3ViTModel = load_folder(DINOv3ViTModel, path, "DINOv3")
        model.config.image_size = image_size
        return model
    official = read_state_dict(path)
    state = from_official(official, path)
    periods = official[_PERIODS]
    if len(periods) == 0 or state["norm.weight"].shape[0] % (4 * len(periods)):
        raise CheckpointError(
            f"checkpoint {path} does not fit DINOv3: expected '{_PERIODS}' to divide a quarter of the width "
            f"{state['norm.weight'].shape[0]}, found {len(periods)} periods"
        )
    config = config_of(state, periods, image_size)
    size = SIZES.get((config.hidden_size, config.use_gated_mlp))
    require_size("dinov3", size, path)
    model = build(lambda: DINOv3ViTModel(config), state, path, f"DINOv3 {size or f'of width {config.hidden_size}'}")
    model.rope_embeddings.inv_freq = 1 / periods.float()
    return model


def from_official(state: StateDict, path: Path) -> StateDict:
    """Map an official checkpoint to the library's keys.

    Args:
        state: Tensors of the file.
        path: The file, for messages.

    Returns:
        The tensors under the library's keys, but for the periods of its positions.

    Raises:
        CheckpointError: Keys by which such a checkpoint is recognised are missing.
    """
    biases = [key for key in state if key.endswith(".attn.qkv.bias")]
    masks = [f"{key}_mask" for key in biases]
    require_keys(state, [*_NEEDED, *masks], "an official DINOv3", path)
    for key in masks:
        _check_bias_mask(key, state[key], path)
    left_out = {_PERIODS, *TRAINING_PART, *masks}
    rest = {key: value for key, value in state.items() if key not in left_out}
    result = rename_keys(split_qkv(rest, "qkv", ("q_proj", "k_proj", "v_proj")), _RULES)
    result["embeddings.mask_token"] = state["mask_token"][None]
    return {key: value for key, value in result.items() if not key.endswith(".attention.k_proj.bias")}


def _check_bias_mask(key: str, mask: Tensor, path: Path) -> None:
    """Check the mask by which the authors' files take away the bias of the keys, which the library does not have.

    Raises:
        CheckpointError: It is not 1 for queries and values and 0 for keys.
    """
    queries, keys, values = mask.float().chunk(3)
    if not (torch.all(queries == 1) and torch.all(keys == 0) and torch.all(values == 1)):
        raise CheckpointError(
            f"checkpoint {path} does not fit DINOv3: expected '{key}' to be 1 for queries and values and 0 for "
            "keys, found other numbers"
        )


def config_of(state: StateDict, periods: Tensor, image_size: int = 224) -> DINOv3ViTConfig:
    """Determine the architecture of a checkpoint.

    Args:
        state: Tensors under the library's keys.
        periods: Periods of the rotary positions, one for each four channels of an attention head.
        image_size: Side of the square images that the model will see, pixels.

    Returns:
        The library's configuration.
    """
    from transformers import DINOv3ViTConfig

    width = int(state["norm.weight"].shape[0])
    first = "model.layer.0"
    gated = f"{first}.mlp.gate_proj.weight" in state
    up = state.get(f"{first}.mlp.up_proj.weight")
    return DINOv3ViTConfig(
        patch_size=int(state["embeddings.patch_embeddings.weight"].shape[-1]),
        hidden_size=width,
        intermediate_size=4 * width if up is None else int(up.shape[0]),
        num_hidden_layers=count_blocks(state, "model.layer."),
        num_attention_heads=width // (4 * len(periods)),
        hidden_act="silu" if gated else "gelu",
        image_size=image_size,
        query_bias=f"{first}.attention.q_proj.bias" in state,
        key_bias=False,
        value_bias=f"{first}.attention.v_proj.bias" in state,
        proj_bias=f"{first}.attention.o_proj.bias" in state,
        mlp_bias=f"{first}.mlp.up_proj.bias" in state,
        use_gated_mlp=gated,
        num_register_tokens=int(state["embeddings.register_tokens"].shape[1]),
    )
