"""The machine in words: its processor, and who uses its cores."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from ism_ros.runtime.precision import small_network_dtype

CPUINFO, BOARD, STAT = Path("/proc/cpuinfo"), Path("/proc/device-tree/model"), Path("/proc/stat")
"""Files of Linux: processors, the name of a board such as a Jetson, and times of all cores since the start."""
IDLE_COLUMNS = (3, 4)
"""Columns of the first line of STAT in which cores rest: idle and iowait."""
BUSY_COLUMNS = 8
"""Columns of that line in which times of all kinds stand, each once; those behind are counted in the first two."""


def processor_name() -> str:
    """Name the processor.

    Returns:
        As Linux names it, or the board where it names none, or its architecture.
    """
    lines = _text(CPUINFO).splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return next(filter(None, (*names, _text(BOARD).strip("\0\n "), platform.processor())), platform.machine())


def instruction_set() -> str:
    """Name the largest instruction set that PyTorch uses of the processor, such as AVX2 or AVX512."""
    return torch.backends.cpu.get_cpu_capability()


def multiplies_in_bfloat16() -> bool:
    """Tell whether the processor multiplies in bfloat16, as the networks of tiny then do."""
    return small_network_dtype(torch.device("cpu")) is torch.bfloat16


def processor() -> str:
    """Name the processor and the instruction set that models use of it.

    Returns:
        One line; scores differ a little from instruction set to instruction set.
    """
    convolutions = "bfloat16" if multiplies_in_bfloat16() else "float32"
    return f"{processor_name()}, {instruction_set()}, convolutions in {convolutions}"


@dataclass(frozen=True)
class CoreUse:
    """Use of the cores over a while.

    Attributes:
        cores: Number of the machine's cores.
        own_s: Seconds of cores that this process used.
        own: The same by the time that passed: cores, on average.
        others: Cores that all others used, and what other virtual machines took away; None where it is not known.
    """

    cores: int
    own_s: float
    own: float
    others: float | None

    def is_contended(self, threads: int) -> bool:
        """Tell whether others took cores that this many threads wanted, a tenth of a core or more of each.

        Args:
            threads: Of this process.
        """
        wanted = min(threads, self.cores)
        return self.others is not None and self.others > self.cores - wanted + 0.1 * wanted


class CoreWatch:
    """Watches who uses the cores."""

    def __init__(self) -> None:
        """Start to watch."""
        self._began = time.perf_counter(), time.process_time(), _busy_s()

    def read(self) -> CoreUse:
        """Read the use of the cores since the watch was made."""
        began_s, own_began_s, busy_began_s = self._began
        elapsed_s, own_s = time.perf_counter() - began_s, time.process_time() - own_began_s
        busy_s, others = _busy_s(), None
        if busy_s is not None and busy_began_s is not None:
            others = max(0.0, busy_s - busy_began_s - own_s) / elapsed_s
        return CoreUse(os.cpu_count() or 1, own_s, own_s / elapsed_s, others)


def _busy_s() -> float | None:
    """Seconds in which cores worked, all of them added up; None where the system does not tell."""
    words = _text(STAT).partition("\n")[0].split()[1:]
    if len(words) < BUSY_COLUMNS:
        return None
    ticks = [int(word) for column, word in enumerate(words[:BUSY_COLUMNS]) if column not in IDLE_COLUMNS]
    return sum(ticks) / os.sysconf("SC_CLK_TCK")


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
