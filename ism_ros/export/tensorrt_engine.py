"""TensorRT engines of networks, made of their ONNX files for the GPU of this machine."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ism_ros.errors import ExportError
from ism_ros.networks.onnx_export import NetworkExport, write_onnx
from ism_ros.runtime.atomic_files import write_atomically


def write_engine(export: NetworkExport, folder: Path) -> Path:
    """Write a network as a TensorRT engine, which runs on GPUs of the kind and with the TensorRT it was made with.

    Args:
        export: The network; in float16 where its parts are exact enough in half precision.
        folder: Where to; made if it is missing.

    Returns:
        The file NAME.engine.

    Raises:
        ExportError: The package tensorrt or a GPU is missing, or TensorRT cannot build the network.
        OSError: The file cannot be written.
    """
    try:
        import tensorrt
    except ImportError:
        raise ExportError("format engine needs the package tensorrt: pip install tensorrt (docs/gpu.md)") from None
    logger: Any = tensorrt.Logger(tensorrt.Logger.ERROR)
    builder: Any = tensorrt.Builder(logger)
    if builder is None:
        raise ExportError("format engine needs an NVIDIA GPU: TensorRT measures what is fastest on it")
    network = builder.create_network(1 << int(tensorrt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH))
    parser = tensorrt.OnnxParser(network, logger)
    with TemporaryDirectory(prefix="ism_onnx_") as made_in:
        file = write_onnx(export, Path(made_in))
        if not parser.parse_from_file(str(file)):
            reason = parser.get_error(0).desc() if parser.num_errors else "no reason given"
            raise ExportError(f"TensorRT cannot read network '{export.name}': {reason}")
        config = builder.create_builder_config()
        profile = builder.create_optimization_profile()
        for name, shapes in export.input_shapes().items():
            profile.set_shape(name, *shapes)
        config.add_optimization_profile(profile)
        if export.half:
            config.set_flag(tensorrt.BuilderFlag.FP16)
        plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise ExportError(f"TensorRT cannot build network '{export.name}': see the lines above")
    engine = folder / f"{export.name}.engine"
    write_atomically(engine, bytes(plan))
    return engine
