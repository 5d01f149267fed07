"""Who runs which callback: those of the stream at once, all others on threads of their own."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.context import Context
from rclpy.executors import Executor, ExternalShutdownException, ShutdownException, TimeoutException


class StreamExecutor(Executor):
    """Runs callbacks of `quick`, a group of callbacks that never wait, on the thread that spins, and each of the
    others, which may wait as long as they like, on one of `threads` threads.

    For ninety messages a second the way to another thread and back costs as much as all that is done with them.
    on_error: told what a callback raises.
    """

    def __init__(
        self,
        quick: CallbackGroup,
        threads: int,
        on_error: Callable[[BaseException], None],
        context: Context | None = None,
    ) -> None:
        super().__init__(context=context)
        self._quick = quick
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="ism_callback")
        self._on_error = on_error
        self._handed_over: set[Any] = set()

    def spin_once(self, timeout_sec: float | None = None) -> None:
        """Waits for one callback, and runs it or hands it to a thread."""
        try:
            handler, entity, _ = self.wait_for_ready_callbacks(timeout_sec=timeout_sec)
        except (ExternalShutdownException, ShutdownException, TimeoutException):
            return
        if entity is not None and entity.callback_group is self._quick:
            self._run(handler)
        elif handler not in self._handed_over:  # what waits for its thread comes again
            self._handed_over.add(handler)
            self._threads.submit(self._run, handler)

    def shutdown(self, timeout_sec: float | None = None) -> bool:
        """Takes nothing more. Does not wait for callbacks that threads have been handed."""
        ended = bool(super().shutdown(timeout_sec))
        self._threads.shutdown(wait=False)
        return ended

    def _run(self, handler: Any) -> None:
        handler()
        self._handed_over.discard(handler)
        if handler.done() and (error := handler.exception()) is not None:
            self._on_error(error)
