"""Networks as ONNX files: onnxruntime computes what PyTorch does, for any number of images, crops and prompts."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dummy_networks import (
    ANYTHING,
    DINOV2,
    PAIRS,
    SAM,
    SAM2_IMAGE_SIZE,
    SAM2_SMALL,
    install,
    install_pair,
    sam2_weights,
    save_sam2,
)
from torch import Tensor, nn

from ism_ros.checkpoints.loaders.sam2_checkpoint import load_sam2
from ism_ros.checkpoints.loaders.sam_checkpoint import load_sam
from ism_ros.checkpoints.shipped import load_weights
from ism_ros.cli.main import main
from ism_ros.data.camera import Camera
from ism_ros.data.frame import Frame
from ism_ros.descriptors.base import DESCRIPTORS
from ism_ros.descriptors.tiny.descriptor_network import INPUT_CHANNELS, TinyDescriptorNetwork
from ism_ros.descriptors.tiny.onnx_descriptor import descriptor_export
from ism_ros.errors import CheckpointError, ExportError
from ism_ros.export.exports import exports_of, write_networks
from ism_ros.networks.onnx_export import NetworkExport, write_onnx
from ism_ros.networks.onnx_session import OnnxSession
from ism_ros.networks.sam_networks import sam2_exports, sam_exports
from ism_ros.runtime.model_request import ModelRequest
from ism_ros.segmentors.base import SEGMENTORS
from ism_ros.segmentors.sam.sam2_segmentor import PromptableSam2
from ism_ros.segmentors.sam.sam_segmentor import PromptableSam
from ism_ros.segmentors.tiny.onnx_segmentor import segmentor_export
from ism_ros.segmentors.tiny.segmentor_network import TinyNetwork

CPU = torch.device("cpu")
MAX_DIFFERENCE_RATIO = 1e-3
"""Largest difference of an output, as a share of its largest value."""
MIN_MASK_IOU = 0.99


def assert_near(found: Tensor, expected: Tensor) -> None:
    assert found.shape == expected.shape
    assert float((found - expected).abs().max()) <= MAX_DIFFERENCE_RATIO * float(expected.abs().max())


def assert_same(export: NetworkExport, *inputs: Tensor) -> tuple[Tensor, ...]:
    """Outputs of the exported network, which are those of PyTorch."""
    with torch.inference_mode():
        expected: Any = export.network(*inputs)
    expected = (expected,) if isinstance(expected, Tensor) else expected
    found = OnnxSession(export, CPU)(*inputs)
    assert len(found) == len(export.outputs)
    for one, other in zip(found, expected, strict=True):
        assert_near(one, other)
    return found


def assert_same_masks(found: Tensor, expected: Tensor) -> None:
    """Every mask (..., H, W) that has pixels is the same but for MIN_MASK_IOU."""
    one, other = found.flatten(0, -3).flatten(1), expected.flatten(0, -3).flatten(1)
    union = (one | other).sum(1)
    assert other.any()
    assert float(((one & other).sum(1) / union)[union > 0].min()) > MIN_MASK_IOU


@pytest.mark.parametrize("shape", [(1, 10, 64, 48), (3, 10, 50, 90)])
def test_the_segmentor_tiny_takes_any_number_of_images_of_any_size(shape: tuple[int, ...]) -> None:
    network = TinyNetwork()
    load_weights(network, "segmentor")
    assert_same(segmentor_export(network), torch.rand(shape, generator=torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("crops", [1, 3])
def test_the_descriptor_tiny_takes_any_number_of_crops(crops: int) -> None:
    network = TinyDescriptorNetwork()
    load_weights(network, "descriptor")
    pixels = torch.rand(crops, INPUT_CHANNELS, 96, 96, generator=torch.Generator().manual_seed(0))
    pixels[:, 3] = pixels[:, 3].round()
    assert_same(descriptor_export(network), pixels)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["sam", "sam2"])
def test_encoder_and_decoders_of_sam_give_the_masks_of_the_segmentor(family: str, tmp_path: Path) -> None:
    if family == "sam":
        model = load_sam(SAM, decoder_heads=4)
        promptable, exports = PromptableSam(model), sam_exports(model)
        size = (model.config.vision_config.image_size,) * 2
    else:
        model = load_sam2(save_sam2(sam2_weights(), tmp_path / "sam2.pt"), SAM2_IMAGE_SIZE, SAM2_SMALL)
        promptable, exports = PromptableSam2(model), sam2_exports(model)
        size = (SAM2_IMAGE_SIZE,) * 2
    encoder, points_decoder, boxes_decoder = exports
    image = np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)
    points = torch.tensor([[5.0, 9], [30, 20], [40, 41], [3, 50], [60, 2]])
    boxes = torch.tensor([[5.0, 9, 40, 30], [0, 0, 20, 20]])
    with torch.inference_mode():
        embedding: Any = promptable.embed(image)
        features = (embedding[0],) if family == "sam" else tuple(embedding.features)
        expected = promptable.predict(embedding, points), promptable.predict_boxes(embedding, boxes)
    found = assert_same(points_decoder, points, *features), assert_same(boxes_decoder, boxes, *features)
    for one, other in zip(found, expected, strict=True):
        assert_near(one[0], other[0])
        assert_same_masks(one[0] > 0, other[0] > 0)
    assert_same(encoder, torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("name", ["dinov2/vits14", pytest.param("dinov3/vits16", marks=pytest.mark.slow)])
def test_tokens_of_vision_transformers_are_unit_rows(name: str, tmp_path: Path) -> None:
    (export,) = exports_of(name, install(tmp_path, name))
    classes, patches = assert_same(export, torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(classes.norm(dim=-1), torch.ones(1))
    torch.testing.assert_close(patches.norm(dim=-1), torch.ones(patches.shape[:2]))


def test_ism_export_writes_the_networks_of_the_embedded_pair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["ism", "export", "tiny", "--output", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert sorted(file.name for file in tmp_path.iterdir()) == ["descriptor.onnx", "segmentor.onnx"]
    assert str(tmp_path / "segmentor.onnx") in capsys.readouterr().out


@pytest.mark.parametrize(
    ("model", "said"),
    [("fastsam/s", "'fastsam/s' has no export"), ("sam/vit_x", "is unknown"), ("nothing", "is unknown")],
)
def test_a_model_that_cannot_be_exported_is_one_line(model: str, said: str, tmp_path: Path) -> None:
    with pytest.raises((CheckpointError, ExportError), match=said):
        exports_of(model, tmp_path)


def test_a_path_names_its_family() -> None:
    (export,) = exports_of(f"dinov2:{DINOV2}", Path())
    assert export.name == "descriptor"


def test_without_the_package_onnx_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("ism_ros.networks.onnx_export.find_spec", lambda name: None)
    with pytest.raises(ExportError, match=r"pip install 'ism_ros\[export\]'"):
        write_onnx(NetworkExport("any", nn.Identity(), {"x": torch.zeros(1)}, ("y",)), tmp_path)
    assert importlib.util.find_spec("onnx") is not None


def test_a_network_that_onnx_cannot_express_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    class Eigen(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.linalg.eigh(x)[0]

    with pytest.raises(ExportError, match="network 'eigen' cannot be written as ONNX: ") as error:
        write_onnx(NetworkExport("eigen", Eigen(), {"x": torch.eye(3)}, ("y",)), tmp_path)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_an_engine_without_tensorrt_is_one_line_that_names_it(tmp_path: Path) -> None:
    if importlib.util.find_spec("tensorrt") is not None:
        pytest.skip("TensorRT is installed here")
    with pytest.raises(ExportError, match="needs the package tensorrt: pip install tensorrt"):
        list(write_networks("tiny", Path(), tmp_path, "engine"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["tiny", "dinov2/vits14", "sam/vit_b"])
def test_axes_of_any_length_have_a_least_a_usual_and_a_largest_one(name: str, tmp_path: Path) -> None:
    for export in exports_of(name, install(tmp_path, "dinov2/vits14", "sam/vit_b")):
        for input_name, (least, usual, largest) in export.input_shapes().items():
            example = tuple(export.inputs[input_name].shape)
            assert len(least) == len(usual) == len(largest) == len(example)
            sizes = zip(least, example, usual, largest, strict=True)
            assert all(low <= size <= high and low <= middle <= high for low, size, middle, high in sizes)
            fixed = set(range(len(example))) - set(export.axes.get(input_name, ()))
            assert all(least[axis] == largest[axis] == example[axis] for axis in fixed)


def some_frame() -> Frame:
    rng = np.random.default_rng(0)
    rgb = rng.integers(90, 110, (120, 160, 3)).astype(np.uint8)
    depth_m = np.full((120, 160), 0.8, np.float32)
    rgb[40:80, 50:110], depth_m[40:80, 50:110] = (200, 40, 30), 0.7
    return Frame(rgb, depth_m, Camera(np.array([[154.0, 0, 80], [0, 154, 60], [0, 0, 1]]), 160, 120))


def test_the_setting_runtime_changes_nothing_but_rounding(tmp_path: Path) -> None:
    crops, masks = torch.rand(3, 3, 96, 96), torch.zeros(3, 96, 96, dtype=torch.bool)
    masks[:, 20:60, 10:90] = True
    found, tokens, fingerprints = [], [], set()
    for runtime in ("torch", "onnxruntime"):
        request = ModelRequest(settings={"runtime": runtime}, dtype=torch.float32, cache_dir=tmp_path)
        found.append(SEGMENTORS.get("tiny").load(request).propose(some_frame()))
        descriptor = DESCRIPTORS.get("tiny").load(request)
        tokens.append(descriptor.describe(crops * masks[:, None], masks))
        fingerprints.add(descriptor.fingerprint)
    assert len(found[0]) == len(found[1]) > 0
    assert_near(found[0].confidence, found[1].confidence)
    assert (found[0].masks != found[1].masks).float().mean() < 1e-4
    assert_near(tokens[0].class_tokens, tokens[1].class_tokens)
    assert len(fingerprints) == 2


@pytest.mark.slow
@pytest.mark.parametrize("pair", ["sam", "sam2"])
def test_the_setting_runtime_holds_for_neural_pairs(pair: str, tmp_path: Path) -> None:
    folder = install_pair(tmp_path / "checkpoints", pair)
    chosen = PAIRS[pair]
    crops, masks = torch.rand(2, 3, 224, 224), torch.ones(2, 224, 224, dtype=torch.bool)
    found, tokens = [], []
    for runtime in ("torch", "onnxruntime"):
        request = ModelRequest(
            settings={**ANYTHING, "runtime": runtime, "points_per_side": 4}, checkpoints_dir=folder, cache_dir=tmp_path
        )
        segmentor = SEGMENTORS.get(chosen["segmentor"]).load(replace(request, model=chosen["segmentor_model"]))
        found.append(segmentor.propose(some_frame(), 0.0))
        descriptor = DESCRIPTORS.get(chosen["descriptor"]).load(replace(request, model=chosen["descriptor_model"]))
        tokens.append(descriptor.describe(crops, masks))
    assert len(found[0]) == len(found[1]) > 0
    assert_near(found[0].confidence, found[1].confidence)
    assert_same_masks(found[1].masks, found[0].masks)
    assert_near(tokens[1].class_tokens, tokens[0].class_tokens)
    assert_near(tokens[1].patch_tokens, tokens[0].patch_tokens)
