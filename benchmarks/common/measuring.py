"""Time of one piece of work, processes of their own, the machine and its load, tables and their JSON."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import psutil
import torch
from rich.console import Console
from rich.table import Table

OUT = Path("out")
"""Folder of results."""


def timed(
    work: Callable[[], Any], repeats: int, typical: Callable[[Sequence[float]], float] = min
) -> tuple[float, Any]:
    """Time a piece of work, after one run that does not count.

    Args:
        work: The work.
        repeats: How many runs count.
        typical: Which of the times, or what of them all, such as statistics.median; the fastest where other programs
            use the cores, too.

    Returns:
        Milliseconds, and the last result.
    """
    result = work()
    spent_ms = []
    for _ in range(repeats):
        result = None  # or its memory would count twice
        began = time.perf_counter()
        result = work()
        spent_ms.append(1e3 * (time.perf_counter() - began))
    return typical(spent_ms), result


def in_subprocess(measure: Callable[..., Any], *arguments: Any, threads: int = 0) -> Any:
    """Call a function in a process of its own, whose memory nothing else has made larger.

    Args:
        measure: A function of a module.
        arguments: Its arguments.
        threads: Of PyTorch; 0 = as it chooses.

    Returns:
        Its result.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(_with_threads, measure, arguments, threads).result()


def machine(threads: int = 0) -> str:
    """Describe the machine and its load: numbers of a busy one are too high.

    Args:
        threads: Of PyTorch; 0 = as it chooses.

    Returns:
        One line.
    """
    used = f"{threads or 'all'} threads"
    return f"{platform.machine()}, {psutil.cpu_count()} cores, {used}, load {psutil.getloadavg()[0]:.1f}"


def print_table(title: str, rows: Sequence[dict[str, Any]]) -> None:
    """Print a table.

    Args:
        title: Its title.
        rows: One line each; columns are the keys of the first.
    """
    table = Table(title=title)
    for name in rows[0]:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    console = Console()
    Console(width=max(console.width, 160)).print(table)


def write_json(name: str, content: Any, folder: Path = OUT) -> None:
    """Write results.

    Args:
        name: Name of the file out/NAME.json.
        content: The results.
        folder: Where to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(content, indent=2), encoding="utf-8")


def _with_threads(measure: Callable[..., Any], arguments: Sequence[Any], threads: int) -> Any:
    if threads:
        torch.set_num_threads(threads)
    with torch.inference_mode():
        return measure(*arguments)
