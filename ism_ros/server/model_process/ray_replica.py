"""What runs in each replica of the Ray Serve deployment: a model, with the objects that the common folder lists.

Nobody sends replicas objects. Each reads the list before it runs a batch, so that all of them know the same ones,
those that start later included.
"""

from __future__ import annotations

import asyncio
import logging
import os
import queue
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ism_ros.config.settings import Settings
from ism_ros.objects.spec import ObjectSpec
from ism_ros.objects.template_process import TemplateProcess
from ism_ros.server.errors import RequestError
from ism_ros.server.model_process.inference_runner import InferenceRunner
from ism_ros.server.model_process.messages import (
    AddProgress,
    BatchResults,
    Failed,
    KnownObjects,
    ModelOptions,
    ObjectAdded,
    Ready,
)
from ism_ros.server.model_process.model_loading import (
    OnboardingCancelledError,
    counters_of,
    load_runner,
    object_infos,
    onboarding_error,
    run_batch,
)
from ism_ros.server.objects.object_store import UploadedObjects
from ism_ros.server.objects.state_folder import StateFolder
from ism_ros.server.request_logging import ForwardingHandler, set_request_ids
from ism_ros.server.requests.inference_input import InferenceInput

ReplicaContent = Ready | Failed | KnownObjects | BatchResults | AddProgress | ObjectAdded
"""Messages that a replica sends."""


@dataclass(frozen=True)
class ReplicaMessage:
    """A message of a replica, and what it has logged meanwhile.

    Attributes:
        replica: Its process.
        content: The message.
        log_records: Records for the server's log.
    """

    replica: int
    content: ReplicaContent
    log_records: tuple[logging.LogRecord, ...]


class RayReplica:
    """The class of the Ray Serve deployment."""

    def __init__(self, settings: Settings, options: ModelOptions, on_loopback: bool) -> None:
        """Load the models; why that failed is what every request gets.

        Args:
            settings: Settings of models and objects.
            options: Further options of the replica.
            on_loopback: Nothing of the replica listens at any other address.
        """
        if on_loopback:
            keep_on_loopback()
        self._log_records: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
        handler = ForwardingHandler(self._log_records.put)
        logging.basicConfig(level=options.log_level, handlers=[handler], force=True)
        self._model_thread = ThreadPoolExecutor(1, "ism_model")  # the model is for one thread
        self._uploaded = UploadedObjects(StateFolder(options.state_folder))
        self._runner: InferenceRunner | None = None
        self._failure = ""
        try:
            self._uploaded.read()
            template_builder = TemplateProcess(limits=options.limits)
            self._runner = load_runner(
                settings, options, self._uploaded.specs.values(), lambda text: None, template_builder
            )
        except (ValueError, OSError) as error:  # every request gets it; starting again would change nothing
            self._failure = str(error)

    async def describe(self) -> tuple[ReplicaMessage, ReplicaMessage]:
        """Return whether the models are loaded, and the objects."""
        if self._runner is None:
            return self._message(Failed(self._failure)), self._message(KnownObjects(()))
        ready = Ready(self._runner.model.device, counters_of(self._runner))
        return self._message(ready), self._message(KnownObjects(object_infos(self._runner.model)))

    async def run_batch(self, batch: Sequence[tuple[InferenceInput, str]]) -> ReplicaMessage:
        """Run a batch.

        Args:
            batch: Requests with their ids.

        Returns:
            `BatchResults`.
        """
        return await asyncio.get_running_loop().run_in_executor(self._model_thread, self._run_batch, batch)

    async def onboard(self, spec: ObjectSpec) -> AsyncIterator[ReplicaMessage]:
        """Onboard an object into the cache on the disk, for all replicas; giving up the iteration cancels.

        Args:
            spec: The object.

        Yields:
            `AddProgress`, at the end `ObjectAdded`.
        """
        loop = asyncio.get_running_loop()
        updates: asyncio.Queue[AddProgress | None] = asyncio.Queue()
        is_cancelled = threading.Event()

        def progress(done: int, total: int) -> None:
            if is_cancelled.is_set():
                raise OnboardingCancelledError
            loop.call_soon_threadsafe(updates.put_nowait, AddProgress(done, total))

        onboarding = loop.run_in_executor(None, self._onboard, spec, progress)
        onboarding.add_done_callback(lambda _: updates.put_nowait(None))
        try:
            while (update := await updates.get()) is not None:
                yield self._message(update)
            yield self._message(await onboarding)
        finally:
            is_cancelled.set()

    def add_object(self, spec: ObjectSpec) -> None:
        """Add an object that the list has.

        Args:
            spec: The object.

        Raises:
            ValueError: It cannot be used; one line says why.
            OSError: The same, of its files.
        """
        assert self._runner is not None
        self._runner.model.put(self._runner.model.onboard(spec))

    def remove_object(self, object_id: str) -> None:
        """Remove an object that the list has no more.

        Args:
            object_id: Its id.
        """
        assert self._runner is not None
        model = self._runner.model
        if object_id in model.library.ids:
            model.library = model.library.without(object_id)

    def _run_batch(self, batch: Sequence[tuple[InferenceInput, str]]) -> ReplicaMessage:
        if self._runner is None:
            error = RequestError(503, f"the models could not be loaded: {self._failure}")
            return self._message(BatchResults((error,) * len(batch), {}))
        set_request_ids([request_id for _, request_id in batch])
        self._uploaded.follow(self)
        return self._message(run_batch(self._runner, [request for request, _ in batch]))

    def _onboard(self, spec: ObjectSpec, progress: Callable[[int, int], None]) -> ObjectAdded:
        assert self._runner is not None
        try:
            return ObjectAdded(spec.id, self._runner.model.onboard(spec, progress).template_count)
        except Exception as error:  # the job gets it
            return ObjectAdded(spec.id, None, onboarding_error(spec, error))

    def _message(self, content: ReplicaContent) -> ReplicaMessage:
        records = []
        while not self._log_records.empty():
            records.append(self._log_records.get())
        return ReplicaMessage(os.getpid(), content, tuple(records))


def keep_on_loopback() -> None:
    """Have the replica listen at 127.0.0.1 alone; Ray Serve's own listen at all addresses, whatever the node's is."""
    from ray.serve._private import replica

    add_port = replica.add_port_to_grpc_server
    replica.add_port_to_grpc_server = lambda server, address: add_port(server, address.replace("[::]", "127.0.0.1"))
