"""FastSAM as a whole, on small ONNX networks made here; files that are refused."""

from __future__ import annotations

import pytest

pytest.importorskip("onnx", reason="onnx is not installed: pip install '.[test]'")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install '.[test]'")

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from dummy_networks import FIRST, place, small_fastsam
from mask_iou import mask_iou
from numpy.typing import NDArray
from onnx import TensorProto, helper
from torch import Tensor

from ism_ros.config.settings import Settings
from ism_ros.data.camera import Camera
from ism_ros.data.frame import Frame
from ism_ros.errors import CheckpointError
from ism_ros.segmentors.base import create_segmentor
from ism_ros.segmentors.fastsam.fastsam_segmentor import FastSamSegmentor
from ism_ros.segmentors.fastsam.yolo_networks import network_outputs

RED, BLUE = (255, 0, 0), (0, 0, 255)
Color = tuple[int, int, int]


# -- the whole segmentor -----------------------------------------------------------------------------------------


def frame_of(rgb: NDArray[np.uint8]) -> Frame:
    height, width = rgb.shape[:2]
    return Frame(rgb, None, Camera(np.array([[100.0, 0, width / 2], [0, 100, height / 2], [0, 0, 1]]), width, height))


def picture(*things: tuple[tuple[slice, slice], Color], size: tuple[int, int] = (64, 96)) -> Frame:
    """A black frame with colored rectangles."""
    rgb = np.zeros((*size, 3), np.uint8)
    for where, color in things:
        rgb[where] = color
    return frame_of(rgb)


RED_PLACE, BLUE_PLACE = (slice(8, 24), slice(16, 40)), (slice(32, 56), slice(48, 88))
RED_AND_BLUE = picture((RED_PLACE, RED), (BLUE_PLACE, BLUE))


def rectangle(place: tuple[slice, slice], size: tuple[int, int] = (64, 96)) -> Tensor:
    mask = torch.zeros(size, dtype=torch.bool)
    mask[place] = True
    return mask


def segmentor_of(file: Path, **settings: Any) -> FastSamSegmentor:
    return FastSamSegmentor(file, input_side=96, **settings)


def test_things_become_masks_most_confident_first(tmp_path: Path) -> None:
    proposals = segmentor_of(small_fastsam(tmp_path / "f.onnx"), channel_order="rgb").propose(RED_AND_BLUE)
    torch.testing.assert_close(proposals.confidence, torch.tensor([0.9, 0.6]))
    assert proposals.masks.dtype == torch.bool
    expected = torch.stack([rectangle(RED_PLACE), rectangle(BLUE_PLACE)])
    # the outline goes through the middle between two prototype pixels, so its corners are rounded
    assert float(mask_iou(proposals.masks, expected).min()) > 0.98


def test_the_network_sees_blue_first_as_in_sam_6d(tmp_path: Path) -> None:
    proposals = segmentor_of(small_fastsam(tmp_path / "f.onnx")).propose(RED_AND_BLUE)
    assert float(mask_iou(proposals.masks[:1], rectangle(BLUE_PLACE)[None])) > 0.98


def test_a_mask_ends_at_its_box(tmp_path: Path) -> None:
    head = [place((48, 32, 64, 48), 0.9, FIRST)]
    proposals = segmentor_of(small_fastsam(tmp_path / "f.onnx", head)).propose(RED_AND_BLUE)
    assert float(mask_iou(proposals.masks, rectangle((slice(32, 48), slice(48, 64)))[None])) > 0.95
    assert proposals.boxes_xyxy.tolist() == [[48, 32, 64, 48]]


def test_a_large_frame_is_scaled_for_the_network_and_its_masks_back(tmp_path: Path) -> None:
    place_, size = (slice(128, 224), slice(192, 352)), (256, 384)
    segmentor = segmentor_of(small_fastsam(tmp_path / "f.onnx"))
    proposals = segmentor.propose(picture((place_, BLUE), size=size))
    assert proposals.masks.shape == (1, *size)
    assert float(mask_iou(proposals.masks, rectangle(place_, size)[None])) > 0.98
    assert proposals.boxes_xyxy.tolist() == [[0, 0, 384, 256]]


def test_a_network_with_a_fixed_input_gets_the_frame_in_it(tmp_path: Path) -> None:
    head = [place((0, 0, 96, 96), 0.9, FIRST)]
    segmentor = segmentor_of(small_fastsam(tmp_path / "f.onnx", head, size=(96, 96)))
    proposals = segmentor.propose(RED_AND_BLUE)
    assert float(mask_iou(proposals.masks, rectangle(BLUE_PLACE)[None])) > 0.98
    assert proposals.boxes_xyxy.tolist() == [[0, 0, 96, 64]]


def test_a_network_in_half_precision_gives_the_same(tmp_path: Path) -> None:
    whole = segmentor_of(small_fastsam(tmp_path / "f.onnx")).propose(RED_AND_BLUE)
    half = segmentor_of(small_fastsam(tmp_path / "h.onnx", dtype=TensorProto.FLOAT16)).propose(RED_AND_BLUE)
    assert torch.equal(half.masks, whole.masks)
    assert half.confidence.dtype == torch.float32


def test_a_frame_with_nothing_confident_gives_an_empty_result(tmp_path: Path) -> None:
    head = [place((0, 0, 96, 64), 0.2, FIRST)]
    proposals = segmentor_of(small_fastsam(tmp_path / "f.onnx", head)).propose(RED_AND_BLUE)
    assert proposals.masks.shape == (0, 64, 96)
    assert proposals.boxes_xyxy.shape == (0, 4)
    assert proposals.confidence.shape == (0,)


def test_a_proposal_without_a_pixel_is_none(tmp_path: Path) -> None:
    segmentor = segmentor_of(small_fastsam(tmp_path / "f.onnx"), channel_order="rgb")
    proposals = segmentor.propose(picture((BLUE_PLACE, BLUE)))
    torch.testing.assert_close(proposals.confidence, torch.tensor([0.6]))


def test_settings_choose_how_many_and_how_alike(tmp_path: Path) -> None:
    rows = [place((x, 0, x + 40, 64), 0.9 - x / 100, {3: 1.0}) for x in range(0, 48, 2)]
    file = small_fastsam(tmp_path / "f.onnx", rows)
    assert len(segmentor_of(file, confidence_threshold=0.0).propose(RED_AND_BLUE)) == 12
    assert len(segmentor_of(file, confidence_threshold=0.0, nms_threshold=0.95).propose(RED_AND_BLUE)) == 24
    assert len(segmentor_of(file, confidence_threshold=0.85).propose(RED_AND_BLUE)) == 2
    assert len(segmentor_of(file, max_proposals=3).propose(RED_AND_BLUE)) == 3


def test_the_network_uses_as_many_threads_as_pytorch(tmp_path: Path) -> None:
    network: Any = segmentor_of(small_fastsam(tmp_path / "f.onnx"))._network
    assert network._session.get_session_options().intra_op_num_threads == torch.get_num_threads()


def test_a_gpu_that_onnxruntime_cannot_use_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    import onnxruntime

    from ism_ros.segmentors.fastsam.yolo_networks import OnnxNetwork

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("onnxruntime can use a GPU here")
    with caplog.at_level(logging.WARNING):
        file = small_fastsam(tmp_path / "f.onnx", size=(64, 96))
        assert OnnxNetwork(file, torch.device("cuda")).input_size == (64, 96)
    assert [record.getMessage() for record in caplog.records] == [
        "onnxruntime cannot use the GPU: f.onnx runs on the CPU; install onnxruntime-gpu"
    ]


# -- what is refused ---------------------------------------------------------------------------------------------


def network_of_80_classes(folder: Path) -> Path:
    rows = [[0.0] * (4 + 80 + 32)]
    return small_fastsam(folder / "coco.onnx", rows, size=(64, 96))


def network_whose_sizes_show_when_it_runs(folder: Path) -> Path:
    return small_fastsam(folder / "coco.onnx", [[0.0] * (4 + 80 + 32)])


def network_of_two_images(folder: Path) -> Path:
    return small_fastsam(folder / "two.onnx", size=(64, 96), batch=2)


def network_of_another_kind(folder: Path) -> Path:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 64, 96])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 64, 96])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "other", [value], [out])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(folder / "other.onnx"))
    return folder / "other.onnx"


def no_network(folder: Path) -> Path:
    (folder / "page.onnx").write_text("<html>not found</html>", encoding="utf-8")
    return folder / "page.onnx"


def nothing(folder: Path) -> Path:
    return folder / "FastSAM-s.onnx"


def another_format(folder: Path) -> Path:
    (folder / "FastSAM-s.engine").touch()
    return folder / "FastSAM-s.engine"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (network_of_80_classes, r"gives \(1, 116, 1\) and \(1, 32, 16, 24\), 80 classes; FastSAM-s and FastSAM-x"),
        (network_whose_sizes_show_when_it_runs, "80 classes"),
        (network_of_two_images, r"takes \(2, 3, 64, 96\); FastSAM takes one image"),
        (network_of_another_kind, r"gives \(1, 3, 64, 96\); FastSAM-s and FastSAM-x"),
        (no_network, "cannot be read as an ONNX model"),
        (nothing, r"FastSAM-s\.onnx does not exist; put"),
        (another_format, r"is neither \.onnx nor \.pt"),
    ],
)
def test_a_file_that_is_no_fastsam_is_refused(make: Callable[[Path], Path], said: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=said) as refused:
        FastSamSegmentor(make(tmp_path))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("package", "file", "said"),
    [
        ("onnxruntime", "FastSAM-s.onnx", "needs the package onnxruntime: pip install onnxruntime"),
        ("ultralytics", "FastSAM-s.pt", r"needs the package ultralytics .*AGPL-3\.0.* or give a FastSAM \.onnx file"),
    ],
)
def test_a_missing_package_is_named_with_its_licence(
    package: str, file: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    (tmp_path / file).touch()
    with pytest.raises(CheckpointError, match=said):
        FastSamSegmentor(tmp_path / file)


@pytest.mark.parametrize("side", [0, -32, 650])
def test_an_input_side_that_the_network_cannot_halve_is_refused(side: int, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"input_side is {side}; it must be a multiple of 32"):
        FastSamSegmentor(small_fastsam(tmp_path / "f.onnx"), input_side=side)


def test_least_confidence_and_overlap_are_settings(tmp_path: Path) -> None:
    file = small_fastsam(tmp_path / "f.onnx")
    settings = Settings(fastsam_confidence_threshold=0.7, fastsam_nms_threshold=0.5)
    segmentor = create_segmentor("fastsam", model=str(file), settings=settings.model_dump())
    assert isinstance(segmentor, FastSamSegmentor)
    assert (segmentor.confidence_threshold, segmentor.nms_threshold) == (0.7, 0.5)


# -- PyTorch checkpoints -----------------------------------------------------------------------------------------


def test_outputs_of_every_version_of_ultralytics_are_understood() -> None:
    head, prototypes, coefficients = torch.zeros(1, 37, 5), torch.zeros(1, 32, 8, 8), torch.zeros(1, 32, 5)
    grids = [torch.zeros(1, 65, 4, 4)]
    for outputs in (
        (head, prototypes),
        (head, (grids, coefficients, prototypes)),
        ((head, prototypes), {"boxes": grids, "proto": prototypes}),
    ):
        found = network_outputs(outputs)
        assert found[0] is head
        assert found[1] is prototypes


def test_a_pytorch_checkpoint_gives_what_its_network_says(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tasks = pytest.importorskip("ultralytics.nn.tasks", reason="ultralytics (AGPL-3.0) is optional")
    torch.manual_seed(0)
    model = tasks.SegmentationModel("yolov8n-seg.yaml", ch=3, nc=1, verbose=False).eval()
    torch.nn.init.constant_(model.model[-1].cv3[2][-1].bias, 2.0)
    torch.save({"model": model, "train_args": {}, "epoch": -1}, tmp_path / "FastSAM-s.pt")
    segmentor = segmentor_of(tmp_path / "FastSAM-s.pt")
    assert "runs code that is in it" in caplog.text
    proposals = segmentor.propose(RED_AND_BLUE)
    seen = torch.from_numpy(RED_AND_BLUE.rgb[..., ::-1].copy()).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        head, _ = network_outputs(model(seen))
    assert len(proposals) > 0
    torch.testing.assert_close(proposals.confidence[0], head[0, 4].max())
