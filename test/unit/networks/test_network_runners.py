"""What runs the networks of a request."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ism_ros.networks.network_runners import requested_runner
from ism_ros.networks.onnx_export import NetworkExport
from ism_ros.networks.onnx_session import OnnxSession
from ism_ros.runtime.model_request import ModelRequest
from ism_ros.runtime.precision import small_network_dtype
from ism_ros.runtime.threads import set_num_threads

AUTO = {"runtime": "auto"}
COMPUTES_IN_BFLOAT16 = small_network_dtype(torch.device("cpu")) is torch.bfloat16


class Doubled(nn.Module):
    def forward(self, values: Tensor) -> Tensor:
        return 2 * values


class WithoutExport(nn.Module):
    """Sorts by an operation that ONNX has not."""

    def forward(self, values: Tensor) -> Tensor:
        return torch.linalg.svd(values).S


def export_of(network: nn.Module) -> NetworkExport:
    return NetworkExport("example", network, {"values": torch.eye(3)}, ("result",))


@pytest.mark.skipif(COMPUTES_IN_BFLOAT16, reason="this CPU multiplies in bfloat16")
def test_auto_takes_onnxruntime_for_small_networks_on_cpus_without_bfloat16(tmp_path: Path) -> None:
    runner = requested_runner(ModelRequest(settings=AUTO, cache_dir=tmp_path), is_small=True)
    assert runner is not None
    run = runner(export_of(Doubled()))
    assert isinstance(run, OnnxSession)
    assert torch.equal(run(torch.eye(3))[0], 2 * torch.eye(3))


@pytest.mark.skipif(not COMPUTES_IN_BFLOAT16, reason="this CPU does not multiply in bfloat16")
def test_auto_takes_pytorch_on_cpus_with_bfloat16() -> None:
    assert requested_runner(ModelRequest(settings=AUTO), is_small=True) is None


@pytest.mark.parametrize(
    "request_", [ModelRequest("cuda:0", settings=AUTO), ModelRequest(settings=AUTO, dtype=torch.float32)]
)
def test_auto_takes_pytorch_on_gpus_and_where_a_number_format_is_asked_for(request_: ModelRequest) -> None:
    assert requested_runner(request_, is_small=True) is None


def test_auto_takes_pytorch_for_large_networks() -> None:
    assert requested_runner(ModelRequest(settings=AUTO)) is None


@pytest.mark.skipif(COMPUTES_IN_BFLOAT16, reason="this CPU multiplies in bfloat16")
def test_what_onnxruntime_cannot_run_pytorch_runs_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    runner = requested_runner(ModelRequest(settings=AUTO), is_small=True)
    assert runner is not None
    with caplog.at_level(logging.WARNING):
        run = runner(export_of(WithoutExport()))
    assert torch.allclose(run(3 * torch.eye(3))[0], torch.full((3,), 3.0))
    assert "network 'example' runs by PyTorch, more slowly" in caplog.text


def test_each_thread_has_as_many_threads_of_onnxruntime_as_of_pytorch(tmp_path: Path) -> None:
    session = OnnxSession(export_of(Doubled()), torch.device("cpu"), cache_dir=tmp_path)

    def threads_of_a_call(count: int) -> int:
        set_num_threads(count)
        session(torch.eye(3))
        return session.threads_of_sessions()[-1]

    with ThreadPoolExecutor(1) as pool:
        assert [pool.submit(threads_of_a_call, count).result() for count in (3, 5)] == [3, 5]
