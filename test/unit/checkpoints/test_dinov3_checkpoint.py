"""DINOv3 against the numbers of the public implementation, and checkpoints that cannot be used."""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import numpy as np
import pytest
import torch
from dummy_networks import dinov3_weights as weights
from torch import Tensor
from torch.nn.functional import normalize

from ism_ros.checkpoints.loaders.dinov3_checkpoint import SIZES, TRAINING_PART, config_of, from_official, load_dinov3
from ism_ros.checkpoints.model_building import build
from ism_ros.checkpoints.reading import StateDict
from ism_ros.descriptors.dinov3 import dinov3_descriptor
from ism_ros.descriptors.vit import imagenet
from ism_ros.errors import CheckpointError

DATA = Path(__file__).parents[2] / "data" / "dinov3"
KINDS = ("mlp", "swiglu", "swiglu_unbiased")
PERIODS = "rope_embed.periods"


def load(kind: str) -> dict[str, Tensor]:
    with np.load(DATA / f"{kind}.npz") as archive:
        return {key: torch.from_numpy(archive[key]) for key in archive}


def crops(kind: str) -> Tensor:
    small = load(kind)["crops_quarter_size"].float() / 255
    return small.repeat_interleave(4, 2).repeat_interleave(4, 3)


def saved(state: StateDict, folder: Path) -> Path:
    file = folder / "dinov3_small_random.pth"
    torch.save(state, file)
    return file


def keys_and_shapes() -> dict[str, dict[str, list[int]]]:
    text = lzma.decompress((DATA / "official_keys.json.xz").read_bytes())
    content: dict[str, dict[str, list[int]]] = json.loads(text)
    return content


def assert_agrees(ours: Tensor, reference: Tensor) -> None:
    assert ours.shape == reference.shape
    torch.testing.assert_close(ours, reference, rtol=0.0, atol=1e-4 * float(reference.abs().max()))


@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_tokens_are_those_of_the_public_implementation(kind: str, tmp_path: Path) -> None:
    model = load_dinov3(saved(weights(kind), tmp_path))
    tokens = model(imagenet(crops(kind))).last_hidden_state
    assert_agrees(tokens[:, 0], load(kind)["class_tokens"])
    assert_agrees(tokens[:, 1 + model.config.num_register_tokens :], load(kind)["patch_tokens"])


@pytest.mark.parametrize("kind", KINDS)
def test_descriptors_are_the_tokens_without_registers_as_unit_rows(kind: str, tmp_path: Path) -> None:
    descriptor = dinov3_descriptor(saved(weights(kind), tmp_path))
    described = descriptor.describe(crops(kind), torch.ones((2, 224, 224), dtype=torch.bool))
    assert_agrees(described.class_tokens, normalize(load(kind)["class_tokens"], dim=-1))
    assert_agrees(described.patch_tokens, normalize(load(kind)["patch_tokens"], dim=-1))


def test_a_crop_has_14_x_14_patches_and_those_outside_the_mask_are_zero(tmp_path: Path) -> None:
    descriptor = dinov3_descriptor(saved(weights("mlp"), tmp_path))
    masks = torch.zeros((2, 224, 224), dtype=torch.bool)
    masks[:, :112, 32:] = True
    shown = descriptor.describe(crops("mlp"), masks).patch_tokens.norm(dim=-1).reshape(2, 14, 14)
    expected = torch.zeros(14, 14)
    expected[:7, 2:] = 1.0
    torch.testing.assert_close(shown, expected.expand(2, 14, 14))


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_tokens_point_where_float32_tokens_do(kind: str, tmp_path: Path) -> None:
    file, masks = saved(weights(kind), tmp_path), torch.ones((2, 224, 224), dtype=torch.bool)
    full = dinov3_descriptor(file).describe(crops(kind), masks)
    half = dinov3_descriptor(file, dtype=torch.bfloat16).describe(crops(kind), masks)
    assert (full.class_tokens * half.class_tokens).sum(dim=-1).min() > 0.999
    assert (full.patch_tokens * half.patch_tokens).sum(dim=-1).min() > 0.999


def test_positions_turn_by_the_periods_of_the_checkpoint(tmp_path: Path) -> None:
    state = weights("mlp")
    model = load_dinov3(saved({**state, PERIODS: state[PERIODS] * 1.5}, tmp_path))
    torch.testing.assert_close(model.rope_embeddings.inv_freq * 1.5, 1 / state[PERIODS])


@pytest.mark.parametrize("kind", KINDS)
def test_every_tensor_has_its_place(kind: str) -> None:
    state = weights(kind)
    known = {key for key in state if key == PERIODS or key in TRAINING_PART or key.endswith("bias_mask")}
    numbers = {key: index for index, key in enumerate(state)}
    numbered = {key: value if key in known else torch.full_like(value, numbers[key]) for key, value in state.items()}
    arrived = {float(number) for value in from_official(numbered, Path()).values() for number in value.unique()}
    assert arrived == {number for key, number in numbers.items() if key not in known}


@pytest.mark.parametrize("name", keys_and_shapes())
def test_published_sizes_fit_completely(name: str) -> None:
    from transformers import DINOv3ViTModel

    def tensor(key: str, shape: list[int]) -> Tensor:
        if key.endswith("bias_mask"):
            return torch.tensor([1.0, 0.0, 1.0]).repeat_interleave(shape[0] // 3)
        return torch.zeros(()).expand(shape)

    shapes = keys_and_shapes()[name]
    state = from_official({key: tensor(key, shape) for key, shape in shapes.items()}, Path(name))
    config = config_of(state, torch.zeros(shapes[PERIODS]))
    with torch.device("meta"):
        build(lambda: DINOv3ViTModel(config), state, Path(name), name)
    assert name == f"dinov3_{SIZES[config.hidden_size, config.use_gated_mlp]}"
    assert config.hidden_size // config.num_attention_heads == (128 if name == "dinov3_vit7b16" else 64)


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_tensor_is_told_whichever_it_is(kind: str, tmp_path: Path) -> None:
    state = weights(kind)
    for key in state.keys() - {*TRAINING_PART}:
        file = saved({other: value for other, value in state.items() if other != key}, tmp_path)
        with pytest.raises(CheckpointError, match=r"expected the key|keys are missing|keys are not known"):
            load_dinov3(file)


def test_a_tensor_too_many_is_refused(tmp_path: Path) -> None:
    file = saved({**weights("mlp"), "cls_norm.weight": torch.zeros(32)}, tmp_path)
    with pytest.raises(CheckpointError, match=r"1 keys are not known \(cls_norm.weight"):
        load_dinov3(file)


def test_a_tensor_of_another_shape_is_refused_with_both_shapes(tmp_path: Path) -> None:
    file = saved({**weights("mlp"), "blocks.1.ls1.gamma": torch.zeros(31)}, tmp_path)
    with pytest.raises(CheckpointError, match=r"layer_scale1.lambda1: expected \(32,\), found \(31,\)"):
        load_dinov3(file)


def test_a_mask_that_was_never_filled_is_refused(tmp_path: Path) -> None:
    state = weights("mlp")
    key = "blocks.1.attn.qkv.bias_mask"
    file = saved({**state, key: torch.full_like(state[key], torch.nan)}, tmp_path)
    with pytest.raises(CheckpointError, match=rf"expected '{key}' to be 1 for queries and values"):
        load_dinov3(file)


def test_periods_that_do_not_fit_the_width_are_refused(tmp_path: Path) -> None:
    file = saved({**weights("mlp"), PERIODS: torch.ones(5)}, tmp_path)
    with pytest.raises(CheckpointError, match="width 32, found 5 periods"):
        load_dinov3(file)


def test_dinov2_is_refused(tmp_path: Path) -> None:
    state = {key: value for key, value in weights("mlp").items() if key != PERIODS}
    file = saved({**state, "pos_embed": torch.zeros(1, 197, 32)}, tmp_path)
    with pytest.raises(CheckpointError, match=rf"not an official DINOv3: expected the key '{PERIODS}', found 53 keys"):
        load_dinov3(file)


@pytest.mark.parametrize("kind", KINDS)
def test_a_safetensors_folder_gives_the_same_model(kind: str, tmp_path: Path) -> None:
    model = load_dinov3(saved(weights(kind), tmp_path))
    folder = tmp_path / "folder"
    model.save_pretrained(folder)
    again = load_dinov3(folder)
    torch.testing.assert_close(again.rope_embeddings.inv_freq, model.rope_embeddings.inv_freq)
    for key, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[key], value)


def test_a_folder_of_several_files_is_loaded_and_named_by_all_of_them(tmp_path: Path) -> None:
    model = load_dinov3(saved(weights("mlp"), tmp_path))
    names = set()
    for scale in (1.0, 2.0):
        model.embeddings.cls_token.data *= scale
        folder = tmp_path / f"folder{scale}"
        model.save_pretrained(folder, max_shard_size="100KB")
        assert len(list(folder.glob("*.safetensors"))) > 1
        names.add(dinov3_descriptor(folder).fingerprint)
    assert len(names) == 2


def test_a_folder_of_another_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "dinov3_convnext"}')
    with pytest.raises(CheckpointError, match="expected model_type 'dinov3_vit', found 'dinov3_convnext'"):
        load_dinov3(tmp_path)
