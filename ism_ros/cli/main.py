"""`ism …`: one file a subcommand, whose slow imports wait until it runs."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from io import TextIOWrapper
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from ism_ros import __version__
from ism_ros.checkpoints.catalog import Checkpoint
from ism_ros.cli.bench import bench
from ism_ros.cli.checkpoints.export import export
from ism_ros.cli.checkpoints.weights import weights
from ism_ros.cli.doctor import doctor
from ism_ros.cli.eval import evaluate
from ism_ros.cli.options import ModelCommand
from ism_ros.cli.render import render
from ism_ros.cli.segment import segment
from ism_ros.cli.serve import serve
from ism_ros.runtime.threads import configure_thread_env

app = typer.Typer(
    name="ism",
    help="Find novel objects in RGB-D frames, from their CAD models alone.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
app.command()(render)
app.command(cls=ModelCommand)(segment)
app.add_typer(weights, name="weights")
app.command(cls=ModelCommand)(doctor)
app.command(cls=ModelCommand)(bench)
app.command(name="eval", cls=ModelCommand)(evaluate)
app.command(cls=ModelCommand)(serve)
app.command()(export)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ism_ros {__version__}")
        raise typer.Exit


@app.callback()
def ism(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Find novel objects in RGB-D frames, from their CAD models alone."""


def main(checkpoints: Mapping[str, Checkpoint] | None = None) -> None:
    """Run the program `ism`; what a user gave wrong ends in one line and exit status 2.

    Args:
        checkpoints: Those that `ism weights` fetches and checks, by name; None = the official ones.
    """
    configure_thread_env()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal that is not UTF-8 shows '?', and nothing fails
            stream.reconfigure(errors="replace")
    try:
        app(obj=checkpoints)
    except (ValueError, OSError) as error:
        Console(stderr=True, soft_wrap=True, highlight=False).print(
            Text("ism:", style="bold red"), Text(_message(error))
        )
        sys.exit(2)


def _message(error: ValueError | OSError) -> str:
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return str(error)


if __name__ == "__main__":
    main()
