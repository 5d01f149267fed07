"""What onnxruntime computes with is what was asked for, or an error that names what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install '.[test]'")

import onnxruntime

from ism_ros.errors import CheckpointError
from ism_ros.networks.execution_providers import CPU, CUDA, TENSORRT, providers
from ism_ros.networks.onnx_export import NetworkExport, write_onnx
from ism_ros.networks.onnx_session import OnnxSession
from ism_ros.runtime.model_request import ModelRequest, NetworkRuntime
from ism_ros.segmentors.base import SEGMENTORS


class Sum(nn.Module):
    """Adds two inputs, and negates the sum."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return x + y, -(x + y) * self.weight


def export(half: bool = False) -> NetworkExport:
    network = Sum()
    inputs = {"x": torch.zeros(2, 3), "y": torch.zeros(1, 3)}
    axes = {"x": {0: "rows"}, "sum": {0: "rows"}, "negated": {0: "rows"}}
    lengths = {"rows": (1, 8, 64)}
    return NetworkExport("sum", network, inputs, ("sum", "negated"), axes, lengths, (network,) if half else ())


@pytest.mark.parametrize("rows", [1, 5])
def test_tensors_that_are_handed_over_where_they_are_give_the_same(rows: int) -> None:
    x, y = torch.rand(rows, 6)[:, ::2], torch.rand(1, 3)
    copied, bound = (OnnxSession(export(), torch.device("cpu"), bound=bound)(x, y) for bound in (False, True))
    for one, other, expected in zip(copied, bound, (x + y, -(x + y)), strict=True):
        assert torch.equal(one, other)
        assert torch.equal(one, expected)


@pytest.mark.parametrize(
    ("runtime", "device", "said"),
    [
        ("onnxruntime", "cuda:0", "needs the package onnxruntime-gpu"),
        ("tensorrt", "cuda:0", "needs the package onnxruntime-gpu .* and TensorRT"),
        ("tensorrt", "cpu", "does not run on cpu: set device to cuda:0, or runtime to onnxruntime or torch"),
        ("onnxruntime", "mps", "does not run on mps: set device to cuda:0, or runtime to torch"),
    ],
)
def test_what_is_missing_is_one_line_and_nothing_else_computes_instead(
    runtime: NetworkRuntime, device: str, said: str
) -> None:
    if CUDA in onnxruntime.get_available_providers():
        pytest.skip("onnxruntime can use a GPU here")
    with pytest.raises(CheckpointError, match=said) as error:
        SEGMENTORS.get("tiny").load(ModelRequest(device, settings={"runtime": runtime}))
    assert "\n" not in str(error.value)


def test_a_gpu_computes_in_tf32_where_half_precision_is_exact_enough() -> None:
    for half in (False, True):
        (name, options), (fallback, _) = providers("onnxruntime", torch.device("cuda:1"), export(half), Path())
        assert (name, fallback) == (CUDA, CPU)
        assert options == {"device_id": 1, "use_tf32": int(half)}


def test_tensorrt_is_told_all_shapes_and_keeps_its_engines_beside_the_network(tmp_path: Path) -> None:
    file = write_onnx(export(), tmp_path)
    chosen = providers("tensorrt", torch.device("cuda"), export(half=True), file.parent)
    assert [name for name, _ in chosen] == [TENSORRT, CUDA, CPU]
    options = chosen[0][1]
    assert options["trt_engine_cache_path"] == str(tmp_path)
    assert options["trt_fp16_enable"]
    assert options["trt_profile_min_shapes"] == "x:1x3,y:1x3"
    assert options["trt_profile_opt_shapes"] == "x:8x3,y:1x3"
    assert options["trt_profile_max_shapes"] == "x:64x3,y:1x3"
