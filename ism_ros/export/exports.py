"""Which networks a model consists of when it is exported, and the writing of their files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal

from ism_ros.checkpoints.catalog import checkpoint_named, find_checkpoint
from ism_ros.checkpoints.loaders.dinov2_checkpoint import load_dinov2
from ism_ros.checkpoints.loaders.dinov3_checkpoint import load_dinov3
from ism_ros.checkpoints.loaders.sam2_checkpoint import load_sam2
from ism_ros.checkpoints.loaders.sam_checkpoint import load_sam
from ism_ros.checkpoints.shipped import load_weights
from ism_ros.descriptors.dinov2 import CROP_SIZE
from ism_ros.descriptors.tiny.descriptor_network import TinyDescriptorNetwork
from ism_ros.descriptors.tiny.onnx_descriptor import descriptor_export
from ism_ros.errors import ExportError
from ism_ros.export.tensorrt_engine import write_engine
from ism_ros.networks.onnx_export import NetworkExport, write_onnx
from ism_ros.networks.sam_networks import sam2_exports, sam_exports
from ism_ros.networks.vit_network import vit_export
from ism_ros.segmentors.tiny.onnx_segmentor import segmentor_export
from ism_ros.segmentors.tiny.segmentor_network import TinyNetwork

ExportFormat = Literal["onnx", "engine"]
"""ONNX, or TensorRT's own for the GPU on which it is written."""
SHIPPED = "tiny"
"""Name of the pair that comes with the package."""

WRITERS: Mapping[ExportFormat, Callable[[NetworkExport, Path], Path]] = {"onnx": write_onnx, "engine": write_engine}
"""What writes a network into a folder, by format."""

FAMILIES: Mapping[str, Callable[[Path], list[NetworkExport]]] = {
    "sam": lambda checkpoint: sam_exports(load_sam(checkpoint)),
    "sam2": lambda checkpoint: sam2_exports(load_sam2(checkpoint)),
    "dinov2": lambda checkpoint: [vit_export(load_dinov2(checkpoint, CROP_SIZE), CROP_SIZE)],
    "dinov3": lambda checkpoint: [vit_export(load_dinov3(checkpoint, CROP_SIZE), CROP_SIZE)],
}
"""Networks of a checkpoint, by the family of its name."""


def exports_of(model: str, checkpoints_dir: Path) -> list[NetworkExport]:
    """Load the networks of a model.

    Args:
        model: `tiny`, or the name of a checkpoint such as sam/vit_b; or FAMILY:PATH of a file or folder.
        checkpoints_dir: Folder that is searched for checkpoints.

    Returns:
        Its networks.

    Raises:
        CheckpointError: The checkpoint is unknown, missing or cannot be used.
        ExportError: Models of this family have no export.
    """
    if model == SHIPPED:
        segmentor, descriptor = TinyNetwork(), TinyDescriptorNetwork()
        load_weights(segmentor, "segmentor")
        load_weights(descriptor, "descriptor")
        return [segmentor_export(segmentor), descriptor_export(descriptor)]
    family, is_path, path = model.partition(":")
    if not is_path:
        family, path = checkpoint_named(model).family, checkpoint_named(model).model
    if family not in FAMILIES:
        raise ExportError(f"'{model}' has no export; choose {SHIPPED}, or a checkpoint of: {', '.join(FAMILIES)}")
    return FAMILIES[family](find_checkpoint(checkpoints_dir, family, path))


def write_networks(model: str, checkpoints_dir: Path, folder: Path, format_: ExportFormat = "onnx") -> Iterator[Path]:
    """Write the networks of a model.

    Args:
        model: As of `exports_of`.
        checkpoints_dir: Folder that is searched for checkpoints.
        folder: Where to; made if it is missing.
        format_: Of the files.

    Yields:
        Each file, once it is written.

    Raises:
        CheckpointError: The checkpoint is unknown, missing or cannot be used.
        ExportError: Models of this family have no export, a network cannot be exported, or a package is missing.
        OSError: The files cannot be written.
    """
    for export in exports_of(model, checkpoints_dir):
        yield WRITERS[format_](export, folder)
