"""DINOv2 from its official checkpoint layout, and the descriptor made of it."""

from __future__ import annotations

from math import prod
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import linear, silu

from ism_ros.checkpoints.catalog import checkpoint_named
from ism_ros.checkpoints.loaders.dinov2_checkpoint import load_dinov2, resized_positions
from ism_ros.checkpoints.reading import StateDict, fingerprint, read_state_dict
from ism_ros.descriptors.base import create_descriptor
from ism_ros.descriptors.dinov2 import dinov2_descriptor
from ism_ros.descriptors.vit import VitDescriptor, imagenet
from ism_ros.errors import CheckpointError

OFFICIAL = Path(__file__).parents[2] / "golden" / "dinov2_tiny_pretrain.pth"


PUBLISHED = {"vits14": (384, 12), "vitb14": (768, 12), "vitl14": (1024, 24), "vitg14": (1536, 40)}
"""Width and blocks of the sizes that the authors published, each with and without registers."""


def official_shapes(width: int, blocks: int, registers: int = 0, swiglu: bool = False) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors of an official checkpoint."""
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, width),
        "mask_token": (1, width),
        "pos_embed": (1, 1 + 37 * 37, width),
        "patch_embed.proj.weight": (width, 3, 14, 14),
        "patch_embed.proj.bias": (width,),
        "norm.weight": (width,),
        "norm.bias": (width,),
    }
    if registers:
        shapes["register_tokens"] = (1, registers, width)
    hidden = (int(width * 4 * 2 / 3) + 7) // 8 * 8
    mlp = {"w12": (2 * hidden, width), "w3": (width, hidden)} if swiglu else {
        "fc1": (4 * width, width), "fc2": (width, 4 * width)
    }  # fmt: skip
    layers = {"attn.qkv": (3 * width, width), "attn.proj": (width, width), **{f"mlp.{n}": s for n, s in mlp.items()}}
    for block in range(blocks):
        for norm in ("norm1", "norm2"):
            shapes |= {f"blocks.{block}.{norm}.{part}": (width,) for part in ("weight", "bias")}
        for scale in ("ls1", "ls2"):
            shapes[f"blocks.{block}.{scale}.gamma"] = (width,)
        for name, shape in layers.items():
            shapes[f"blocks.{block}.{name}.weight"] = shape
            shapes[f"blocks.{block}.{name}.bias"] = shape[:1]
    return shapes


def official_layout(width: int, blocks: int, registers: int = 0, swiglu: bool = False) -> StateDict:
    """Random tensors under the names of the official checkpoints."""
    generator = torch.Generator().manual_seed(0)
    shapes = official_shapes(width, blocks, registers, swiglu)
    return {key: torch.randn(shape, generator=generator) * 0.1 for key, shape in shapes.items()}


def saved(tmp_path: Path, state: StateDict) -> Path:
    path = tmp_path / "dinov2.pth"
    torch.save(state, path)
    return path


def crops(count: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    masks = torch.zeros(count, 224, 224, dtype=torch.bool)
    masks[:, 28:196, 42:140] = True
    return torch.rand(count, 3, 224, 224, generator=generator) * masks[:, None], masks


@pytest.mark.parametrize(("registers", "swiglu"), [(0, False), (4, False), (0, True), (4, True)])
def test_every_kind_of_official_checkpoint_loads(tmp_path: Path, registers: int, swiglu: bool) -> None:
    model = load_dinov2(saved(tmp_path, official_layout(64, 2, registers, swiglu)))
    with torch.inference_mode():
        tokens = model(torch.rand(1, 3, 224, 224)).last_hidden_state
    assert tokens.shape == (1, 1 + registers + 256, 64)


@pytest.mark.parametrize("registers", [0, 4])
@pytest.mark.parametrize("model", PUBLISHED)
def test_published_sizes_fit_completely(tmp_path: Path, model: str, registers: int) -> None:
    checkpoint = checkpoint_named(f"dinov2/{model}_reg" if registers else f"dinov2/{model}")
    width, blocks = PUBLISHED[model]
    shapes = official_shapes(width, blocks, registers, swiglu=model == "vitg14")
    assert checkpoint.size_bytes is not None
    beside_numbers = checkpoint.size_bytes - 4 * sum(prod(shape) for shape in shapes.values())
    assert 0 < beside_numbers < 400 * len(shapes), "these are not the shapes of the published file"
    path = tmp_path / checkpoint.file_name
    torch.save({key: torch.zeros(()).expand(shape) for key, shape in shapes.items()}, path)
    config = load_dinov2(path).config
    assert (config.hidden_size, config.num_hidden_layers) == (width, blocks)
    assert config.num_attention_heads == width // 64


def test_registers_where_the_official_name_has_none_are_refused(tmp_path: Path) -> None:
    shapes = official_shapes(*PUBLISHED["vits14"], registers=4)
    file = tmp_path / checkpoint_named("dinov2/vits14").file_name
    torch.save({key: torch.zeros(()).expand(shape) for key, shape in shapes.items()}, file)
    with pytest.raises(CheckpointError, match="expected dinov2/vits14, found dinov2/vits14_reg"):
        load_dinov2(file)


def test_the_gate_of_a_swiglu_layer_is_its_first_half(tmp_path: Path) -> None:
    state = official_layout(64, 1, swiglu=True)
    layer = load_dinov2(saved(tmp_path, state)).encoder.layer[0].mlp
    x = torch.rand(3, 64)
    w12, w3 = ((state[f"blocks.0.mlp.{name}.weight"], state[f"blocks.0.mlp.{name}.bias"]) for name in ("w12", "w3"))
    first, second = linear(x, *w12).chunk(2, dim=-1)
    expected = linear(silu(first) * second, *w3)
    torch.testing.assert_close(layer(x), expected)


def test_registers_are_not_patches(tmp_path: Path) -> None:
    descriptor = dinov2_descriptor(saved(tmp_path, official_layout(64, 1, registers=4)))
    assert descriptor.describe(*crops(2)).patch_tokens.shape == (2, 256, 64)


def test_positions_with_registers_are_resized_to_the_grid_itself() -> None:
    ramp = torch.arange(37.0).repeat_interleave(37)[None, :, None]
    positions = torch.cat([torch.zeros(1, 1, 1), ramp], dim=1)
    with_registers, without = (resized_positions(positions, 16, flag)[0, 1:, 0].view(16, 16) for flag in (True, False))
    assert with_registers.mean() == pytest.approx(18.0, abs=1e-3)
    assert (with_registers - without).abs().max() > 0.01


def test_a_folder_of_the_library_gives_the_same_tokens(tmp_path: Path) -> None:
    official = load_dinov2(saved(tmp_path, official_layout(64, 2, registers=4)), image_size=518)
    official.save_pretrained(tmp_path / "folder")
    pixels = torch.rand(1, 3, 224, 224)
    with torch.inference_mode():
        expected = load_dinov2(tmp_path / "dinov2.pth")(pixels).last_hidden_state
        found = load_dinov2(tmp_path / "folder")(pixels).last_hidden_state
    torch.testing.assert_close(found, expected)


def test_a_checkpoint_of_another_model_is_refused() -> None:
    with pytest.raises(CheckpointError, match="is not an official DINOv2: expected the key 'pos_embed', found"):
        load_dinov2(OFFICIAL.with_name("sam_tiny.pth"))


def test_a_key_missing_or_left_over_is_named(tmp_path: Path) -> None:
    state = official_layout(64, 1)
    state["head.weight"] = state.pop("blocks.0.ls1.gamma")
    with pytest.raises(CheckpointError, match=r"missing .*layer_scale1.*; 1 keys are not known .head.weight"):
        load_dinov2(saved(tmp_path, state))


def test_tokens_are_unit_rows_and_zero_outside_the_mask() -> None:
    described = dinov2_descriptor(OFFICIAL, heads=4).describe(*crops(3))
    torch.testing.assert_close(described.class_tokens.norm(dim=1), torch.ones(3))
    length = described.patch_tokens.norm(dim=2).view(3, 16, 16)
    expected = torch.zeros(3, 16, 16)
    expected[:, 2:14, 3:10] = 1
    torch.testing.assert_close(length, expected)


def test_proposals_are_normalised_before_and_templates_after_masking() -> None:
    descriptor = dinov2_descriptor(OFFICIAL, heads=4)
    crop, mask = crops(1)
    proposal, template = descriptor.describe(crop, mask), descriptor.describe_templates(crop, mask)
    # a proposal's background is the mean color: an image that has it there already is the same proposal
    filled = torch.where(mask[:, None], crop, torch.tensor([0.485, 0.456, 0.406])[None, :, None, None])
    torch.testing.assert_close(descriptor.describe_templates(filled, mask).class_tokens, proposal.class_tokens)
    assert (proposal.class_tokens - template.class_tokens).abs().max() > 1e-3


def test_templates_can_be_left_as_they_are() -> None:
    raw = dinov2_descriptor(OFFICIAL, template_normalization="none", heads=4)
    normalised = dinov2_descriptor(OFFICIAL, heads=4)
    crop, mask = crops(1)
    std, mean = torch.tensor([0.229, 0.224, 0.225]), torch.tensor([0.485, 0.456, 0.406])
    undone = crop * std[None, :, None, None] + mean[None, :, None, None]
    torch.testing.assert_close(imagenet(undone), crop, atol=1e-6, rtol=0)
    torch.testing.assert_close(
        raw.describe_templates(crop, mask).class_tokens,
        normalised.describe_templates(undone, mask).class_tokens,
        atol=1e-5,
        rtol=0,
    )
    assert raw.fingerprint != normalised.fingerprint


def test_the_size_of_chunks_changes_nothing() -> None:
    model = load_dinov2(OFFICIAL, heads=4)
    whole, pieces = (VitDescriptor("dinov2", model, "", chunk=chunk).describe(*crops(5)) for chunk in (5, 2))
    torch.testing.assert_close(whole.patch_tokens, pieces.patch_tokens)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_agrees_with_float32(dtype: torch.dtype) -> None:
    exact = dinov2_descriptor(OFFICIAL, heads=4).describe(*crops(2))
    half = VitDescriptor("dinov2", load_dinov2(OFFICIAL, heads=4), "", dtype=dtype).describe(*crops(2))
    for tokens in ("class_tokens", "patch_tokens"):
        ours, reference = getattr(half, tokens), getattr(exact, tokens)
        cosine = (ours * reference).sum(dim=-1)[reference.norm(dim=-1) > 0]
        assert cosine.min() > 0.998


def test_no_crops_give_no_tokens() -> None:
    described = dinov2_descriptor(OFFICIAL, heads=4).describe(*crops(0))
    assert described.class_tokens.shape == (0, 48)
    assert described.patch_tokens.shape == (0, 256, 48)


def test_the_fingerprint_is_of_the_tensors_not_of_the_file_name(tmp_path: Path) -> None:
    state = read_state_dict(OFFICIAL)
    for name in ("first.pth", "second.pth"):
        torch.save(state, tmp_path / name)
    changed = {**state, "norm.bias": state["norm.bias"] + 1e-3}
    torch.save(changed, tmp_path / "changed.pth")
    first, second, other = (fingerprint(tmp_path / name) for name in ("first.pth", "second.pth", "changed.pth"))
    assert first == second != other


def test_a_pickled_program_is_not_run(tmp_path: Path) -> None:
    class Program:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "was_run",))

    torch.save({"cls_token": Program()}, tmp_path / "evil.pth")
    with pytest.raises(CheckpointError, match="holds more than tensors"):
        load_dinov2(tmp_path / "evil.pth")
    assert not (tmp_path / "was_run").exists()


def test_half_a_file_is_told_as_damaged(tmp_path: Path) -> None:
    (tmp_path / "half.pth").write_bytes(OFFICIAL.read_bytes()[:300_000])
    with pytest.raises(CheckpointError, match="damaged or half downloaded"):
        load_dinov2(tmp_path / "half.pth")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<html>404</html>", "is no file of PyTorch, it begins with b'<html>404</html>'"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\n", "begins with b'version https://git-lfs"),
        (bytes(1000), "is no file of PyTorch"),
        (b"", r"is damaged or half downloaded \(it is empty\)"),
        (OFFICIAL.read_bytes()[:-1000], r"is damaged or half downloaded \(its end is missing\)"),
    ],
    ids=["web page", "pointer", "zeros", "empty", "cut short"],
)
def test_what_is_no_checkpoint_at_all_is_told_as_what_it_is(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "dinov2.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=said) as refused:
        load_dinov2(tmp_path / "dinov2.pth")
    assert "`ism weights verify` says how" in str(refused.value)
    assert "weights_only" not in str(refused.value)


def test_an_unknown_model_is_told_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="dinov2 model 'vits15' is unknown; choose one of vits14"):
        create_descriptor("dinov2", model="vits15", checkpoints_dir=tmp_path)
