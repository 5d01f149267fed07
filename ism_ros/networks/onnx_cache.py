"""ONNX files in the cache folder, so that a network is exported once and not at every start."""

from __future__ import annotations

import hashlib
import inspect
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

import torch
from torch import Tensor, nn

from ism_ros.networks.onnx_export import OPSET, NetworkExport, write_onnx
from ism_ros.runtime.cache_folder import ONNX_FOLDER, mark_used, warn_not_written

PACKAGES = ("ism_ros", "torch", "onnx", "transformers")
"""Packages whose versions change what is exported."""
OWN = "ism_ros."
"""Prefix of the modules whose source is part of the key; for those of other packages their versions are."""


@contextmanager
def onnx_file(export: NetworkExport, cache_dir: Path | None) -> Iterator[Path]:
    """Find the ONNX file of a network in the cache, or write it.

    Files of the cache are never changed: another network, other weights or another version have another name.

    Args:
        export: The network.
        cache_dir: Folder of the cache; None = nothing is kept.

    Yields:
        The file, in a folder of its own; one that could not be kept is removed at the end of the block.

    Raises:
        ExportError: As `write_onnx`.
    """
    kept = None if cache_dir is None else _kept(export, cache_dir / ONNX_FOLDER)
    if kept is not None:
        yield kept
        return
    with TemporaryDirectory(prefix="ism_onnx_") as folder:
        yield write_onnx(export, Path(folder))


def remove(file: Path) -> None:
    """Remove a file that `onnx_file` found and that turned out to be damaged, with all that is beside it."""
    shutil.rmtree(file.parent, ignore_errors=True)


def onnx_key(export: NetworkExport) -> str:
    """Make the name under which the file of a network is cached.

    Args:
        export: The network.

    Returns:
        32 hexadecimal digits: a digest of weights, structure, source code, inputs and outputs, and of versions.
    """
    digest = hashlib.blake2b(digest_size=16)
    inputs = {name: (tuple(value.shape), str(value.dtype)) for name, value in export.inputs.items()}
    axes = {name: dict(of) for name, of in export.axes.items()}
    digest.update(repr((OPSET, _versions(), export.name, inputs, tuple(export.outputs), axes)).encode())
    for source in sorted({inspect.getsource(sys.modules[name]) for name in _own_modules(export.network)}):
        digest.update(source.encode())
    for name, module in export.network.named_modules():
        digest.update(repr((name, type(module).__qualname__, _plain_attributes(module))).encode())
    for name, tensor in (*export.network.named_parameters(), *export.network.named_buffers()):
        digest.update(repr((name, tuple(tensor.shape), str(tensor.dtype))).encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()


def _kept(export: NetworkExport, folder: Path) -> Path | None:
    """Return the file in the cache, written where it is missing; None where it cannot be."""
    home = folder / onnx_key(export)
    file = home / f"{export.name}.onnx"
    if file.is_file():
        mark_used(home)
        return file
    try:
        folder.mkdir(parents=True, exist_ok=True)
        made = Path(mkdtemp(prefix=f".{home.name}.", dir=folder))
    except OSError as error:
        warn_not_written(folder, error.strerror or str(error))
        return None
    try:
        write_onnx(export, made)
        made.chmod(0o755)
        os.replace(made, home)
    except OSError as error:
        shutil.rmtree(made, ignore_errors=True)
        if not file.is_file():  # another program was faster
            warn_not_written(folder, error.strerror or str(error))
            return None
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
    return file


def _versions() -> list[str]:
    found = []
    for package in PACKAGES:
        try:
            found.append(version(package))
        except PackageNotFoundError:
            found.append("")
    return found


def _own_modules(network: nn.Module) -> set[str]:
    return {name for module in network.modules() if (name := type(module).__module__).startswith(OWN)}


def _plain_attributes(module: nn.Module) -> dict[str, Any]:
    """Numbers and words that a module computes with, such as heads, strides and the sides of windows."""
    plain = (bool, int, float, str, tuple, type(None))
    config = getattr(module, "config", None)
    found = {name: value for name, value in sorted(vars(module).items()) if isinstance(value, plain)}
    return {**found, "training": False, "config": "" if config is None else str(config)}


def _bytes(tensor: Tensor) -> memoryview:
    flat = tensor.detach().cpu().contiguous().flatten()
    return flat.view(torch.uint8).numpy().data if flat.numel() else memoryview(b"")
