"""Weights of a run and their export: a file is the old one or the new one, whenever the program is killed."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
import torch

pytest.importorskip("tqdm", reason="tqdm is not installed: pip install '.[test]'")

from safetensors.torch import load_file

from training.export import export_weights
from training.trainer import load_fitting, save_weights

AVERAGE = {"conv.weight": torch.ones(2, 3), "norm.num_batches_tracked": torch.tensor(7)}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    save_weights(folder / "weights.safetensors", AVERAGE)
    (folder / "run.json").write_text(json.dumps({"command": "train --data /data/tables"}))
    (folder / "curves.png").write_bytes(b"curves")
    return folder


def fail(*arguments: object) -> None:
    raise OSError("ended before the file was whole")


def test_weights_are_written_as_float16_without_counters(run: Path) -> None:
    stored = load_file(run / "weights.safetensors")
    assert {name: value.dtype for name, value in stored.items()} == {"conv.weight": torch.float16}


def test_a_network_with_more_inputs_begins_with_the_weights_of_one_with_fewer(tmp_path: Path) -> None:
    smaller, larger = torch.nn.Conv2d(3, 4, 2), torch.nn.Conv2d(5, 4, 2)
    save_weights(tmp_path / "smaller.safetensors", smaller.state_dict())
    load_fitting(larger, tmp_path / "smaller.safetensors")
    pixels = torch.rand(1, 5, 6, 6)
    torch.testing.assert_close(larger(pixels), smaller(pixels[:, :3]), atol=1e-2, rtol=0)


def test_weights_stay_as_they_were_until_the_new_ones_are_whole(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {file.name: file.read_bytes() for file in run.iterdir()}
    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="ended before"):
        save_weights(run / "weights.safetensors", {"conv.weight": torch.zeros(2, 3)})
    assert {file.name: file.read_bytes() for file in run.iterdir()} == before


def test_an_export_brings_weights_with_their_hash_and_record(run: Path, tmp_path: Path) -> None:
    package, record = tmp_path / "package", tmp_path / "record"
    digest = export_weights("segmentor", run, package, record)
    assert hashlib.sha256((package / "segmentor.safetensors").read_bytes()).hexdigest() == digest
    assert json.loads((package / "sha256.json").read_text()) == {"segmentor": digest}
    assert json.loads((record / "segmentor.json").read_text())["command"] == "train --data tables"
    assert (record / "segmentor.png").read_bytes() == b"curves"


def test_an_export_can_be_the_average_with_weights_that_saw_less(run: Path, tmp_path: Path) -> None:
    save_weights(run / "weights.safetensors", {"stem.weight": torch.full((2, 3), 4.0), "stem.bias": torch.ones(2)})
    save_weights(tmp_path / "start.safetensors", {"stem.weight": torch.zeros(2, 2), "stem.bias": torch.zeros(2)})
    for folder in (tmp_path / "package", tmp_path / "record"):
        folder.mkdir()
    export_weights("descriptor", run, tmp_path / "package", tmp_path / "record", (tmp_path / "start.safetensors", 0.25))
    shipped = load_file(tmp_path / "package" / "descriptor.safetensors")
    torch.testing.assert_close(shipped["stem.weight"].float(), torch.full((2, 3), 1.0))
    torch.testing.assert_close(shipped["stem.bias"].float(), torch.full((2,), 0.25))
    assert json.loads((tmp_path / "record" / "descriptor.json").read_text())["share_in_average_with_start"] == 0.25


def test_shipped_weights_stay_as_they_were_until_the_new_ones_are_whole(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = tmp_path / "segmentor.safetensors"
    shipped.write_bytes(b"of the last release")
    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="ended before"):
        export_weights("segmentor", run, tmp_path, tmp_path / "record")
    assert shipped.read_bytes() == b"of the last release"
