"""ONNX files of networks, with axes whose length is only known when they run."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from ism_ros.errors import ExportError, first_line

OPSET = 17
"""Version of the ONNX operators: that of onnxruntime 1.13 and TensorRT 8.6."""

Axes = Mapping[int, str]
"""Names of axes whose length may differ, by their number."""
Lengths = tuple[int, int, int]
"""Least, usual and largest length of such an axis."""


@dataclass(frozen=True)
class NetworkExport:
    """A network as it is exported.

    Attributes:
        name: Of the file, without .onnx.
        network: Takes the inputs in order and returns a tensor or a tuple of tensors.
        inputs: An example of each, by name.
        outputs: Their names.
        axes: Axes of inputs and outputs whose length may differ, by the name of the tensor.
        lengths: How long these axes may be, by their name, for runtimes that need to know it before.
        half: Parts of the network that are exact enough in half precision.
    """

    name: str
    network: nn.Module
    inputs: Mapping[str, Tensor]
    outputs: Sequence[str]
    axes: Mapping[str, Axes] = field(default_factory=dict)
    lengths: Mapping[str, Lengths] = field(default_factory=dict)
    half: Sequence[nn.Module] = ()

    def input_shapes(self) -> dict[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]:
        """Compute the least, usual and largest shape of each input, by its name."""
        return {name: self._shapes(name, value) for name, value in self.inputs.items()}

    def _shapes(self, name: str, value: Tensor) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        axes = self.axes.get(name, {})
        every = [self.lengths[axes[i]] if i in axes else (size,) * 3 for i, size in enumerate(value.shape)]
        least, usual, largest = zip(*every, strict=True)
        return least, usual, largest


def write_onnx(export: NetworkExport, folder: Path) -> Path:
    """Write a network as ONNX.

    Args:
        export: The network, which is traced with its example inputs.
        folder: Where to; made if it is missing.

    Returns:
        The file NAME.onnx. Networks of more than 2 GB, the most that a file of ONNX may have, have their weights in
        NAME.onnx.data beside it.

    Raises:
        ExportError: The package onnx is missing, or the network has an operation that ONNX has not.
        OSError: The files cannot be written.
    """
    if find_spec("onnx") is None:
        raise ExportError("writing ONNX needs the package onnx: pip install 'ism_ros[export]'")
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".export_", dir=folder) as made_in:
        file = Path(made_in) / f"{export.name}.onnx"
        _trace(export, file)
        _join_weights(file)
        # the weights first: a file is whole as soon as it has its name
        for made in sorted(Path(made_in).iterdir(), key=lambda path: path == file):
            made.chmod(0o644)
            os.replace(made, folder / made.name)
    return folder / file.name


def _trace(export: NetworkExport, file: Path) -> None:
    try:
        with warnings.catch_warnings(), _quiet("torch.onnx"):
            warnings.simplefilter("ignore")  # the tracer warns of each shape that it takes as it is
            torch.onnx.export(
                export.network.eval(),
                tuple(export.inputs.values()),
                str(file),  # a Path would not do for networks above 2 GB
                input_names=list(export.inputs),
                output_names=list(export.outputs),
                dynamic_axes={name: dict(axes) for name, axes in export.axes.items()},
                opset_version=OPSET,
                dynamo=False,  # the other exporter needs onnxscript
            )
    except OSError:
        raise
    except Exception as error:  # the tracer has many kinds, most of them RuntimeError
        raise ExportError(f"network '{export.name}' cannot be written as ONNX: {first_line(error)}") from error


def _join_weights(file: Path) -> None:
    """Join the files of the weights of a large network, one for each tensor, in one."""
    parts = [path for path in file.parent.iterdir() if path != file]
    if not parts:
        return
    import onnx

    model = onnx.load(file)
    for path in parts:
        path.unlink()
    onnx.save_model(model, file, save_as_external_data=True, location=f"{file.name}.data")


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Silence the logger of a name, but for errors, inside the context."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
