"""The learned default at run time: shapes, missing modalities, sizes, weights that do not fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from ism_ros.checkpoints.shipped import FOLDER, fold_norms, load_weights
from ism_ros.data.camera import Camera
from ism_ros.data.frame import Frame
from ism_ros.descriptors.base import DESCRIPTORS, create_descriptor, sees_depth
from ism_ros.descriptors.tiny.descriptor_network import (
    CANONICAL_HALF_SIDE,
    COLORS,
    DEPTH,
    DEPTH_GAIN,
    INPUT_CHANNELS,
    MASK,
    MEASURED,
    TinyDescriptorNetwork,
    canonical_frame,
    network_input,
    small_image,
)
from ism_ros.errors import CheckpointError
from ism_ros.runtime.model_request import ModelRequest
from ism_ros.segmentors.base import create_segmentor
from ism_ros.segmentors.tiny.input_channels import CHANNELS, encode, working_size
from ism_ros.segmentors.tiny.segmentor_network import TinyNetwork
from ism_ros.sim.benchmark_scenes.known_objects import known_objects, make_scene_object
from ism_ros.sim.benchmark_scenes.scene_rendering import observe
from ism_ros.sim.benchmark_scenes.table_scene import make_scene
from ism_ros.sim.demo.truth_comparison import iou_of


def make_frame(height: int = 120, width: int = 160, depth: bool = True) -> Frame:
    """A box on a plane, seen from above."""
    rng = np.random.default_rng(0)
    rgb = rng.integers(90, 110, (height, width, 3)).astype(np.uint8)
    depth_m = np.full((height, width), 0.8, np.float32)
    box = slice(height // 3, 2 * height // 3), slice(width // 3, 2 * width // 3)
    rgb[box] = (200, 40, 30)
    depth_m[box] = 0.7
    focal = 0.96 * width
    camera = Camera(np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]]), width, height)
    return Frame(rgb=rgb, depth_m=depth_m if depth else None, camera=camera)


@pytest.fixture
def segmentor_weights(tmp_path: Path) -> Path:
    """Of a network that was never trained, so confident that it says something everywhere."""
    torch.manual_seed(0)
    network = TinyNetwork()
    nn.init.constant_(network.score.bias, 1.0)  # type: ignore[arg-type]
    file = tmp_path / "segmentor.safetensors"
    save_file({k: v.half() for k, v in network.state_dict().items() if not k.endswith("tracked")}, file)
    return file


@pytest.fixture
def descriptor_weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    file = tmp_path / "descriptor.safetensors"
    state = TinyDescriptorNetwork().state_dict()
    save_file({k: v.half() for k, v in state.items() if not k.endswith("tracked")}, file)
    return file


@pytest.mark.parametrize("size", [(480, 640), (481, 639), (120, 160), (720, 1280), (300, 200), (17, 400)])
def test_masks_have_the_size_of_any_frame(segmentor_weights: Path, size: tuple[int, int]) -> None:
    segmentor = create_segmentor("tiny", model=str(segmentor_weights))
    proposals = segmentor.propose(make_frame(*size))
    assert 0 < len(proposals) <= 60
    assert proposals.masks.shape[1:] == size
    assert proposals.masks.flatten(1).any(dim=1).all()
    assert bool((proposals.confidence.diff() <= 1e-6).all())
    assert 0 <= float(proposals.confidence.min()) <= float(proposals.confidence.max()) <= 1


@pytest.mark.parametrize("what", ["no depth", "no readings", "few pixels"])
def test_a_frame_without_depth_or_too_small_is_segmented_all_the_same(segmentor_weights: Path, what: str) -> None:
    segmentor = create_segmentor("tiny", model=str(segmentor_weights))
    frame = make_frame(depth=what != "no depth")
    if what == "no readings":
        frame = replace(frame, depth_m=np.zeros((120, 160), np.float32))
    if what == "few pixels":
        frame = make_frame(8, 8)
    assert segmentor.propose(frame).masks.shape[1:] == (frame.height, frame.width)


def test_depth_is_encoded_as_shape() -> None:
    depth_m = np.full((60, 80), 1.0, np.float32)
    depth_m[:, 40:] += 0.02
    depth_m[10:14, 10:14] = 0
    pixels = encode(None, depth_m, (80.0, 80.0, 40.0, 30.0))
    assert pixels.shape == (CHANNELS, 60, 80)
    assert not pixels[:3].any()
    np.testing.assert_allclose(pixels[3:6, 30, 20], (0, 0, -1), atol=0.02)
    np.testing.assert_allclose(np.linalg.norm(pixels[3:6, 5:55, 60], axis=0), 1, atol=1e-5)
    assert pixels[9].mean() == pytest.approx(1 - 16 / 4800)
    assert pixels[6, 30, 38] < 0 < pixels[6, 30, 42]


def test_the_working_size_keeps_the_shape_of_the_frame() -> None:
    assert working_size(480, 640) == (240, 320)
    height, width = working_size(720, 1280)
    assert width / height == pytest.approx(16 / 9, rel=0.02)


def test_tokens_have_length_one_and_are_zero_outside_the_mask(descriptor_weights: Path) -> None:
    descriptor = create_descriptor("tiny", model=str(descriptor_weights))
    crops, masks = torch.rand(5, 3, 96, 96), torch.zeros(5, 96, 96, dtype=torch.bool)
    masks[:, 20:60, 10:90] = True
    described = descriptor.describe(crops, masks)
    torch.testing.assert_close(described.class_tokens.norm(dim=1), torch.ones(5))
    length = described.patch_tokens.norm(dim=2)
    assert bool(((length < 1e-6) | ((length - 1).abs() < 1e-4)).all())
    assert bool((length < 1e-6).any())
    assert descriptor.describe(crops[:0], masks[:0]).class_tokens.shape == (0, described.class_tokens.shape[1])


def test_a_rotation_of_the_crop_changes_little_of_what_the_network_sees() -> None:
    masks = torch.zeros(1, 96, 96, dtype=torch.bool)
    masks[0, 30:60, 10:80] = True
    masks[0, 20:70, 10:25] = True
    crops = torch.rand(1, 3, 96, 96).round() * 0.2 + torch.linspace(0.2, 0.8, 96)
    turned = network_input(crops.rot90(1, (2, 3)), masks.rot90(1, (1, 2)))
    as_it_was = network_input(crops, masks)
    assert float((turned - as_it_was).abs().mean()) < 0.02


def crops_and_masks() -> tuple[Tensor, Tensor]:
    """Of a usual crop, one of a single color, a small one and an empty one."""
    masks = torch.zeros(4, 96, 96, dtype=torch.bool)
    masks[:2, 20:60, 10:90] = True
    masks[2, 40:48, 44:50] = True
    crops = torch.rand(4, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    crops[1] = 0.7
    return crops * masks[:, None], masks


def test_the_canonical_frame_is_sampled_as_pytorch_samples_an_affine_grid() -> None:
    crops, masks = crops_and_masks()
    inside, nothing = masks[:, None].float(), torch.zeros(4, 2, 96, 96)
    pixels = torch.cat([(crops * 2 - 1) * inside, inside, nothing], dim=1)
    grid = F.affine_grid(canonical_frame(masks), list(pixels.shape), align_corners=False)
    expected = F.grid_sample(pixels, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    torch.testing.assert_close(network_input(crops, masks), expected, atol=1e-4, rtol=0)


def test_the_small_image_is_the_mean_of_colors_of_even_contrast() -> None:
    pixels = network_input(*crops_and_masks())
    mask, colors = pixels[:, 3:4].double(), pixels[:, :3].double()
    area = mask.sum(dim=(2, 3), keepdim=True).clamp(min=1)
    away = (colors - (colors * mask).sum(dim=(2, 3), keepdim=True) / area) * mask
    deviation = (away.square().sum(dim=(1, 2, 3), keepdim=True) / (3 * area)).sqrt() + 0.05
    expected = F.avg_pool2d(torch.cat([0.5 * away / deviation, mask - 0.5], dim=1), 8)
    torch.testing.assert_close(small_image(pixels).double(), expected, atol=1e-3, rtol=0)


def sloping_depth(masks: Tensor) -> Tensor:
    """A plane that falls away to the right, in pixels of the crop."""
    return (torch.arange(96.0) - 49.5).expand_as(masks).clone().masked_fill_(~masks, torch.nan)


def test_depth_is_seen_in_units_of_the_canonical_frame() -> None:
    crops, masks = crops_and_masks()
    pixels = network_input(crops, masks, sloping_depth(masks))[0]
    inside = pixels[MASK] > 0.99
    assert float(pixels[DEPTH][inside].mean()) == pytest.approx(0, abs=0.05)
    half_side_px = CANONICAL_HALF_SIDE * 80 / 12**0.5
    assert float(pixels[DEPTH][inside].max()) == pytest.approx(DEPTH_GAIN * 40 / half_side_px, rel=0.05)


def test_pixels_without_a_reading_have_no_depth_but_color() -> None:
    crops, masks = crops_and_masks()
    depth_px = sloping_depth(masks)
    depth_px[:, :, 60:] = torch.nan
    pixels = network_input(crops, masks, depth_px)[0]
    lost = (pixels[MEASURED] == 0) & (pixels[MASK] > 0.99)
    assert 0.2 < float(lost.float().sum() / (pixels[MASK] > 0.99).float().sum()) < 0.5
    assert not pixels[DEPTH][lost].any()
    assert bool((pixels[COLORS][lost.expand(3, -1, -1)] != 0).any())


def test_without_depth_a_crop_is_described_as_one_without_a_reading() -> None:
    crops, masks = crops_and_masks()
    descriptor = create_descriptor("tiny")
    assert sees_depth(descriptor)
    nothing = torch.full((4, 96, 96), torch.nan)
    without, no_reading = descriptor.describe(crops, masks), descriptor.describe(crops, masks, nothing)
    assert torch.equal(without.class_tokens, no_reading.class_tokens)
    assert torch.equal(without.patch_tokens, no_reading.patch_tokens)


@pytest.mark.parametrize("damage", ["missing", "other network", "no weights"])
def test_weights_that_do_not_fit_are_one_clear_line(tmp_path: Path, descriptor_weights: Path, damage: str) -> None:
    file = tmp_path / "some.safetensors"
    if damage == "other network":
        file = descriptor_weights
    if damage == "no weights":
        file.write_bytes(b"not weights")
    with pytest.raises(CheckpointError) as error:
        load_weights(TinyNetwork(), "segmentor", file)
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)


def test_folded_norms_change_nothing() -> None:
    torch.manual_seed(0)
    network = TinyDescriptorNetwork().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 2)  # type: ignore[arg-type]
    pixels = torch.randn(2, INPUT_CHANNELS, 96, 96)
    with torch.inference_mode():
        before = network(pixels)
        fold_norms(network)
        after = network(pixels)
    torch.testing.assert_close(before[0], after[0], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(before[1], after[1], rtol=1e-3, atol=1e-4)


def test_the_weights_of_the_package_are_those_that_were_shipped_and_small() -> None:
    for name, network in (("segmentor", TinyNetwork()), ("descriptor", TinyDescriptorNetwork())):
        assert len(load_weights(network, name)) == 64
    assert sum(file.stat().st_size for file in FOLDER.glob("*.safetensors")) < 10_000_000


def test_most_things_on_a_table_never_seen_get_a_mask() -> None:
    frame, truth = observe(make_scene(3, [make_scene_object(mesh) for mesh in known_objects(3)]))
    masks = create_segmentor("tiny").propose(frame).masks.numpy()
    best = [max(iou_of(mask, instance) for mask in masks) for instance in truth.masks[truth.visible_share > 0.3]]
    assert np.mean(np.array(best) > 0.5) > 0.7


def test_tokens_in_bfloat16_are_those_in_float32_but_for_rounding() -> None:
    crops, masks = crops_and_masks()
    described = {}
    for dtype in (torch.float32, torch.bfloat16):
        descriptor = DESCRIPTORS.get("tiny").load(ModelRequest("cpu", dtype=dtype))
        described[descriptor.fingerprint] = descriptor.describe(crops, masks)
    exact, rounded = described.values()
    assert rounded.class_tokens.dtype == rounded.patch_tokens.dtype == torch.float32
    assert F.cosine_similarity(exact.class_tokens, rounded.class_tokens).min() > 0.998
