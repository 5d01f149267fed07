"""The replicas of a Ray Serve deployment as one backend that takes several batches at a time.

A replica that dies is started again by Ray Serve. What it was given is given to another one or to that which takes its
place, and no request is refused meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ism_ros.config.settings import Settings
from ism_ros.errors import first_line
from ism_ros.objects.spec import ObjectSpec
from ism_ros.objects.template_builder import Progress
from ism_ros.server.backends import ray_cluster
from ism_ros.server.backends.backend_protocol import ATTEMPTS, log_ready
from ism_ros.server.errors import BackendDiedError
from ism_ros.server.model_process.messages import (
    AddProgress,
    BatchResults,
    Failed,
    KnownObjects,
    ModelOptions,
    ObjectAdded,
    ObjectPending,
    Ready,
    ResponseFields,
)
from ism_ros.server.model_process.ray_replica import ReplicaMessage
from ism_ros.server.objects.object_info import ObjectInfo
from ism_ros.server.request_logging import log_forwarded
from ism_ros.server.requests.inference_input import InferenceInput
from ism_ros.server.settings import ServerSettings

JOIN_TIMEOUT_S = 20.0
"""Seconds that the end of Ray is waited for."""

Result = TypeVar("Result")

logger = logging.getLogger(__name__)


class RayBackend:
    """A `Backend` on Ray Serve, which restarts replicas: once "ready", it is never "dead"."""

    restartable = False  # Ray Serve does that

    def __init__(self, settings: Settings, options: ModelOptions, server: ServerSettings) -> None:
        """Initialize; `start` starts the replicas.

        Args:
            settings: Settings of models and objects.
            options: Further options of a replica.
            server: Number of replicas and address of Ray.
        """
        self.state, self.message, self.device = "loading", "starting", settings.device
        self.objects: tuple[ObjectInfo, ...] = ()
        self.max_concurrent_batches = server.replicas
        self.onboarding: dict[str, tuple[int, int]] = {}
        self._settings = settings
        self._options = options
        self._address = server.ray_address
        self._name = f"ism-server-{socket.gethostname()}-{server.port}"
        self._on_change: Callable[[], None] = lambda: None
        self._restore_signals: Callable[[], object] = lambda: None
        self._handle: Any = None
        self._counters: dict[int, Counter[str]] = {}
        self._lock = threading.Lock()
        self._end = threading.Event()
        # Linux ends Ray's processes with the thread that started them, so it stays
        self._thread = threading.Thread(target=self._run, name="ism_ray", daemon=True)

    @property
    def counters(self) -> dict[str, int]:
        """Numbers of cache and device of all replicas together."""
        return dict(sum(self._counters.values(), Counter[str]()))

    def start(self, on_change: Callable[[], None]) -> None:
        """Start Ray where there is none, and the replicas; to be called on the main thread, in its event loop.

        Args:
            on_change: Called when state, message or objects have changed.
        """
        self._on_change = on_change
        loop = asyncio.get_running_loop()
        self._restore_signals = lambda: loop.call_soon_threadsafe(_restore_signal_handlers)
        self._thread.start()

    def run_batch(
        self, batch: Sequence[tuple[InferenceInput, str]]
    ) -> Sequence[ResponseFields | Exception | ObjectPending]:
        """Run a batch on one of the replicas.

        Args:
            batch: Requests with their ids.

        Returns:
            One result for each request.

        Raises:
            BackendDiedError: The replica ended meanwhile.
        """
        message = self._call(lambda: self._handle.run_batch.remote(list(batch)).result())
        results = self._content(message)
        assert isinstance(results, BatchResults)
        with self._lock:
            self._counters[message.replica] = Counter(results.counters)
        return results.results

    def add_object(self, spec: ObjectSpec, progress: Progress | None = None) -> int:
        """Have one replica render and describe an object, into the cache; all know it when the common folder lists it.

        Args:
            spec: The object.
            progress: Called with templates rendered and to render; an exception of it cancels and is raised.

        Returns:
            The number of its templates.

        Raises:
            ValueError: It cannot be used; one line says why.
            BackendDiedError: Replicas ended over it `ATTEMPTS` times.
        """
        for attempt in range(1, ATTEMPTS + 1):
            try:
                count = self._call(lambda: self._onboard(spec, progress))
                break
            except BackendDiedError:
                if attempt == ATTEMPTS:
                    raise
        with self._lock:
            new = ObjectInfo(spec.id, spec.category_id, count)
            kept = tuple(new if one.id == new.id else one for one in self.objects)
            self.objects = kept if new in kept else (*kept, new)
        self._on_change()
        return count

    def remove_object(self, object_id: str) -> None:
        """Remove an object; replicas see in the common folder that it is gone.

        Args:
            object_id: Its id.
        """
        with self._lock:
            self.objects = tuple(one for one in self.objects if one.id != object_id)
        self._on_change()

    def kill(self) -> None:
        """Remove the replicas, and shut Ray down where it is our own."""
        self._end.set()
        self._thread.join(JOIN_TIMEOUT_S)

    def _run(self) -> None:
        try:
            self._deploy()
            self._end.wait()
        finally:
            ray_cluster.leave(self._name, is_own=not self._address)

    def _deploy(self) -> None:
        began_s = time.monotonic()
        replicas = self.max_concurrent_batches
        try:
            self._set_state("loading", "starting Ray")
            ray_cluster.connect(self._address)
            self._restore_signals()
            self._set_state("loading", f"starting {replicas} replicas")
            self._handle = ray_cluster.deploy(
                self._name, replicas, self._settings, self._options, on_loopback=not self._address
            )
            of_state, of_objects = self._handle.describe.remote().result()
            state, objects = self._content(of_state), self._content(of_objects)
        except Exception as error:  # in every response and in /api/v1/status
            if not isinstance(error, OSError):
                logger.exception("the replicas could not be started")
            self._set_state("failed", first_line(error))
            return
        if isinstance(state, Failed):
            self._set_state("failed", state.reason)
            return
        assert isinstance(state, Ready)
        assert isinstance(objects, KnownObjects)
        self.device = ",".join([state.device] * replicas)
        self._counters[of_state.replica] = Counter(state.counters)
        self.objects = objects.objects
        log_ready(self, time.monotonic() - began_s)
        self._set_state("ready", "")

    def _onboard(self, spec: ObjectSpec, progress: Progress | None) -> int:
        messages = self._handle.options(stream=True).onboard.remote(spec)
        for message in messages:
            content = self._content(message)
            if isinstance(content, AddProgress) and progress is not None:
                try:
                    progress(content.done, content.total)
                except BaseException:
                    messages.cancel()
                    raise
            elif isinstance(content, ObjectAdded):
                if content.template_count is None:
                    raise ValueError(content.reason)
                return content.template_count
        raise BackendDiedError("the replica ended without a word")

    def _call(self, call: Callable[[], Result]) -> Result:
        """Call a replica; raise BackendDiedError where it ended."""
        try:
            return call()
        except Exception as error:
            if not ray_cluster.is_replica_failure(error):
                raise
            logger.error("a replica has died and is started again")
            logger.debug("it ended with: %s", error)
            raise BackendDiedError("a replica ended in the middle of what it was asked") from None

    def _content(self, message: ReplicaMessage) -> object:
        """Return the content of a message, and log what the replica has logged."""
        for record in message.log_records:
            log_forwarded(record)
        return message.content

    def _set_state(self, state: str, message: str) -> None:
        self.state, self.message = state, message
        self._on_change()


def _restore_signal_handlers() -> None:
    """Put our handlers before Ray's own, which writes a stack trace at each SIGTERM."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.getsignal(number))
