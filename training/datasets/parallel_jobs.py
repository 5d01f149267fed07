"""Work on many files in as many processes as there are cores."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import Any

import cv2
from tqdm import tqdm


def portions(numbers: list[int], size: int) -> list[list[int]]:
    """Split numbers into portions.

    Args:
        numbers: The numbers.
        size: Most numbers of a portion.

    Returns:
        The portions, in order.
    """
    return [numbers[first : first + size] for first in range(0, len(numbers), size)]


def run_all(
    work: Callable[..., None], tasks: Iterable[Any], arguments: tuple[Any, ...], jobs: int, unit: str, size: int
) -> None:
    """Call work(task, *arguments) for all tasks in several processes, with a progress bar.

    Args:
        work: A function of a module.
        tasks: First argument of each call.
        arguments: The other arguments.
        jobs: Number of processes, each with one thread.
        unit: What the progress bar counts.
        size: How many of these a task stands for.
    """
    tasks = list(tasks)
    if not tasks:
        return
    with (
        ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_use_one_thread) as pool,
        tqdm(total=len(tasks) * size, unit=unit, smoothing=0.05) as bar,
    ):
        for done in as_completed([pool.submit(work, task, *arguments) for task in tasks]):
            done.result()
            bar.update(size)


def _use_one_thread() -> None:
    cv2.setNumThreads(1)
