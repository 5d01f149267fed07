"""A model in a process of this server: started, given batches and objects; its death is an exception."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from ism_ros.config.settings import Settings
from ism_ros.objects.spec import ObjectSpec
from ism_ros.objects.template_builder import Progress
from ism_ros.server.backends.backend_protocol import log_ready
from ism_ros.server.backends.process_exit import cause_of_exit
from ism_ros.server.errors import BackendDiedError
from ism_ros.server.model_process import local_process
from ism_ros.server.model_process.messages import (
    AddObject,
    AddProgress,
    BatchResults,
    CancelOnboarding,
    Failed,
    KnownObjects,
    Loading,
    ModelOptions,
    ObjectAdded,
    ObjectPending,
    ObjectRemoved,
    PathObjectsProgress,
    Ready,
    RemoveObject,
    ResponseFields,
)
from ism_ros.server.objects.object_info import ObjectInfo
from ism_ros.server.request_logging import log_forwarded
from ism_ros.server.requests.inference_input import InferenceInput

JOIN_TIMEOUT_S = 5.0
"""Seconds that a killed process is waited for."""
CONCURRENT_BATCHES = 2
"""Batches in one process: the model works on one, while images are decoded and results encoded for the other."""

logger = logging.getLogger(__name__)


class LocalBackend:
    """A `Backend` that is one process at a time, with a model and an object library of its own."""

    max_concurrent_batches = CONCURRENT_BATCHES
    restartable = True

    def __init__(self, settings: Settings, options: ModelOptions) -> None:
        """Initialize; `start` starts the process.

        Args:
            settings: Settings of models and objects.
            options: Further options of the process.
        """
        self.state, self.message, self.device = "dead", "", settings.device
        self.objects: tuple[ObjectInfo, ...] = ()
        self.counters: dict[str, int] = {}
        self.onboarding: dict[str, tuple[int, int]] = {}
        self._settings = settings
        self._options = options
        self._on_change: Callable[[], None] = lambda: None
        self._free: queue.SimpleQueue[Connection] = queue.SimpleQueue()
        self._batch_connections: list[Connection] = []
        self._control: Connection | None = None
        self._process: Any = None
        self._began_s = 0.0
        self._adding, self._removing = threading.Lock(), threading.Lock()
        self._received = threading.Condition()
        self._added: ObjectAdded | None = None
        self._removed: str | None = None
        self._progress: AddProgress | None = None

    def start(self, on_change: Callable[[], None]) -> None:
        """Start the process, which begins to load.

        Args:
            on_change: Called when state, message or objects have changed.
        """
        self._on_change = on_change
        self._began_s = time.monotonic()
        context = get_context("spawn")  # a copy of a process with threads may hang
        pipes = [context.Pipe() for _ in range(CONCURRENT_BATCHES)]
        self._batch_connections, theirs = [ours for ours, _ in pipes], [other for _, other in pipes]
        self._free = queue.SimpleQueue()
        for connection in self._batch_connections:
            self._free.put(connection)
        self._control, control = context.Pipe()
        self.onboarding = {}
        self._set_state("loading", "starting")
        self._process = context.Process(
            target=local_process.main,
            args=(theirs, control, self._settings, self._options),
            name="ism_model",
            daemon=False,
        )
        try:
            self._process.start()
        except OSError as error:
            self._process = None
            self._set_state("failed", f"its process cannot be started ({error.strerror})")
            return
        finally:
            for connection in (*theirs, control):
                connection.close()
        threading.Thread(target=self._receive, args=(self._control,), name="ism_control", daemon=True).start()

    def run_batch(
        self, batch: Sequence[tuple[InferenceInput, str]]
    ) -> tuple[ResponseFields | Exception | ObjectPending, ...]:
        """Run a batch.

        Args:
            batch: Requests with their ids.

        Returns:
            One result for each request.

        Raises:
            BackendDiedError: The process ended meanwhile.
        """
        free = self._free
        connection = free.get()
        try:
            connection.send(batch)
            results: BatchResults = connection.recv()
        except (EOFError, OSError):
            if free is self._free:  # and not started again meanwhile
                self.state = "dead"
            raise BackendDiedError("the process of the models ended in the middle of a request") from None
        free.put(connection)
        self.counters = dict(results.counters)
        return results.results

    def add_object(self, spec: ObjectSpec, progress: Progress | None = None) -> int:
        """Onboard an object while batches are run.

        Args:
            spec: The object.
            progress: Called with templates rendered and to render; an exception of it cancels and is raised.

        Returns:
            The number of its templates.

        Raises:
            ValueError: It cannot be used; one line says why.
            BackendDiedError: The process ended meanwhile.
        """
        with self._adding:
            self._added = None
            self._send(AddObject(spec))
            cancelled: BaseException | None = None
            while (added := self._wait_for(lambda: self._added)) is None:
                update, self._progress = self._progress, None
                if update is None or progress is None or cancelled is not None:
                    continue
                try:
                    progress(update.done, update.total)
                except BaseException as error:
                    cancelled = error
                    self._send(CancelOnboarding())
        if cancelled is not None and added.template_count is None:
            raise cancelled
        if added.template_count is None:
            raise ValueError(added.reason)
        return added.template_count

    def remove_object(self, object_id: str) -> None:
        """Remove an object; one that is not known does not matter.

        Args:
            object_id: Its id.

        Raises:
            BackendDiedError: The process ended meanwhile.
        """
        with self._removing:
            self._removed = None
            self._send(RemoveObject(object_id))
            while self._wait_for(lambda: self._removed) is None:
                pass

    def kill(self) -> None:
        """End the process, whatever it is doing."""
        if self._process is not None:
            self._process.kill()
            self._process.join(JOIN_TIMEOUT_S)
        for connection in (*self._batch_connections, self._control):
            if connection is not None:
                connection.close()

    def _send(self, message: object) -> None:
        assert self._control is not None
        try:
            self._control.send(message)
        except OSError:
            raise BackendDiedError("the process of the models has ended") from None

    def _wait_for(self, wanted: Callable[[], Any]) -> Any:
        """Return what is wanted, or None where something else was received; raise BackendDiedError."""
        with self._received:
            if (found := wanted()) is None and self._progress is None:
                if self.state != "ready":
                    raise BackendDiedError("the process of the models has ended")
                self._received.wait(1.0)
                found = wanted()
            return found

    def _receive(self, control: Connection) -> None:
        """Handle messages of the process until it ends."""
        while True:
            try:
                message = control.recv()
            except (EOFError, OSError):
                if control is self._control:
                    self._handle_exit()
                return
            self._handle(message)

    def _handle(self, message: object) -> None:
        if isinstance(message, logging.LogRecord):
            log_forwarded(message)
        elif isinstance(message, Loading):
            self._set_state("loading", message.text)
        elif isinstance(message, Ready):
            self.device, self.counters = message.device, dict(message.counters)
            log_ready(self, time.monotonic() - self._began_s)
            self._set_state("ready", "")
        elif isinstance(message, Failed):
            self._set_state("failed", message.reason)
        else:
            self._handle_objects(message)

    def _handle_objects(self, message: object) -> None:
        with self._received:
            if isinstance(message, KnownObjects):
                self.objects = message.objects
            elif isinstance(message, PathObjectsProgress):
                self.onboarding = dict(message.progress)
            elif isinstance(message, AddProgress):
                self._progress = message
            elif isinstance(message, ObjectAdded):
                self._added = message
            elif isinstance(message, ObjectRemoved):
                self._removed = message.object_id
            self._received.notify_all()
        self._on_change()

    def _handle_exit(self) -> None:
        if self.state == "loading":
            self._process.join(JOIN_TIMEOUT_S)
            self._set_state("failed", cause_of_exit(self._process.exitcode))
        elif self.state != "failed":
            self._set_state("dead", "the process of the models has ended")

    def _set_state(self, state: str, message: str) -> None:
        with self._received:
            self.state, self.message = state, message
            self._received.notify_all()
        self._on_change()
