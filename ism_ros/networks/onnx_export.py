"""ONNX files of networks, with axes whose length is only known when they run."""

from __future__ import annotations

import logging
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


@dataclass(frozen=True)
class NetworkExport:
    """A network as it is exported.

    Attributes:
        name: Of the file, without .onnx.
        network: Takes the inputs in order and returns a tensor or a tuple of tensors.
        inputs: An example of each, by name.
        outputs: Their names.
        axes: Axes of inputs and outputs whose length may differ, by the name of the tensor.
    """

    name: str
    network: nn.Module
    inputs: Mapping[str, Tensor]
    outputs: Sequence[str]
    axes: Mapping[str, Axes] = field(default_factory=dict)


def onnx_bytes(export: NetworkExport) -> bytes:
    """Write a network as ONNX.

    Args:
        export: The network, which is traced with its example inputs.

    Returns:
        The content of the .onnx file.

    Raises:
        ExportError: The package onnx is missing, or the network has an operation that ONNX has not.
    """
    if find_spec("onnx") is None:
        raise ExportError("writing ONNX needs the package onnx: pip install 'ism_ros[export]'")
    try:
        with warnings.catch_warnings(), _quiet("torch.onnx"), TemporaryDirectory() as folder:
            file = Path(folder) / "network.onnx"
            warnings.simplefilter("ignore")  # the tracer warns of each shape that it takes as it is
            torch.onnx.export(
                export.network.eval(),
                tuple(export.inputs.values()),
                file,
                input_names=list(export.inputs),
                output_names=list(export.outputs),
                dynamic_axes={name: dict(axes) for name, axes in export.axes.items()},
                opset_version=OPSET,
                dynamo=False,  # the other exporter needs onnxscript
            )
            return file.read_bytes()
    except Exception as error:  # the tracer has many kinds, most of them RuntimeError
        raise ExportError(f"network '{export.name}' cannot be written as ONNX: {first_line(error)}") from error


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
