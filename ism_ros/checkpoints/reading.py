"""Checkpoint files into tensors: no pickled code is ever run."""

from __future__ import annotations

import hashlib
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor

from ism_ros.errors import CheckpointError, first_line

StateDict = dict[str, Tensor]
"""Tensors by the names of the parameters and buffers that they are for."""

ARCHIVE_START, PICKLE_START = b"PK\x03\x04", b"\x80"
"""First bytes of ZIP archives and of pickles."""


def read_state_dict(file: Path) -> StateDict:
    """Read the tensors of a checkpoint file onto the CPU.

    Pickled code is never run.

    Args:
        file: .pth, .pt or .safetensors. Of a file that holds {"model": tensors}, these tensors.

    Returns:
        Tensors by their keys.

    Raises:
        CheckpointError: The file is missing, damaged, or holds more than tensors.
    """
    if not file.is_file():
        raise CheckpointError(f"checkpoint {file} does not exist")
    if file.suffix == ".safetensors":
        return _read_safetensors(file)
    archive = _is_archive(file)
    try:
        content = torch.load(file, map_location="cpu", weights_only=True, mmap=archive)
    except pickle.UnpicklingError:
        raise CheckpointError(
            f"checkpoint {file} holds more than tensors (a pickled program) and is not loaded; "
            "take the official file of the weights alone"
        ) from None
    except (OSError, RuntimeError, EOFError, KeyError, ValueError) as error:
        raise _damaged(file, first_line(error)) from None
    if isinstance(content, Mapping) and isinstance(content.get("model"), Mapping):
        content = content["model"]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise CheckpointError(f"checkpoint {file} is not a table of tensors; is it the official file?")
    return dict(content)


def _is_archive(file: Path) -> bool:
    """Tell a ZIP archive, as PyTorch writes them since 1.6, from the single pickle of before.

    Raises:
        CheckpointError: It is neither: what PyTorch says of such files is long, and advises to trust them.
    """
    try:
        with file.open("rb") as stream:
            start = stream.read(24)
    except OSError as error:
        raise CheckpointError(f"checkpoint {file} cannot be read: {error.strerror}") from None
    if zipfile.is_zipfile(file):
        return True
    if start.startswith(ARCHIVE_START):
        raise _damaged(file, "its end is missing")
    if not start:
        raise _damaged(file, "it is empty")
    if not start.startswith(PICKLE_START):
        raise CheckpointError(
            f"checkpoint {file} is no file of PyTorch, it begins with {start!r}: a web page, perhaps, or what stands "
            "for the file in a repository; delete it and get it again (`ism weights verify` says how)"
        )
    return False


def _damaged(file: Path, reason: str) -> CheckpointError:
    return CheckpointError(
        f"checkpoint {file} is damaged or half downloaded ({reason}); "
        "delete it and get it again (`ism weights verify` says how)"
    )


def _read_safetensors(file: Path) -> StateDict:
    from safetensors.torch import load_file

    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise _damaged(file, first_line(error)) from None


def fingerprint(path: Path) -> str:
    """Compute a key of what a checkpoint holds, whatever the file is called.

    A .pth is a ZIP archive that has a checksum of every tensor in its index: nothing more is read. Other files are read
    whole.

    Args:
        path: A checkpoint file, or a folder with safetensors.

    Returns:
        32 hexadecimal digits.
    """
    digest = hashlib.blake2b(digest_size=16)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                digest.update(f"{entry.filename.partition('/')[2]} {entry.file_size} {entry.CRC}\n".encode())
        return digest.hexdigest()
    # large models come in several files
    for file in sorted(path.glob("*.safetensors")) if path.is_dir() else [path]:
        with file.open("rb") as stream:
            while block := stream.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()
