"""Small networks in the official layouts, for tests of neural segmentors and descriptors: nothing is downloaded."""

from __future__ import annotations

import pytest

pytest.importorskip("onnx", reason="onnx is not installed: pip install '.[test]'")

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from ism_ros.checkpoints.catalog import checkpoint_named
from ism_ros.checkpoints.loaders.sam2_checkpoint import Hiera, load_sam2
from ism_ros.checkpoints.reading import StateDict

TESTS = Path(__file__).parents[2]
SAM, DINOV2 = TESTS / "golden" / "sam_tiny.pth", TESTS / "golden" / "dinov2_tiny_pretrain.pth"
"""Random networks with the keys of the official files."""

SAM2_IMAGE_SIZE = 128
SAM2_SMALL = Hiera("small random", heads=2, stages=(1, 2, 4, 2), windows=(8, 4, 6, 3), global_blocks=(4, 6))
"""The architecture of test/data/sam2/weights.npz."""

SAM_LOWER = 4.5

SAM6D_FOLDERS = {"sam": "segment-anything", "dinov2": "dinov2"}
"""Where SAM-6D keeps the files of a family in its folder `checkpoints`."""


PAIRS: dict[str, dict[str, str]] = {
    "sam": {"segmentor": "sam", "segmentor_model": "vit_h", "descriptor": "dinov2", "descriptor_model": "vitl14"},
    "sam2": {"segmentor": "sam2", "segmentor_model": "tiny", "descriptor": "dinov3", "descriptor_model": "vits16"},
    "fastsam": {"segmentor": "fastsam", "segmentor_model": "s", "descriptor": "dinov2", "descriptor_model": "vits14"},
}
"""Settings of neural pairs, each family once; "sam" is SAM-6D's."""

ANYTHING: dict[str, float] = {
    "points_per_side": 6,
    "predicted_iou_threshold": 0.0,
    "stability_score_threshold": 0.0,
    "confidence_threshold": 0.0,
    "score_threshold": 0.0,
}
"""Settings with which random networks find something."""


def install_pair(folder: Path, pair: str) -> Path:
    """`folder` with what PAIRS[pair] needs."""
    chosen = PAIRS[pair]
    return install(folder, *(f"{chosen[kind]}/{chosen[f'{kind}_model']}" for kind in ("segmentor", "descriptor")))


def install(folder: Path, *names: str) -> Path:
    """`folder` with a small network for each of the checkpoints named, such as sam/vit_h, where a user has them.

    SAM and DINOv2 under the names of the official files, in the folders of SAM-6D; DINOv3 as well, FastSAM as .onnx,
    SAM 2 as a folder of the transformers library, all beside them. FastSAM finds GRID_OF_BOXES in 640 x 480 pixels.
    """
    for name in names:
        checkpoint = checkpoint_named(name)
        place = folder / SAM6D_FOLDERS.get(checkpoint.family, "")
        place.mkdir(parents=True, exist_ok=True)
        if checkpoint.family == "sam":
            torch.save(sam_weights(), place / checkpoint.file_name)
        elif checkpoint.family == "dinov2":
            (place / checkpoint.file_name).symlink_to(DINOV2)
        elif checkpoint.family == "sam2":
            save_sam2(sam2_weights(), place / "sam2.pt")
            load_sam2(place / "sam2.pt", SAM2_IMAGE_SIZE, SAM2_SMALL).save_pretrained(place / checkpoint.hub_name)
            (place / "sam2.pt").unlink()
        elif checkpoint.family == "dinov3":
            torch.save(dinov3_weights("mlp"), place / checkpoint.file_name)
        else:
            small_fastsam(place / checkpoint.exports[0], GRID_OF_BOXES)
    return folder


def sam_weights() -> StateDict:
    """Those of SAM, but with logits so much lower that masks do not cover the whole image.

    One channel of the upscaled image is made constant, and every mask takes SAM_LOWER times of it away.
    """
    state: StateDict = torch.load(SAM, weights_only=True)
    state["mask_decoder.output_upscaling.3.weight"][:, 0] = 0
    state["mask_decoder.output_upscaling.3.bias"][0] = 1
    for mask in range(4):
        last = f"mask_decoder.output_hypernetworks_mlps.{mask}.layers.2"
        state[f"{last}.weight"][0] = 0
        state[f"{last}.bias"][0] = -SAM_LOWER
    return state


def sam2_weights() -> StateDict:
    with np.load(TESTS / "data" / "sam2" / "weights.npz") as archive:
        return {key: torch.from_numpy(archive[key]).float() for key in archive}


def save_sam2(state: StateDict, file: Path) -> Path:
    torch.save({"model": state}, file)
    return file


def dinov3_weights(kind: str) -> StateDict:
    """kind: mlp, swiglu or swiglu_unbiased."""
    prefix = "weights/"
    with np.load(TESTS / "data" / "dinov3" / f"{kind}.npz") as archive:
        stored = {key.removeprefix(prefix): archive[key] for key in archive if key.startswith(prefix)}
    return {key: torch.from_numpy(value).float() for key, value in stored.items()}


def place(box: tuple[float, float, float, float], confidence: float, coefficients: dict[int, float]) -> list[float]:
    """A column of the head: box (x_first, y_first, x_last, y_last) in pixels of the input."""
    left, top, right, bottom = box
    row = [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top, confidence, *[0.0] * 32]
    for channel, coefficient in coefficients.items():
        row[5 + channel] = coefficient
    return row


FIRST, LAST = {0: 40.0, 3: -20.0}, {2: 40.0, 3: -20.0}
"""Coefficients of a mask that is where the first or the last channel that the network sees is above one half."""

TWO_PLACES = [place((0, 0, 96, 64), 0.9, FIRST), place((40, 20, 96, 64), 0.6, LAST)]

GRID_OF_BOXES = [
    place((x, y, x + 160, y + 160), 0.9 - (x + y) / 4000, {0: 40.0, 3: -14.0})
    for y in range(0, 480, 80)
    for x in range(0, 560, 80)
]
"""Boxes all over a frame of 640 x 480, with masks where the first channel that the network sees is above 0.35."""


def small_fastsam(
    file: Path,
    head: Sequence[list[float]] = TWO_PLACES,
    size: tuple[Any, Any] = ("height", "width"),
    batch: int = 1,
    dtype: int = TensorProto.FLOAT,
    prototype_rows: int = 32,
) -> Path:
    """An ONNX network laid out as FastSAM: the boxes it finds are given, its prototypes are the image's channels.

    Prototype 0, 1 and 2 are the mean of each 4 x 4 pixels in one channel, 3 is one everywhere, the others are zero.
    """
    kind = helper.tensor_dtype_to_np_dtype(dtype)
    weights = np.zeros((prototype_rows, 3, 1, 1), kind)
    weights[[0, 1, 2], [0, 1, 2]] = 1
    bias = np.zeros(prototype_rows, kind)
    bias[3] = 1
    columns = np.array(head, kind).T[None]
    nodes = [
        helper.make_node("AveragePool", ["images"], ["pooled"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Conv", ["pooled", "weights", "bias"], ["output1"]),
        helper.make_node("Identity", ["columns"], ["output0"]),
    ]
    quarter = [side // 4 if isinstance(side, int) else f"{side}_4" for side in size]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("images", dtype, [batch, 3, *size])],
        [
            helper.make_tensor_value_info("output0", dtype, list(columns.shape)),
            helper.make_tensor_value_info("output1", dtype, [batch, prototype_rows, *quarter]),
        ],
        [numpy_helper.from_array(value, name) for name, value in
         (("weights", weights), ("bias", bias), ("columns", columns))],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(file))
    return file
