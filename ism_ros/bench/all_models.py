"""Every profile that can be measured on a machine, in one table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table

from ism_ros.bench.bench_run import BenchRun
from ism_ros.bench.report import milliseconds_text, rate_text

CONFIGURATIONS: Mapping[str, Mapping[str, Any]] = {
    "embedded": {"profile": "embedded"},
    "fast": {"profile": "fast"},
    "balanced": {"profile": "balanced"},
    "accurate-guided": {"profile": "accurate", "prompts": "guided"},
    "accurate": {"profile": "accurate", "prompts": "grid"},
}
"""Settings that are measured, by name, the fastest first."""
COLUMNS = ("", "median, ms", "90 %, ms", "frames/s", "proposals", "memory, MB")
"""Heads of the table."""

Runs = Mapping[str, BenchRun | str]
"""What was measured, or why it could not be, by name."""


def runs_table(runs: Runs) -> Table:
    """Write runs as a table for a terminal.

    Args:
        runs: The runs.

    Returns:
        A row a run.
    """
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for head in COLUMNS:
        table.add_column(head, justify="right" if head else "left", no_wrap=True)
    for name, run in runs.items():
        table.add_row(name, *(("-",) * (len(COLUMNS) - 1) if isinstance(run, str) else _cells(run)))
    return table


def runs_markdown(runs: Runs) -> str:
    """Write runs as a table of Markdown, with what they were measured on.

    Args:
        runs: The runs.

    Returns:
        The text.
    """
    lines = ["| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
    measured = [run for run in runs.values() if isinstance(run, BenchRun)]
    for name, run in runs.items():
        cells = (run, *("",) * (len(COLUMNS) - 2)) if isinstance(run, str) else _cells(run)
        lines.append("| " + " | ".join((name, *cells)) + " |")
    if measured:
        machine, frame = measured[0].machine, measured[0].frame
        cuda = "" if machine.gpu is None else f", CUDA {machine.cuda}"
        size = f"{frame.width} x {frame.height}, {frame.objects} objects known"
        lines += ["", f"{machine.place}, PyTorch {machine.torch}{cuda}; {frame.source}, {size}"]
    return "\n".join(lines) + "\n"


def _cells(run: BenchRun) -> tuple[str, ...]:
    times, memory = run.times, run.times.memory
    mb = memory.peak if memory.device_peak is None else memory.device_peak
    spreads = milliseconds_text(times.frame.median_ms), milliseconds_text(times.frame.p90_ms)
    return *spreads, rate_text(times.frames_per_s), str(times.proposals), f"{mb:.0f}"
