"""`ism weights`: the official checkpoints of the neural models, listed, fetched, checked and found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table

from ism_ros.checkpoints.catalog import (
    CHECKPOINTS,
    PROFILES,
    Checkpoint,
    checkpoint_named,
    how_to_get,
    installed_path,
    partial_path,
    ways_to_get,
)
from ism_ros.errors import CheckpointError

MIN_WIDTH_FOR_FILES = 110
"""Width of a terminal from which the names of the files fit into the table as well, columns."""

weights = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="""Official checkpoints of the neural models: list, download, verify, path.

The embedded default (tiny) needs none. Checkpoints lie in one folder, which `ism weights path` prints:
--dir, else ISM_CHECKPOINTS_DIR, else ism_ros/checkpoints in the user's data folder (XDG_DATA_HOME).
Its folders are searched too, one level deep, so the checkpoints folder of SAM-6D can be used as it is.""",
)

Folder = Annotated[
    Path | None,
    typer.Option("--dir", help="Folder of checkpoints, instead of the one that is set.", show_default=False),
]
Names = Annotated[
    list[str] | None, typer.Argument(metavar="[NAME]...", help="Such as sam/vit_h; `ism weights list` shows all.")
]


@weights.command("list")
def list_(
    context: typer.Context,
    folder: Folder = None,
    sha256: Annotated[
        bool, typer.Option("--sha256", help="Print `SHA-256  file` lines, as `sha256sum --check` reads them.")
    ] = False,
) -> None:
    """List every checkpoint: size, licence, SHA-256, and whether it is here.

    [bold]Example:[/bold] ism weights list
    """
    checkpoints = _catalog(context)
    if sha256:
        for checkpoint in checkpoints.values():
            if checkpoint.sha256 is not None:
                typer.echo(f"{checkpoint.sha256}  {checkpoint.file_name}")
        return
    checkpoints_dir = _checkpoints_dir(folder)
    console = Console()
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    with_files = console.width >= MIN_WIDTH_FOR_FILES
    for column in ("name", *(("file",) if with_files else ()), "size", "licence", "SHA-256", "here"):
        table.add_column(column, justify="right" if column == "size" else "left", no_wrap=True)
    family = ""
    for checkpoint in checkpoints.values():
        if family not in ("", checkpoint.family):
            table.add_section()
        family = checkpoint.family
        table.add_row(
            checkpoint.name,
            *((checkpoint.file_name,) if with_files else ()),
            _size(checkpoint.size_bytes),
            checkpoint.licence,
            _short_hash(checkpoint),
            _here(checkpoint, checkpoints_dir),
        )
    console.print(table)
    console.print(f"Folder: {checkpoints_dir}", highlight=False, soft_wrap=True)
    console.print("[bold]ism weights download sam/vit_h[/bold] fetches one.", highlight=False)
    console.print(
        "[dim]by hand[/dim]: its licence has to be accepted first; download tells where. "
        "[dim]only[/dim]: no more of the hash is publicly known.",
        highlight=False,
    )


@weights.command()
def download(
    context: typer.Context,
    names: Names = None,
    all_of: Annotated[
        str | None, typer.Option(metavar="PROFILE", help=f"All that a profile needs: {', '.join(PROFILES)}.")
    ] = None,
    folder: Folder = None,
) -> None:
    """Fetch checkpoints. What was interrupted goes on where it stopped; what is here and right is left alone.

    [bold]Example:[/bold] ism weights download sam/vit_h dinov2/vitl14

    Size and SHA-256 are checked before a file gets its name.
    """
    wanted = _chosen(_catalog(context), names, all_of)
    if not wanted:
        raise CheckpointError(f"nothing to fetch: give names, such as sam/vit_h, or --all-of {'|'.join(PROFILES)}")
    checkpoints_dir = _checkpoints_dir(folder)
    for checkpoint in wanted:
        if checkpoint.manual and installed_path(checkpoint, checkpoints_dir) is None:
            raise CheckpointError(
                f"{checkpoint.name} cannot be fetched for you: {how_to_get(checkpoint, checkpoints_dir)}"
            )
    console = Console(stderr=True)
    try:
        with _progress(console) as bar:
            for checkpoint in wanted:
                _download_one(checkpoint, checkpoints_dir, bar, console)
    except KeyboardInterrupt:
        console.print("Stopped; the same command goes on from here.")
        raise typer.Exit(130) from None


@weights.command()
def verify(context: typer.Context, names: Names = None, folder: Folder = None) -> None:
    """Check the checkpoints that are here (or those named): size, SHA-256, and whether they open.

    [bold]Example:[/bold] ism weights verify

    Exit status 1 when one is wrong or a named one is missing.
    """
    from ism_ros.checkpoints.verification import verify_all

    checkpoints_dir = _checkpoints_dir(folder)
    checkpoints = _catalog(context)
    wanted = _chosen(checkpoints, names)
    console = Console()
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("name", "", "found", "where"):
        table.add_column(column, overflow="fold")
    wrong = False
    seen: set[str] = set()
    with _progress(Console(stderr=True)) as bar:
        task = bar.add_task("checking", total=None)
        for verdict in verify_all(
            wanted or tuple(checkpoints.values()),
            checkpoints_dir,
            lambda doing, done, total: bar.update(task, completed=done, total=total),
        ):
            seen.add(verdict.checkpoint.name)
            wrong |= not verdict.passed
            state = "[green]passed[/green]" if verdict.passed else "[bold red]wrong[/bold red]"
            found = escape(verdict.found) + (f"\n[bold]{escape(verdict.advice)}[/bold]" if verdict.advice else "")
            table.add_row(verdict.checkpoint.name, state, found, escape(str(verdict.path)))
        bar.remove_task(task)
    for checkpoint in wanted:
        if checkpoint.name not in seen:
            wrong = True
            advice = ways_to_get(checkpoint, checkpoints_dir)
            table.add_row(checkpoint.name, "[bold red]missing[/bold red]", f"[bold]{escape(advice)}[/bold]", "")
    if table.row_count:
        console.print(table)
    else:
        console.print(f"No checkpoint is in {checkpoints_dir}.", highlight=False, soft_wrap=True)
    if wrong:
        raise typer.Exit(1)


@weights.command()
def path(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="Such as sam/vit_h; without it, the folder.")] = None,
    folder: Folder = None,
) -> None:
    """Print the folder of checkpoints, or where one of them is.

    [bold]Example:[/bold] ls -l $(ism weights path)
    """
    checkpoints_dir = _checkpoints_dir(folder)
    if name is None:
        typer.echo(checkpoints_dir)
        return
    from ism_ros.checkpoints.catalog import find_checkpoint

    checkpoint = checkpoint_named(name, _catalog(context))
    typer.echo(find_checkpoint(checkpoints_dir, checkpoint.family, checkpoint.model))


def _checkpoints_dir(folder: Path | None) -> Path:
    from ism_ros.config.sources import load_settings

    overrides = {} if folder is None else {"checkpoints_dir": str(folder)}
    return load_settings(overrides=overrides).resolved_checkpoints_dir().absolute()


def _catalog(context: typer.Context) -> Mapping[str, Checkpoint]:
    """Return the checkpoints that `main` was given, else the official ones."""
    return context.obj or CHECKPOINTS


def _chosen(
    checkpoints: Mapping[str, Checkpoint], names: Sequence[str] | None, profile: str | None = None
) -> tuple[Checkpoint, ...]:
    """Return the checkpoints named, each once."""
    wanted = list(names or ())
    if profile is not None:
        if profile not in PROFILES:
            raise CheckpointError(f"profile '{profile}' is unknown; choose one of: {', '.join(PROFILES)}")
        wanted += PROFILES[profile]
    return tuple(checkpoint_named(name, checkpoints) for name in dict.fromkeys(wanted))


def _download_one(checkpoint: Checkpoint, checkpoints_dir: Path, bar: Progress, console: Console) -> None:
    from ism_ros.checkpoints.download import DownloadError, download
    from ism_ros.checkpoints.verification import verify

    task = bar.add_task(checkpoint.name, total=None)

    def show(doing: str, done: int, total: int | None) -> None:
        bar.update(task, description=f"{checkpoint.name} {doing}", completed=done, total=total)

    target = checkpoints_dir / checkpoint.file_name
    here = installed_path(checkpoint, checkpoints_dir)
    if here is not None:
        verdict = verify(checkpoint, here, checkpoints_dir, show)
        if verdict.passed:
            bar.remove_task(task)
            console.print(f"{checkpoint.name} is here and right: {here}", highlight=False, soft_wrap=True)
            return
        if here != target:
            raise CheckpointError(f"{here} is wrong ({verdict.found}): delete it and try again")
    try:
        download(checkpoint.url, target, checkpoint.size_bytes, checkpoint.sha256, show)
    except DownloadError as error:
        by_hand = how_to_get(checkpoint, checkpoints_dir)
        raise CheckpointError(f"{checkpoint.name} did not come: {error}; try again, or {by_hand}") from None
    bar.remove_task(task)
    console.print(f"{checkpoint.name} is in {target}", highlight=False, soft_wrap=True)


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    return Progress(*columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal)


def _size(size_bytes: int | None) -> str:
    if size_bytes is None:
        return "not known"
    return f"{size_bytes / 1e9:.2f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.0f} MB"


def _short_hash(checkpoint: Checkpoint) -> str:
    if checkpoint.sha256 is not None:
        return f"{checkpoint.sha256[:10]}…"
    return f"{checkpoint.sha256_prefix}… only" if checkpoint.sha256_prefix else "not known"


def _here(checkpoint: Checkpoint, checkpoints_dir: Path) -> str:
    """Say where it is within the folder, or how far its download has come; '' where neither."""
    here = installed_path(checkpoint, checkpoints_dir)
    if here is not None:
        place = here.relative_to(checkpoints_dir)
        return (
            f"[green]yes[/green] [dim]{escape(str(place.parent))}/[/dim]"
            if place.parent != Path()
            else "[green]yes[/green]"
        )
    part = partial_path(checkpoints_dir / checkpoint.file_name)
    if part.is_file():
        share = f"{part.stat().st_size / checkpoint.size_bytes:.0%}" if checkpoint.size_bytes else "begun"
        return f"[yellow]{share}[/yellow]"
    return "[dim]by hand[/dim]" if checkpoint.manual else ""
