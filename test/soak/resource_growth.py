"""Growth of a process's resources over a run: samples of them, and what grew by more than is allowed."""

from __future__ import annotations

import resource
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

MAX_THREAD_GROWTH = 2
"""Threads that may be added: those of the executor are started when they are first needed."""
MAX_FILE_DESCRIPTOR_GROWTH = 4
"""File descriptors that may be added."""
MEBIBYTE = 1024 * 1024


@dataclass(frozen=True)
class Sample:
    """Resources of the node's process at one moment.

    Attributes:
        minutes: Since the first result.
        frames: Results since then.
        memory_mb: Resident memory, MiB.
        threads: Number of threads.
        file_descriptors: Number of open files.
    """

    minutes: float
    frames: int
    memory_mb: float
    threads: int
    file_descriptors: int


def sample_process(pid: int, minutes: float, frames: int) -> Sample:
    """Read the resources of a process from /proc.

    Args:
        pid: The process.
        minutes: Since the first result.
        frames: Results since then.

    Returns:
        The sample.
    """
    process = Path("/proc") / str(pid)
    resident_pages = int((process / "statm").read_text(encoding="ascii").split()[1])
    return Sample(
        minutes=minutes,
        frames=frames,
        memory_mb=resident_pages * resource.getpagesize() / MEBIBYTE,
        threads=len(list((process / "task").iterdir())),
        file_descriptors=len(list((process / "fd").iterdir())),
    )


def exit_status(samples: Sequence[Sample], allowed_mb: float, failures: int, console: Console) -> int:
    """Print how much memory, threads and file descriptors grew from the second quarter of the run to the last.

    Args:
        samples: Samples of the run.
        allowed_mb: Memory growth that is allowed, MiB.
        failures: Failed inferences; none is allowed.
        console: Where to print.

    Returns:
        0 where nothing grew by more than is allowed, else 1.
    """
    limits: dict[str, tuple[Callable[[Sample], float], float]] = {
        "memory, MiB": (lambda sample: sample.memory_mb, allowed_mb),
        "threads": (lambda sample: float(sample.threads), MAX_THREAD_GROWTH),
        "file descriptors": (lambda sample: float(sample.file_descriptors), MAX_FILE_DESCRIPTOR_GROWTH),
    }
    flat = failures == 0
    for name, (value, allowed) in limits.items():
        early, late = quarters([value(sample) for sample in samples])
        flat &= late - early <= allowed
        console.print(f"{name}: {early:.0f} early, {late:.0f} late, {late - early:+.0f} ({allowed:.0f} allowed)")
    return 0 if flat else 1


def quarters(values: Sequence[float]) -> tuple[float, float]:
    """Compute the medians of the second and of the last quarter.

    Args:
        values: Values over time.

    Returns:
        Both medians; those of all values where there are too few.
    """
    quarter = max(1, len(values) // 4)
    return statistics.median(values[quarter : 2 * quarter] or values), statistics.median(values[-quarter:])


def table_of(samples: Sequence[Sample]) -> Table:
    """Lay out a sample a minute.

    Args:
        samples: Samples of the run.

    Returns:
        The table.
    """
    table = Table(title="Node over time")
    for column in ("minute", "frames", "memory, MiB", "threads", "file descriptors"):
        table.add_column(column, justify="right")
    shown = -1
    for sample in samples:
        if int(sample.minutes) > shown or sample is samples[-1]:
            shown = int(sample.minutes)
            table.add_row(
                f"{sample.minutes:.1f}",
                str(sample.frames),
                f"{sample.memory_mb:.0f}",
                str(sample.threads),
                str(sample.file_descriptors),
            )
    return table
