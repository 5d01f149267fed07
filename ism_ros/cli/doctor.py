"""`ism doctor`: what is right on this machine and what is not, and a self-test of the models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ism_ros.cli import options

if TYPE_CHECKING:
    from ism_ros.config.settings import Settings
    from ism_ros.selftest.findings import Finding

STYLES = {"passed": "green", "warning": "yellow", "failed": "bold red"}
"""Style of each state of a finding, as of rich."""


@options.with_option_groups
def doctor(models: options.ModelOptions) -> None:
    """Check ROS, PyTorch, the GPU, folders and checkpoints, and try the models on a sample scene.

    [bold]Example:[/bold] ism doctor --segmentor sam --descriptor dinov2

    Each line is passed, a warning, or failed, with what to do. The scene is rendered and comes with the package: a
    carton and a banana among other things, which the models must find. Exit status 1 when something failed.
    """
    from ism_ros.selftest.findings import Finding
    from ism_ros.selftest.health import examine

    console = Console()
    with console.status("looking around") as status:
        try:
            import_module("ism_ros.config.sources")
        except Exception as error:
            # Settings know the models, and these PyTorch: whatever is wrong with it, the rest can still be looked at.
            advice = "pip install . in the package's folder brings what it needs"
            findings = [Finding("ism_ros", "failed", f"cannot be loaded ({error})", advice)]
            findings += examine("tiny", "tiny")
        else:
            settings = models.load_settings()
            folders = settings.resolved_cache_dir(), settings.resolved_checkpoints_dir()
            findings = examine(settings.segmentor, settings.descriptor, *folders)
            findings.append(_try_models(settings, status.update))
    console.print(_report(findings))
    console.print(_summary(findings))
    if any(finding.state == "failed" for finding in findings):
        raise typer.Exit(1)


def _try_models(settings: Settings, show: Callable[[str], None]) -> Finding:
    from ism_ros.selftest.findings import Finding
    from ism_ros.selftest.self_test import MIN_IOU, SelfTestError, run_in_subprocess

    subject = "self-test"
    models = f"{settings.segmentor} + {settings.descriptor}"
    try:
        result = run_in_subprocess(settings.model_dump(), show)
    except SelfTestError as error:
        return Finding(subject, "failed", f"{models}: {error}", _what_to_do(str(error)))
    found = ", ".join(f"{one.object_id} {one.score:.2f} at IoU {one.iou:.2f}" for one in result.objects)
    if not result.passed:
        advice = "run `ism weights verify`, and try --device cpu; if that does not help, report it with this table"
        return Finding(subject, "failed", f"{models}: {result.failure}", advice)
    against = (
        "as expected" if result.has_expected else f"each at its place (IoU over {MIN_IOU}); no scores are expected"
    )
    return Finding(subject, "passed", f"{models}: {found}, {against}; {result.seconds:.2f} s a frame")


def _what_to_do(error: str) -> str:
    """Return advice where the error's own line has none."""
    if "memory" in error.lower():
        return "close other programs, choose a smaller model, or try --device cpu"
    return "" if "`" in error or "choose one of" in error else "put right what is said above, then run this again"


def _report(findings: Sequence[Finding]) -> Table:
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        words = Text(finding.found)
        if finding.advice:
            words.append(f"\n→ {finding.advice}", style="bold")
        table.add_row(Text(finding.state, style=STYLES[finding.state]), Text(finding.subject), words)
    return table


def _summary(findings: Sequence[Finding]) -> Text:
    failed = sum(finding.state == "failed" for finding in findings)
    warnings = sum(finding.state == "warning" for finding in findings)
    warned = f"{warnings} warning{'' if warnings == 1 else 's'}"
    if failed:
        return Text(f"\n{failed} failed, {warned}: what to do stands under each.", style="bold red")
    return Text(f"\nNothing failed, {warned}.", style="bold green")
