"""Options that several subcommands have: which models, on which device."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

Config = Annotated[Path | None, typer.Option(help="YAML file of settings (config/ism.yaml lists them).")]
Profile = Annotated[
    str | None,
    typer.Option(help="embedded, fast, balanced or accurate (SAM-6D's models); left out: the embedded pair."),
]
Segmentor = Annotated[str | None, typer.Option(help="Proposals by: tiny, sam, sam2, fastsam, or module:attr.")]
SegmentorModel = Annotated[str | None, typer.Option(help="Which of its models, or the path of a checkpoint.")]
Descriptor = Annotated[str | None, typer.Option(help="Descriptors by: tiny, dinov2, dinov3, or module:attr.")]
DescriptorModel = Annotated[str | None, typer.Option(help="Which of its models, or the path of a checkpoint.")]
MinMaskPixels = Annotated[
    int | None,
    typer.Option(help="Least pixels of a mask, 0 = any, -1 = SAM-6D's shares of the image; default 100."),
]
Color = Annotated[
    str | None,
    typer.Option(
        help="The one colour of the CAD models, instead of what their files say: '#5a78aa', '90,120,170' or a name."
    ),
]
Device = Annotated[str | None, typer.Option(help="auto, cpu or cuda:0.")]


def given(**values: Any) -> dict[str, Any]:
    """Those of the options that a user gave, as overrides of settings of the same names."""
    return {name: value for name, value in values.items() if value is not None}


def print_warning(console: Console, text: str) -> None:
    """One line that a reader of the output can look for."""
    console.print(f"warning: {escape(text)}", style="yellow", highlight=False, soft_wrap=True)
