"""One thread that owns the model: loads it, then answers one request after the other, in the order they came."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from typing import TypeVar

from ism_ros.config import Settings
from ism_ros.ism import InstanceSegmentationModel, load_model
from ism_ros.server.errors import RequestError

Result = TypeVar("Result")
RETRY_AFTER_S = 2

logger = logging.getLogger(__name__)


class Engine:
    """Loads from construction on; `stop` answers what was accepted and ends.

    settings: of the model. queue_size: so many requests may wait. state: "loading", "ready" or "failed"; message: what
    is being loaded, or why that failed.
    """

    def __init__(
        self, settings: Settings, queue_size: int, when_loaded: Callable[[InstanceSegmentationModel], None]
    ) -> None:
        self.settings = settings
        self.state, self.message = "loading", ""
        self.model: InstanceSegmentationModel | None = None
        self._when_loaded = when_loaded
        self._queue_size = queue_size
        self._jobs: queue.SimpleQueue[Callable[[InstanceSegmentationModel], None] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._waiting = 0
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="ism_engine", daemon=True)
        self._thread.start()

    @property
    def depth(self) -> int:
        """Requests that wait, the one at hand not counted."""
        return self._waiting

    def submit(self, job: Callable[[InstanceSegmentationModel], Result]) -> Future[Result]:
        """Runs `job` on the engine's thread; a future that is cancelled before its turn costs nothing.

        Raises RequestError: 503 while the model loads, or when it could not be loaded; 429 when too many wait.
        """
        self.check_ready()
        context = copy_context()  # what the job logs carries the request's id
        future: Future[Result] = Future()

        def run(model: InstanceSegmentationModel) -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(context.run(job, model))
            except BaseException as error:  # the one who asked is told
                future.set_exception(error)

        with self._lock:
            if self._stopping:
                raise RequestError(503, "the server is being shut down", RETRY_AFTER_S)
            if self._waiting >= self._queue_size:
                raise RequestError(429, f"{self._waiting} requests wait already: try again later", RETRY_AFTER_S)
            self._waiting += 1
            self._jobs.put(run)
        return future

    def check_ready(self) -> None:
        """Raises RequestError 503 while there is no model."""
        if self.state == "loading":
            raise RequestError(503, f"the models are being loaded ({self.message or 'starting'})", RETRY_AFTER_S)
        if self.state == "failed":
            raise RequestError(503, f"the models could not be loaded: {self.message}")

    def stop(self, timeout_s: float) -> None:
        """Nothing more is accepted; what was accepted is answered, within `timeout_s`."""
        with self._lock:
            self._stopping = True
            self._jobs.put(None)
        self._thread.join(timeout_s)

    def _tell(self, text: str) -> None:
        if self._stopping:
            raise RuntimeError("stopped while loading")
        self.message = text

    def _run(self) -> None:
        began = time.perf_counter()
        try:
            model = load_model(self.settings, self._tell)
            self._when_loaded(model)
        except Exception as error:  # told to every request and in /api/v1/status; a person can act on it
            if not self._stopping:
                self.state, self.message = "failed", str(error) or type(error).__name__
                known = isinstance(error, (ValueError, OSError))
                logger.error("models could not be loaded: %s", error, exc_info=None if known else error)
            return
        self.model, self.state, self.message = model, "ready", ""
        logger.info("ready after %.1f s: %d objects", time.perf_counter() - began, len(model.library))
        while (job := self._jobs.get()) is not None:
            with self._lock:
                self._waiting -= 1
            job(model)
