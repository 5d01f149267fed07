"""Exported networks are kept in the cache: exported once, never another network's, and whole."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install '.[test]'")

from ism_ros.checkpoints.shipped import load_weights
from ism_ros.descriptors.tiny.descriptor_network import INPUT_CHANNELS, TinyDescriptorNetwork
from ism_ros.descriptors.tiny.onnx_descriptor import descriptor_export
from ism_ros.networks.onnx_cache import onnx_file, onnx_key
from ism_ros.networks.onnx_export import NetworkExport
from ism_ros.networks.onnx_session import OnnxSession
from ism_ros.runtime.cache_folder import DAMAGED, NOT_WRITTEN, STALE_S, keep_below, remove_stale

CPU = torch.device("cpu")


class Scale(nn.Module):
    """Multiplies by a weight and by a number."""

    def __init__(self, weight: float, factor: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([weight]))
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight * self.factor


def export_of(network: nn.Module) -> NetworkExport:
    return NetworkExport("scale", network, {"x": torch.ones(1, 3)}, ("y",), {"x": {0: "rows"}, "y": {0: "rows"}})


def files(cache: Path) -> list[Path]:
    return sorted(path for path in cache.rglob("*") if path.is_file())


PRINT_KEY = """
from ism_ros.checkpoints.shipped import load_weights
from ism_ros.descriptors.tiny.descriptor_network import TinyDescriptorNetwork
from ism_ros.descriptors.tiny.onnx_descriptor import descriptor_export
from ism_ros.networks.onnx_cache import onnx_key
network = TinyDescriptorNetwork()
load_weights(network, "descriptor")
print(onnx_key(descriptor_export(network)))
"""


def test_a_network_is_exported_once(tmp_path: Path) -> None:
    OnnxSession(export_of(Scale(2.0)), CPU, cache_dir=tmp_path)
    (written,) = files(tmp_path)
    before = written.stat()
    (found,) = OnnxSession(export_of(Scale(2.0)), CPU, cache_dir=tmp_path)(torch.full((2, 3), 5.0))
    assert files(tmp_path) == [written]
    assert written.stat() == before
    assert torch.equal(found, torch.full((2, 3), 10.0))


@pytest.mark.parametrize("changed", [Scale(3.0), Scale(2.0, factor=1.5)])
def test_other_weights_and_other_numbers_are_another_network(changed: Scale, tmp_path: Path) -> None:
    for network in (Scale(2.0), changed):
        (found,) = OnnxSession(export_of(network), CPU, cache_dir=tmp_path)(torch.ones(1, 3))
    assert torch.equal(found, torch.full((1, 3), 3.0))
    assert len(files(tmp_path)) == 2


def test_another_version_of_the_package_is_another_network(monkeypatch: pytest.MonkeyPatch) -> None:
    before = onnx_key(export_of(Scale(2.0)))
    monkeypatch.setattr("ism_ros.networks.onnx_cache.version", lambda package: "another")
    assert onnx_key(export_of(Scale(2.0))) != before


def test_the_key_of_the_shipped_network_is_that_of_another_process_and_of_a_network_that_ran() -> None:
    network = TinyDescriptorNetwork()
    load_weights(network, "descriptor")
    network(torch.rand(1, INPUT_CHANNELS, 96, 96))
    other = subprocess.run([sys.executable, "-c", PRINT_KEY], capture_output=True, text=True, check=True)
    assert onnx_key(descriptor_export(network)) == other.stdout.strip()


@pytest.mark.parametrize("content", [b"", b"not ONNX"])
def test_a_damaged_file_is_exported_again_with_a_warning(
    content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    OnnxSession(export_of(Scale(2.0)), CPU, cache_dir=tmp_path)
    (written,) = files(tmp_path)
    written.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        (found,) = OnnxSession(export_of(Scale(2.0)), CPU, cache_dir=tmp_path)(torch.ones(1, 3))
    assert torch.equal(found, torch.full((1, 3), 2.0))
    assert [getattr(record, "reason", None) for record in caplog.records] == [DAMAGED]
    assert written.stat().st_size > len(content)


def test_a_cache_that_cannot_be_written_is_warned_of_and_does_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = tmp_path / "file"
    cache.write_text("no folder")
    with caplog.at_level(logging.DEBUG):
        (found,) = OnnxSession(export_of(Scale(2.0)), CPU, cache_dir=cache)(torch.ones(1, 3))
    assert torch.equal(found, torch.full((1, 3), 2.0))
    assert NOT_WRITTEN in [getattr(record, "reason", None) for record in caplog.records]


def test_a_failed_export_leaves_nothing_in_the_cache(tmp_path: Path) -> None:
    class Eigen(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.linalg.eigh(x)[0]

    export = NetworkExport("eigen", Eigen(), {"x": torch.eye(3)}, ("y",))
    with pytest.raises(ValueError, match="cannot be written as ONNX"), onnx_file(export, tmp_path):
        pass
    assert not [path for path in tmp_path.rglob("*") if path.name != "onnx"]


def test_cached_networks_count_when_the_cache_is_kept_small(tmp_path: Path) -> None:
    OnnxSession(export_of(Scale(2.0)), CPU, cache_dir=tmp_path)
    size = files(tmp_path)[0].stat().st_size
    assert keep_below(tmp_path, 0) == size
    assert files(tmp_path) == []


def test_an_export_that_was_interrupted_is_removed_from_the_cache_later(tmp_path: Path) -> None:
    with onnx_file(export_of(Scale(2.0)), tmp_path) as file:
        unfinished = file.parent.with_name(f".{file.parent.name}.abcd1234")
        unfinished.mkdir()
    now_s = unfinished.stat().st_mtime
    assert remove_stale(tmp_path, now_s) == []
    assert remove_stale(tmp_path, now_s + 2 * STALE_S) == [unfinished]
    assert file.is_file()
