"""What runs the networks of a request."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install '.[test]'")

from ism_ros.networks.network_runners import requested_runner
from ism_ros.networks.onnx_export import NetworkExport
from ism_ros.networks.onnx_session import OnnxSession
from ism_ros.runtime.model_request import ModelRequest
from ism_ros.runtime.threads import set_num_threads


class Doubled(nn.Module):
    def forward(self, values: Tensor) -> Tensor:
        return 2 * values


EXPORT = NetworkExport("example", Doubled(), {"values": torch.eye(3)}, ("result",))


def test_a_request_for_onnxruntime_is_run_by_it(tmp_path: Path) -> None:
    runner = requested_runner(ModelRequest(settings={"runtime": "onnxruntime"}, cache_dir=tmp_path))
    assert runner is not None
    run = runner(EXPORT)
    assert isinstance(run, OnnxSession)
    assert torch.equal(run(torch.eye(3))[0], 2 * torch.eye(3))


def test_a_request_without_a_runtime_is_run_by_pytorch() -> None:
    assert requested_runner(ModelRequest()) is None


def test_each_thread_has_as_many_threads_of_onnxruntime_as_of_pytorch(tmp_path: Path) -> None:
    session = OnnxSession(EXPORT, torch.device("cpu"), cache_dir=tmp_path)

    def threads_of_a_call(count: int) -> int:
        set_num_threads(count)
        session(torch.eye(3))
        return session.threads_of_sessions()[-1]

    with ThreadPoolExecutor(1) as pool:
        assert [pool.submit(threads_of_a_call, count).result() for count in (3, 5)] == [3, 5]
