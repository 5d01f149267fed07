"""Files and folders that look like checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch


def put(path: Path, content: bytes = b"weights") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def put_transformers_folder(folder: Path) -> Path:
    safetensors = pytest.importorskip("safetensors.torch")
    put(folder / "config.json", b"{}")
    safetensors.save_file({"a": torch.zeros(3, 4), "b": torch.ones(2)}, folder / "model.safetensors")
    return folder
