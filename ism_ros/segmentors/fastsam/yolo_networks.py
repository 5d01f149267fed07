"""YOLOv8-seg networks with one class, from an ONNX file or from a PyTorch checkpoint of ultralytics.

Both give the same raw outputs for the same weights; yolo_masks.py decodes them.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ism_ros.errors import CheckpointError, first_line
from ism_ros.segmentors.fastsam.letterbox import STRIDE
from ism_ros.segmentors.fastsam.yolo_masks import BOX_NUMBERS, RawOutputs

logger = logging.getLogger(__name__)

EXPECTED = (
    "FastSAM-s and FastSAM-x, YOLOv8-seg networks with one class and exported without NMS, have "
    "(1, 4 + 1 + C, places) and (1, C, height / 4, width / 4)"
)
"""Text of the expected output shapes, for error messages."""
SMALLEST_IMAGE = np.zeros((STRIDE, STRIDE, 3), dtype=np.uint8)
"""Image by which the sizes of a network's outputs are found."""


class YoloNetwork(Protocol):
    """A network that processes one image at a time."""

    @property
    def input_size(self) -> tuple[int, int] | None:
        """Height and width of the only input that the network takes, pixels; None = any multiples of STRIDE."""
        ...

    def __call__(self, image: NDArray[np.uint8]) -> RawOutputs:
        """Run the network.

        Args:
            image: (height, width, 3) uint8, channels in the network's order.

        Returns:
            The outputs, on the network's device.
        """
        ...


def load_network(file: Path, device: torch.device) -> YoloNetwork:
    """Load a network.

    Args:
        file: A FastSAM .onnx or .pt file.
        device: PyTorch device of the outputs.

    Returns:
        The network.

    Raises:
        CheckpointError: The file is missing, is of another kind, or cannot be read.
    """
    if not file.is_file():
        raise CheckpointError(f"checkpoint {file} does not exist; put a FastSAM .onnx or .pt file there")
    if file.suffix == ".onnx":
        return OnnxNetwork(file, device)
    if file.suffix == ".pt":
        return UltralyticsNetwork(file, device)
    raise CheckpointError(f"checkpoint {file} is neither .onnx nor .pt; give a FastSAM file of either kind")


class OnnxNetwork:
    """A network run by onnxruntime: on the GPU where `device` is one and onnxruntime can use it, else on the CPU.

    On the CPU it uses as many threads as PyTorch does when the network is loaded.
    """

    def __init__(self, file: Path, device: torch.device) -> None:
        """Load the network.

        Args:
            file: A .onnx file.
            device: PyTorch device of the outputs.

        Raises:
            CheckpointError: It cannot be read, or is not a YOLOv8-seg network with one class.
        """
        self._file = file
        self._device = device
        self._session = _onnx_session(file, device)
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or not _matches(inputs[0].shape, (1, 3, None, None)):
            raise CheckpointError(
                f"checkpoint {file} takes {_shapes([value.shape for value in inputs])}; "
                "FastSAM takes one image (1, 3, height, width)"
            )
        check_outputs(file, [output.shape for output in self._session.get_outputs()])
        self._input_name: str = inputs[0].name
        self._dtype = np.float16 if inputs[0].type == "tensor(float16)" else np.float32
        height, width = inputs[0].shape[2:]
        self._input_size = (height, width) if isinstance(height, int) and isinstance(width, int) else None
        if self._input_size is None:
            self(SMALLEST_IMAGE)  # the sizes of its outputs are only known when it runs

    @property
    def input_size(self) -> tuple[int, int] | None:
        """Height and width of the only input that the network takes, pixels; None = any multiples of STRIDE."""
        return self._input_size

    def __call__(self, image: NDArray[np.uint8]) -> RawOutputs:
        """Run the network on an image (height, width, 3) uint8, channels in the network's order."""
        pixels = np.ascontiguousarray(image.transpose(2, 0, 1)[None], dtype=self._dtype)
        pixels /= 255
        outputs = self._session.run(None, {self._input_name: pixels})
        return raw_outputs(self._file, [torch.from_numpy(output).to(self._device) for output in outputs])


class UltralyticsNetwork:
    """A network from a PyTorch checkpoint, which only the package ultralytics can read.

    ultralytics is under AGPL-3.0, is not installed with this project and is imported here alone. Such a checkpoint is
    a pickled Python object: reading it runs code that is in the file, so weights_only is not possible, and only files
    that the user names are read.

    Attributes:
        input_size: None, as it takes any multiples of STRIDE.
    """

    input_size: tuple[int, int] | None = None

    def __init__(self, file: Path, device: torch.device) -> None:
        """Load the network.

        Args:
            file: A .pt file.
            device: PyTorch device it runs on.

        Raises:
            CheckpointError: ultralytics is missing or cannot read it, or it is no YOLOv8-seg network with one class.
        """
        self._file = file
        self._device = device
        self._model = _ultralytics_model(file).to(device)
        self(SMALLEST_IMAGE)

    @torch.no_grad()
    def __call__(self, image: NDArray[np.uint8]) -> RawOutputs:
        """Run the network on an image (height, width, 3) uint8, channels in the network's order."""
        pixels = torch.from_numpy(np.ascontiguousarray(image)).to(self._device)
        outputs = self._model(pixels.permute(2, 0, 1)[None].float() / 255)
        return raw_outputs(self._file, network_outputs(outputs))


def raw_outputs(file: Path, outputs: list[Tensor]) -> RawOutputs:
    """Convert the outputs for a batch of one image.

    Args:
        file: Checkpoint, for error texts.
        outputs: Head (1, 4 + 1 + C, A) and prototypes (1, C, h, w).

    Returns:
        Both without the batch axis, float32.

    Raises:
        CheckpointError: The shapes are not those of a YOLOv8-seg network with one class.
    """
    check_outputs(file, [list(output.shape) for output in outputs])
    head, prototypes = outputs
    return RawOutputs(head[0].float(), prototypes[0].float())


def check_outputs(file: Path, shapes: list[list[Any]]) -> None:
    """Check that outputs have the shapes of a YOLOv8-seg network with one class.

    Args:
        file: Checkpoint, for error texts.
        shapes: Of the outputs. A size that is only known when the network runs is a text or None, as onnxruntime gives
            it, and matches any.

    Raises:
        CheckpointError: They have not.
    """
    found = _shapes(shapes)
    if [len(shape) for shape in shapes] == [3, 4]:
        rows, channels = shapes[0][1], shapes[1][1]
        if not isinstance(rows, int) or not isinstance(channels, int) or rows == BOX_NUMBERS + 1 + channels:
            return
        if rows > BOX_NUMBERS + 1 + channels:
            found += f", {rows - BOX_NUMBERS - channels} classes"
    raise CheckpointError(f"checkpoint {file} gives {found}; {EXPECTED}")


def network_outputs(outputs: Any) -> list[Tensor]:
    """Pick head and prototypes from what an ultralytics segmentation model returns, which differs between versions.

    Args:
        outputs: ((head, prototypes), details) since 8.4; (head, (details, coefficients, prototypes)) before; (head,
            prototypes) where the model was made for export.

    Returns:
        Head and prototypes.
    """
    first, second = outputs
    if isinstance(first, (tuple, list)):
        return [first[0], first[1]]
    return [first, second[-1] if isinstance(second, (tuple, list)) else second]


def _onnx_session(file: Path, device: torch.device) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise CheckpointError(
            f"checkpoint {file} needs the package onnxruntime: pip install onnxruntime (or onnxruntime-gpu)"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    # threads that spin while they wait take the processor from the camera driver
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    providers: list[Any] = ["CPUExecutionProvider"]
    if device.type == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": device.index or 0}))
    try:
        session = onnxruntime.InferenceSession(str(file), options, providers=providers)
    except Exception as error:  # onnxruntime's errors have no common base but this
        raise CheckpointError(f"checkpoint {file} cannot be read as an ONNX model: {first_line(error)}") from error
    if device.type == "cuda" and "CUDAExecutionProvider" not in session.get_providers():
        logger.warning("onnxruntime cannot use the GPU: %s runs on the CPU; install onnxruntime-gpu", file.name)
    return session


def _ultralytics_model(file: Path) -> torch.nn.Module:
    # without this, ultralytics may install packages by itself
    os.environ.setdefault("YOLO_AUTOINSTALL", "false")
    try:
        from ultralytics import YOLO
        from ultralytics import __version__ as version
    except Exception as error:  # a torchvision that does not match torch raises RuntimeError
        raise CheckpointError(
            f"checkpoint {file} needs the package ultralytics ({first_line(error)}): accept its licence, AGPL-3.0, "
            "and pip install ultralytics, or give a FastSAM .onnx file, which needs onnxruntime alone"
        ) from error
    logger.warning("%s is a pickled Python object: reading it runs code that is in it", file)
    try:
        model: torch.nn.Module = YOLO(str(file), task="segment").model.float().eval()
    except Exception as error:  # whatever a foreign pickle raises
        raise CheckpointError(
            f"checkpoint {file} cannot be read by ultralytics {version}: {first_line(error)}"
        ) from error
    return model.requires_grad_(False)


def _matches(shape: list[Any], expected: tuple[int | None, ...]) -> bool:
    """Check whether the known sizes are the expected ones."""
    return len(shape) == len(expected) and all(
        size is None or not isinstance(found, int) or found == size for found, size in zip(shape, expected, strict=True)
    )


def _shapes(shapes: list[list[Any]]) -> str:
    return " and ".join("(" + ", ".join(map(str, shape)) + ")" for shape in shapes) or "none"
