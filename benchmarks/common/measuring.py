"""What the benchmarks share: the time of one piece of work, the peak of a process's memory, tables and their JSON."""

from __future__ import annotations

import json
import platform
import resource
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


def timed(
    work: Callable[[], Any], repeats: int, typical: Callable[[Sequence[float]], float] = min
) -> tuple[float, Any]:
    """Milliseconds of `repeats` runs, after one that does not count, and the last result.

    typical: which of them, or what of them all, such as statistics.median; the fastest where other programs take of
    the cores.
    """
    result = work()
    spent_ms = []
    for _ in range(repeats):
        result = None  # or its memory would count twice
        began = time.perf_counter()
        result = work()
        spent_ms.append(1e3 * (time.perf_counter() - began))
    return typical(spent_ms), result


def peak_bytes() -> int:
    """The most memory that this process has ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def apart(measure: Callable[..., Any], *arguments: Any, threads: int = 0) -> Any:
    """measure(*arguments) in a process of its own, whose memory nothing else has made larger.

    threads: of PyTorch; 0 = as it chooses.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(_with_threads, measure, arguments, threads).result()


def machine(threads: int = 0) -> str:
    """The machine in words, with how busy it is now: numbers of a busy one are too high."""
    used = f"{threads or 'all'} threads"
    return f"{platform.machine()}, {psutil.cpu_count()} cores, {used}, load {psutil.getloadavg()[0]:.1f}"


def print_table(title: str, rows: Sequence[dict[str, Any]]) -> None:
    """One line a row, one column a key of the first row."""
    table = Table(title=title)
    for name in rows[0]:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    console = Console()
    Console(width=max(console.width, 160)).print(table)


def write_json(name: str, content: Any) -> None:
    """`content` into out/NAME.json."""
    OUT.mkdir(exist_ok=True)
    (OUT / f"{name}.json").write_text(json.dumps(content, indent=2), encoding="utf-8")


def _with_threads(measure: Callable[..., Any], arguments: Sequence[Any], threads: int) -> Any:
    if threads:
        torch.set_num_threads(threads)
    with torch.inference_mode():
        return measure(*arguments)
