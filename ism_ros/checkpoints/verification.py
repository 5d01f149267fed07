"""Verification of checkpoints on this machine: whether they are the official ones, and whole."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ism_ros.checkpoints.catalog import Checkpoint, is_transformers_folder, places_of, ways_to_get
from ism_ros.checkpoints.download import Progress, sha256_of
from ism_ros.errors import first_line

EXPORTS_NOT_KNOWN = "an export of your own: no official hash, opened only"
"""What is said of ONNX exports that can be opened."""


@dataclass(frozen=True)
class VerificationResult:
    """What was found of one copy of a checkpoint.

    Attributes:
        checkpoint: Which one it should be.
        path: The file or folder.
        passed: Whether it is whole, and the official one as far as that can be known.
        found: What was checked, or what is wrong.
        advice: What to do; empty where it passed.
    """

    checkpoint: Checkpoint
    path: Path
    passed: bool
    found: str
    advice: str = ""


def verify_all(
    checkpoints: tuple[Checkpoint, ...], checkpoints_dir: Path, progress: Progress = lambda doing, done, total: None
) -> Iterator[VerificationResult]:
    """Verify every installed copy of checkpoints.

    Args:
        checkpoints: Which ones.
        checkpoints_dir: Folder of checkpoints.
        progress: Called with "checking", bytes done, and bytes in all.

    Yields:
        One result for each place where one of them is; none for those that are not installed.
    """
    for checkpoint in checkpoints:
        for path in places_of(checkpoint, checkpoints_dir):
            yield verify(checkpoint, path, checkpoints_dir, progress)


def verify(
    checkpoint: Checkpoint,
    path: Path,
    checkpoints_dir: Path,
    progress: Progress = lambda doing, done, total: None,
) -> VerificationResult:
    """Verify one file or folder: size, SHA-256 as far as it is known, and whether it can be opened.

    Nothing in the file is executed.

    Args:
        checkpoint: Which one it should be.
        path: The file or folder.
        checkpoints_dir: Folder of checkpoints, for the advice.
        progress: Called with "checking", bytes done, and bytes in all.

    Returns:
        What was found.
    """
    try:
        if is_transformers_folder(path):
            return VerificationResult(checkpoint, path, True, _check_folder(path))
        if path.name in checkpoint.exports:
            if find_spec("onnxruntime") is None:
                found = "not opened: onnxruntime is not installed"
                return VerificationResult(checkpoint, path, False, found, "pip install onnxruntime")
            return VerificationResult(checkpoint, path, True, _check_onnx(path))
        return VerificationResult(checkpoint, path, True, _check_official(checkpoint, path, progress))
    except (ValueError, OSError) as error:
        advice = f"delete it, then {ways_to_get(checkpoint, checkpoints_dir)}"
        return VerificationResult(checkpoint, path, False, str(error), advice)


def _check_official(checkpoint: Checkpoint, path: Path, progress: Progress) -> str:
    size_bytes = path.stat().st_size
    releases = dict(checkpoint.releases)
    if releases and size_bytes not in releases and None not in releases:
        expected = " or ".join(f"{size:,}" for size in releases)
        raise ValueError(f"{size_bytes:,} bytes instead of {expected}")
    _check_archive(path)
    sha256 = sha256_of(path, progress)
    if sha256 in releases.values():
        return "size, SHA-256" if size_bytes in releases else "SHA-256"
    if releases:
        raise ValueError(f"SHA-256 {sha256[:12]}… is not that of the official file")
    if not sha256.startswith(checkpoint.sha256_prefix):
        raise ValueError(f"SHA-256 {sha256[:12]}… does not begin with {checkpoint.sha256_prefix}, as its name says")
    return f"SHA-256 begins with {checkpoint.sha256_prefix}; the rest is not publicly known"


def _check_archive(path: Path) -> None:
    """Raise ValueError where it is no checkpoint of PyTorch: a ZIP archive with a pickle in it, which is not read."""
    if not zipfile.is_zipfile(path):
        raise ValueError("cut short, or no checkpoint of PyTorch")
    with zipfile.ZipFile(path) as archive:
        if not any(name.endswith("/data.pkl") for name in archive.namelist()):
            raise ValueError("an archive, but no checkpoint of PyTorch")


def _check_onnx(path: Path) -> str:
    try:
        import onnxruntime

        onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ValueError(f"onnxruntime cannot open it ({first_line(error)})") from None
    return EXPORTS_NOT_KNOWN


def _check_folder(folder: Path) -> str:
    try:
        json.loads((folder / "config.json").read_bytes())
    except ValueError:
        raise ValueError("config.json is not JSON") from None
    files = [folder / "model.safetensors"]
    index = folder / "model.safetensors.index.json"
    if not files[0].is_file():
        try:
            files = [folder / name for name in sorted(set(json.loads(index.read_bytes())["weight_map"].values()))]
        except (ValueError, KeyError, AttributeError):
            raise ValueError(f"{index.name} is not an index of weights") from None
    for file in files:
        _check_safetensors(file)
    return "opens; no official hash of this format is kept here"


def _check_safetensors(path: Path) -> None:
    """Raise ValueError where tensors that the header announces are missing."""
    size_bytes = path.stat().st_size
    with path.open("rb") as file:
        header_bytes = int.from_bytes(file.read(8), "little")
        try:
            header = json.loads(file.read(min(header_bytes, size_bytes)))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ValueError(f"{path.name} is cut short, or no safetensors file") from None
    if size_bytes != 8 + header_bytes + max(ends, default=0):
        raise ValueError(f"{path.name} is cut short")
