"""The one thread that runs the model: a job, then the newest frame, in turn."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from ism_ros.node.execution.mailbox import Mailbox

Item = TypeVar("Item")
Result = TypeVar("Result")


class Worker(Generic[Item]):
    """Takes the newest item out of a mailbox and hands it to `process`, one at a time, until `stop`.

    process: must not raise for an ordinary failure; what it raises all the same goes to `on_error`.
    min_period_s: the least time between two starts; asked before every item and whenever the mailbox is woken.

    No item that is older than the last piece of work took is processed: with a camera that is slower than that, a
    newer one may never have come, and what `min_period_s` or a job made wait is not what the camera sees now.
    """

    def __init__(
        self,
        mailbox: Mailbox[Item],
        process: Callable[[Item], None],
        on_error: Callable[[Exception], None],
        min_period_s: Callable[[], float],
    ) -> None:
        self._mailbox = mailbox
        self._process = process
        self._on_error = on_error
        self._min_period_s = min_period_s
        self._jobs: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._began_s: float | None = None
        self._since_s = -float("inf")
        self._took_s = float("inf")
        self._last_start_s = -float("inf")
        self._thread = threading.Thread(target=self._run, name="ism_worker", daemon=True)
        self._thread.start()

    def submit(self, job: Callable[[], Result]) -> Future[Result]:
        """Runs `job` on the worker's thread before the next frame; it is cancelled where the worker has stopped."""
        future: Future[Result] = Future()
        self._jobs.put((future, job))
        self._mailbox.wake()
        if self._stopping.is_set():
            future.cancel()
        return future

    @property
    def busy_s(self) -> float:
        """For how long the item or job at hand has been worked on; 0 while there is none."""
        began_s = self._began_s
        return 0.0 if began_s is None else time.monotonic() - began_s

    def stop(self, timeout_s: float) -> bool:
        """Ends after the item at hand; whether it ended within `timeout_s`. Jobs that wait are cancelled."""
        self._stopping.set()
        self._mailbox.wake()
        self._thread.join(timeout_s)
        while not self._jobs.empty():
            self._jobs.get()[0].cancel()
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._run_job()
            wait_s = self._last_start_s + self._min_period_s() - time.monotonic()
            if wait_s > 0:
                if self._jobs.empty():
                    self._mailbox.wait_for_wake(wait_s)
                    self._since_s = max(self._since_s, time.monotonic() - self._took_s)
                continue
            # between two jobs comes a frame, if there is one: the stream goes on however many jobs there are
            item = self._mailbox.take(None if self._jobs.empty() else 0.0, self._since_s)
            if item is None or self._stopping.is_set():
                continue
            self._last_start_s = time.monotonic()
            with self._at_work():
                try:
                    self._process(item)
                except Exception as error:  # one frame must never end the stream
                    self._on_error(error)

    def _run_job(self) -> None:
        if self._jobs.empty():
            return
        future, job = self._jobs.get()
        if not future.set_running_or_notify_cancel():
            return
        with self._at_work():
            try:
                future.set_result(job())
            except Exception as error:  # the one who submitted it is told
                future.set_exception(error)

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        """What came in before the work that ends now began is older than that work."""
        self._since_s = self._began_s = time.monotonic()
        yield
        self._took_s = time.monotonic() - self._since_s
        self._began_s = None
