"""Time, operations, rates and memory of a device, for bench_gpu_frame.py."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import torch
from torch.utils.flop_counter import FlopCounterMode

from ism_ros.runtime.memory import device_peak_bytes, peak_bytes


class Probe(Protocol):
    """Measures named stages."""

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Measure what runs in the block.

        Args:
            name: Name of the stage.
        """
        ...


class Stopwatch:
    """Time of named stages: events on a GPU, so that nothing waits for anything while it runs, else the clock."""

    def __init__(self, device: str) -> None:
        """Measure on a device.

        Args:
            device: Name of the device.
        """
        self._device = torch.device(device)
        self._spans: dict[str, list[Callable[[], float]]] = defaultdict(list)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure what runs in the block.

        Args:
            name: Name of the stage.
        """
        if self._device.type == "cuda":
            began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            began.record()
            yield
            ended.record()
            self._spans[name].append(lambda: began.elapsed_time(ended))
        else:
            since = time.perf_counter()
            yield
            spent_ms = 1e3 * (time.perf_counter() - since)
            self._spans[name].append(lambda: spent_ms)

    def ms(self) -> dict[str, float]:
        """Read the times since the last call; waits for the device.

        Returns:
            Milliseconds by stage.
        """
        wait_for(self._device)
        spent = {name: sum(span() for span in spans) for name, spans in self._spans.items()}
        self._spans.clear()
        return spent


class Operations:
    """Floating-point operations of named stages.

    Attributes:
        counted: Operations by stage.
    """

    def __init__(self) -> None:
        """Start at 0."""
        self.counted: dict[str, float] = defaultdict(float)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure what runs in the block.

        Args:
            name: Name of the stage.
        """
        with FlopCounterMode(display=False) as counter:
            yield
        self.counted[name] += counter.get_total_flops()


def matrix_rate(dtype: torch.dtype, side: int, device: str) -> float:
    """Measure the rate of large matrix products, as PyTorch does them by default.

    Args:
        dtype: Type of the numbers.
        side: Side of the matrices.
        device: The device.

    Returns:
        TFLOP/s.
    """
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    ms = ms_of_ten(lambda: a @ b, device)
    return float(f"{10 * 2 * side**3 / (ms * 1e-3) / 1e12:.3g}")


def copy_rate(side: int, device: str) -> float:
    """Measure the rate of copies.

    Args:
        side: A matrix of 4 side x side numbers of four bytes is copied.
        device: The device.

    Returns:
        GB/s read and written.
    """
    source = torch.randn(4 * side, side, device=device)
    target = torch.empty_like(source)
    return float(f"{10 * 2 * source.nbytes / (ms_of_ten(lambda: target.copy_(source), device) * 1e-3) / 1e9:.3g}")


def ms_of_ten(work: Callable[[], Any], device: str) -> float:
    """Time ten runs, after three that do not count.

    Args:
        work: The work.
        device: The device.

    Returns:
        Milliseconds of all ten.
    """
    watch = Stopwatch(device)
    for _ in range(3):
        work()
    with watch.stage("ten"):
        for _ in range(10):
            work()
    return watch.ms()["ten"]


def wait_for(device: torch.device) -> None:
    """Wait for everything that was started on the device.

    Args:
        device: The device.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_mb(device: str) -> float:
    """Read the peak memory.

    Args:
        device: The device.

    Returns:
        MiB of the device since `reset_peak`; on the CPU of the process since it was started.
    """
    return round((device_peak_bytes(device) or peak_bytes()) / 2**20)
