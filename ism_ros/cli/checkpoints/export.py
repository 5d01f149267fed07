"""`ism export`: networks as files of other runtimes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console


def export(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="tiny (both networks), a checkpoint such as sam/vit_b (ism weights list), or FAMILY:PATH.",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option(help="Folder for the files.")] = Path("onnx"),
    format_: Annotated[
        Literal["onnx", "engine"],
        typer.Option("--format", help="onnx, or engine: of TensorRT, for the GPU of this machine."),
    ] = "onnx",
    checkpoints_dir: Annotated[
        Path | None, typer.Option("--dir", help="Folder of checkpoints, instead of the one that is set.")
    ] = None,
) -> None:
    """Write the networks of a model as files for onnxruntime, TensorRT and others.

    [bold]Example:[/bold] ism export sam/vit_b --output onnx

    tiny: segmentor and descriptor. sam, sam2: encoder, point_decoder and box_decoder. dinov2, dinov3: descriptor.
    Images, crops and prompts may be any number. What is around the networks stays in Python (docs/gpu.md).
    """
    from ism_ros.config.sources import load_settings
    from ism_ros.export.exports import write_networks

    console = Console()
    folder = checkpoints_dir or load_settings().resolved_checkpoints_dir()
    with console.status(f"exporting {model}"):
        for file in write_networks(model, folder, output, format_):
            console.print(f"{file}  {file.stat().st_size / 1e6:.1f} MB", highlight=False, soft_wrap=True)
