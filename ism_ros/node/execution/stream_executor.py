"""The executor: callbacks of the stream run at once, all others on a pool of threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.context import Context
from rclpy.executors import Executor, ExternalShutdownException, ShutdownException, TimeoutException


class StreamExecutor(Executor):
    """Runs the short callbacks of one group on the thread that spins, and all others in a pool of threads.

    For ninety messages a second, handing each to another thread and back costs as much as all that is done with them.
    """

    def __init__(
        self,
        stream_group: CallbackGroup,
        threads: int,
        on_error: Callable[[BaseException], None],
        context: Context | None = None,
    ) -> None:
        """Start the pool.

        Args:
            stream_group: Group of callbacks that never wait.
            threads: Number of threads for the others, which may wait as long as they like.
            on_error: Receives what a callback raises.
            context: Context of rclpy; None = the default one.
        """
        super().__init__(context=context)
        self._stream_group = stream_group
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="ism_callback")
        self._on_error = on_error
        self._submitted: set[Any] = set()

    def spin_once(self, timeout_sec: float | None = None) -> None:
        """Wait for one callback, and run it or submit it to the pool."""
        try:
            handler, entity, _ = self.wait_for_ready_callbacks(timeout_sec=timeout_sec)
        except (ExternalShutdownException, ShutdownException, TimeoutException):
            return
        if entity is not None and entity.callback_group is self._stream_group:
            self._run(handler)
        elif handler not in self._submitted:  # a handler that waits for its thread is yielded again
            self._submitted.add(handler)
            self._pool.submit(self._run, handler)

    def shutdown(self, timeout_sec: float | None = None) -> bool:
        """Take no more callbacks, without waiting for those in the pool.

        Returns:
            What rclpy's executor returns: whether all it knows of has ended.
        """
        has_ended = bool(super().shutdown(timeout_sec))
        self._pool.shutdown(wait=False)
        return has_ended

    def _run(self, handler: Any) -> None:
        handler()
        self._submitted.discard(handler)
        if handler.done() and (error := handler.exception()) is not None:
            self._on_error(error)
