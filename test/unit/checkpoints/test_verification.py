"""Whether installed checkpoints are the official ones, and whole."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from checkpoint_files import put, put_transformers_folder

from ism_ros.checkpoints.catalog import CHECKPOINTS, Checkpoint, places_of
from ism_ros.checkpoints.verification import verify, verify_all


@pytest.fixture
def synthetic(tmp_path: Path) -> tuple[Checkpoint, Path]:
    """A checkpoint of PyTorch as official ones are, with the entry that the table would have for it."""
    path = tmp_path / "sam_vit_b_01ec64.pth"
    torch.save({"layer.weight": torch.arange(5000.0)}, path)
    content = path.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    return replace(CHECKPOINTS["sam/vit_b"], size_bytes=len(content), sha256=sha256), path


class TestVerifying:
    def test_the_right_file_passes(self, synthetic: tuple[Checkpoint, Path]) -> None:
        checkpoint, path = synthetic
        result = verify(checkpoint, path, path.parent)
        assert result.passed
        assert result.found == "size, SHA-256"
        assert not result.advice

    def test_a_file_cut_short_fails(self, synthetic: tuple[Checkpoint, Path]) -> None:
        checkpoint, path = synthetic
        path.write_bytes(path.read_bytes()[:-100])
        result = verify(checkpoint, path, path.parent)
        assert not result.passed
        assert f"{checkpoint.size_bytes:,}" in result.found
        assert "`ism weights download sam/vit_b`" in result.advice

    def test_one_wrong_bit_fails(self, synthetic: tuple[Checkpoint, Path]) -> None:
        checkpoint, path = synthetic
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        result = verify(checkpoint, path, path.parent)
        assert not result.passed
        assert "is not that of the official file" in result.found

    def test_an_earlier_release_passes(self, synthetic: tuple[Checkpoint, Path]) -> None:
        checkpoint, path = synthetic
        assert checkpoint.size_bytes is not None
        assert checkpoint.sha256 is not None
        newer = replace(
            checkpoint, size_bytes=1, sha256="0" * 64, earlier=((checkpoint.size_bytes, checkpoint.sha256),)
        )
        assert verify(newer, path, path.parent).passed

    def test_without_a_known_hash_the_prefix_in_the_name_decides(self, synthetic: tuple[Checkpoint, Path]) -> None:
        checkpoint, path = synthetic
        assert checkpoint.sha256 is not None
        unknown = replace(checkpoint, size_bytes=None, sha256=None, sha256_prefix=checkpoint.sha256[:8])
        result = verify(unknown, path, path.parent)
        assert result.passed
        assert "the rest is not publicly known" in result.found
        assert not verify(replace(unknown, sha256_prefix="00000000"), path, path.parent).passed

    def test_what_is_no_checkpoint_fails_even_with_nothing_known(self, tmp_path: Path) -> None:
        unknown = replace(CHECKPOINTS["dinov3/vits16"], sha256=None, sha256_prefix="")
        path = put(tmp_path / unknown.file_name, b"<html>please log in</html>")
        result = verify(unknown, path, tmp_path)
        assert result.found == "cut short, or no checkpoint of PyTorch"
        assert "accept its licence" in result.advice

    def test_a_transformers_folder_is_checked_for_whole_tensors(self, tmp_path: Path) -> None:
        folder = put_transformers_folder(tmp_path / "dinov2-small")
        checkpoint = CHECKPOINTS["dinov2/vits14"]
        assert verify(checkpoint, folder, tmp_path).passed
        weights = folder / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-4])
        assert verify(checkpoint, folder, tmp_path).found == "model.safetensors is cut short"
        weights.write_bytes(b"\xff" * 100)
        assert "no safetensors file" in verify(checkpoint, folder, tmp_path).found

    def test_a_folder_in_shards_is_checked_shard_by_shard(self, tmp_path: Path) -> None:
        folder = put_transformers_folder(tmp_path / "dinov2-giant")
        (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
        index = {"weight_map": {"a": "model-00001-of-00001.safetensors"}}
        put(folder / "model.safetensors.index.json", json.dumps(index).encode())
        checkpoint = CHECKPOINTS["dinov2/vitg14"]
        assert verify(checkpoint, folder, tmp_path).passed
        (folder / "model-00001-of-00001.safetensors").unlink()
        assert not verify(checkpoint, folder, tmp_path).passed

    def test_an_export_that_does_not_open_fails(self, tmp_path: Path) -> None:
        pytest.importorskip("onnxruntime")
        path = put(tmp_path / "FastSAM-x.onnx", b"not a graph")
        result = verify(CHECKPOINTS["fastsam/x"], path, tmp_path)
        assert not result.passed
        assert "onnxruntime cannot open it" in result.found

    def test_an_export_that_cannot_be_opened_here_is_not_to_be_deleted(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "onnxruntime", None)  # as if it were not installed
        path = put(tmp_path / "FastSAM-x.onnx", b"a graph")
        result = verify(CHECKPOINTS["fastsam/x"], path, tmp_path)
        assert not result.passed
        assert result.advice == "pip install onnxruntime"

    def test_each_place_gets_a_result(self, tmp_path: Path) -> None:
        checkpoint = CHECKPOINTS["dinov2/vits14"]
        put(tmp_path / checkpoint.file_name)
        put_transformers_folder(tmp_path / checkpoint.hub_name)
        assert len(list(places_of(checkpoint, tmp_path))) == 2
        results = list(verify_all(tuple(CHECKPOINTS.values()), tmp_path))
        assert [result.passed for result in results] == [False, True]
