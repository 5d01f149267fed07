"""The one thread that runs the model: jobs and the newest frame in turn."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ism_ros.node.execution.mailbox import Mailbox

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class LastWork:
    """When the last item was processed.

    Attributes:
        since_start_s: Time since it began, seconds; infinite before the first.
        took_s: Its duration, seconds; 0 before the first.
    """

    since_start_s: float
    took_s: float


class WorkerThread(Generic[Item]):
    """Takes the newest item out of a mailbox and processes it, one at a time, until `stop`.

    No item that is older than the duration of the last piece of work is processed: with a camera that is slower than
    that, a newer one may never have come, and what `wait_s` or a job delayed is not what the camera sees now.
    """

    def __init__(
        self,
        mailbox: Mailbox[Item],
        process: Callable[[Item], None],
        on_error: Callable[[Exception], None],
        wait_s: Callable[[LastWork], float],
        name: str = "ism_worker",
    ) -> None:
        """Start the thread.

        Args:
            mailbox: Where items come from.
            process: Processes one item; must not raise for an ordinary failure.
            on_error: Receives what `process` raises all the same.
            wait_s: Returns how long the next item is to wait at least, seconds; called before every item, after each
                wait and whenever the mailbox is woken.
            name: Of the thread.
        """
        self._mailbox = mailbox
        self._process = process
        self._on_error = on_error
        self._wait_s = wait_s
        self._jobs: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._work_began_s: float | None = None
        self._oldest_item_s = -float("inf")
        self._work_duration_s = float("inf")
        self._last_start_s, self._last_took_s = -float("inf"), 0.0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, job: Callable[[], Result]) -> Future[Result]:
        """Run `job` on this thread before the next item.

        Returns:
            Its result; cancelled where the thread has stopped.
        """
        future: Future[Result] = Future()
        self._jobs.put((future, job))
        self._mailbox.wake()
        if self._stopping.is_set():
            future.cancel()
        return future

    @property
    def busy_s(self) -> float:
        """Seconds for which the current item or job has been running, 0 if there is none."""
        began_s = self._work_began_s
        return 0.0 if began_s is None else time.monotonic() - began_s

    def stop(self, timeout_s: float) -> bool:
        """Stop after the current item and cancel the jobs that wait.

        Args:
            timeout_s: How long to wait for the current item.

        Returns:
            Whether the thread has ended.
        """
        self._stopping.set()
        self._mailbox.wake()
        self._thread.join(timeout_s)
        while not self._jobs.empty():
            self._jobs.get()[0].cancel()
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._run_job()
            wait_s = self._wait_s(LastWork(time.monotonic() - self._last_start_s, self._last_took_s))
            if wait_s > 0:
                if self._jobs.empty():
                    self._mailbox.wait_for_wake(wait_s)
                    self._oldest_item_s = max(self._oldest_item_s, time.monotonic() - self._work_duration_s)
                continue
            # between two jobs comes a frame, if there is one: the stream goes on however many jobs there are
            item = self._mailbox.take(None if self._jobs.empty() else 0.0, self._oldest_item_s)
            if item is None or self._stopping.is_set():
                continue
            self._last_start_s = time.monotonic()
            with self._timed():
                try:
                    self._process(item)
                except Exception as error:  # one frame must never end the stream
                    self._on_error(error)
            self._last_took_s = time.monotonic() - self._last_start_s

    def _run_job(self) -> None:
        if self._jobs.empty():
            return
        future, job = self._jobs.get()
        if not future.set_running_or_notify_cancel():
            return
        with self._timed():
            try:
                future.set_result(job())
            except Exception as error:  # goes to the caller of `submit`
                future.set_exception(error)

    @contextmanager
    def _timed(self) -> Iterator[None]:
        """Time a piece of work; items that came before it began are too old when it ends."""
        self._oldest_item_s = self._work_began_s = time.monotonic()
        yield
        self._work_duration_s = time.monotonic() - self._oldest_item_s
        self._work_began_s = None
