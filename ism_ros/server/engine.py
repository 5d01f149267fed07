"""The models, one a device, and the queue in front of them: who asked first is answered first."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextvars import copy_context
from dataclasses import dataclass, field

import torch

from ism_ros.config import Settings
from ism_ros.ism import InstanceSegmentationModel, load_model
from ism_ros.objects.library import KnownObject
from ism_ros.objects.objects_file import ObjectSpec
from ism_ros.objects.preparation import Prepare, Progress
from ism_ros.server.errors import RequestError
from ism_ros.server.inference import Answered, Ask, Inference
from ism_ros.server.logs import answer_requests, current_request
from ism_ros.server.named_objects import NamedObject, ObjectCache

RETRY_AFTER_S = 2

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EngineOptions:
    """devices: a model and a thread each; none = the one of the settings. queue_size: so many requests may wait.
    batch_size: so many that wait are described together. cache_bytes: on each device, for objects named by path.
    preload: the one of them to load at start."""

    devices: tuple[str, ...] = ()
    queue_size: int = 16
    batch_size: int = 1
    cache_bytes: int = 1 << 30
    preload: NamedObject | None = None


@dataclass(frozen=True)
class Waiting:
    """A request in the queue."""

    ask: Ask
    future: Future[Answered]
    request_id: str = field(default_factory=current_request)


class Engine:
    """Loads from construction on; `stop` answers what was accepted and ends.

    settings: of the models. prepare: renders objects. stored: puts further objects into a model that has been loaded
    with those of the settings. state: "loading", "ready" or "failed"; message: what is being loaded, or why it failed.
    loaded: set when it is one of the latter. version: of the objects, counts changes.
    """

    def __init__(
        self,
        settings: Settings,
        options: EngineOptions,
        prepare: Prepare,
        stored: Callable[[InstanceSegmentationModel], None] = lambda model: None,
    ) -> None:
        self.state, self.message = "loading", ""
        self.loaded = threading.Event()
        self.version = 0
        self._options = options
        self._settings = [settings.model_copy(update={"device": device}) for device in options.devices] or [settings]
        self._prepare = prepare
        self._stored = stored
        self._workers: list[Inference] = []
        self._queue: deque[Waiting] = deque()
        self._changed = threading.Condition()
        self._changing_objects = threading.Lock()
        self._stopping = False
        self._threads = [threading.Thread(target=self._start, name="ism_engine", daemon=True)]
        self._threads[0].start()

    @property
    def depth(self) -> int:
        """Requests that wait, those at hand not counted."""
        return len(self._queue)

    @property
    def objects(self) -> tuple[KnownObject, ...]:
        """Those that every request may ask for; none while loading."""
        return self._workers[0].model.library.objects if self._workers else ()

    @property
    def caches(self) -> list[ObjectCache]:
        """Of the objects that requests name by path, one a device."""
        return [worker.cache for worker in self._workers]

    def answer(self, ask: Ask) -> Future[Answered]:
        """Queues; a future that is cancelled before its turn costs nothing.

        Raises RequestError: 503 while the models load, or when they could not be loaded; 429 when too many wait.
        """
        self.check_ready()
        waiting = Waiting(ask, Future())
        with self._changed:
            if self._stopping:
                raise RequestError(503, "the server is being shut down", RETRY_AFTER_S)
            if len(self._queue) >= self._options.queue_size:
                raise RequestError(429, f"{len(self._queue)} requests wait already: try again later", RETRY_AFTER_S)
            self._queue.append(waiting)
            self._changed.notify()
        return waiting.future

    def check_ready(self) -> None:
        """Raises RequestError 503 while there is no model."""
        if self.state == "loading":
            raise RequestError(503, f"the models are being loaded ({self.message or 'starting'})", RETRY_AFTER_S)
        if self.state == "failed":
            raise RequestError(503, f"the models could not be loaded: {self.message}")

    def add_object(self, spec: ObjectSpec, progress: Progress | None = None) -> KnownObject:
        """Onboards an object, or another one in the place of that with its id; answers go on meanwhile.

        Raises what `onboard` raises; then nothing has changed.
        """
        onboarded = [worker.model.onboard(spec, progress) for worker in self._workers]
        with self._changing_objects:
            for worker, known in zip(self._workers, onboarded, strict=True):
                worker.model.put(known)
            self.version += 1
        return onboarded[0]

    def remove_object(self, object_id: str) -> None:
        """No request finds it any more. Raises KeyError where it is not known."""
        with self._changing_objects:
            for worker in self._workers:
                worker.model.library = worker.model.library.without(object_id)
            self.version += 1

    def stop(self, timeout_s: float) -> None:
        """Nothing more is accepted; what was accepted is answered, within `timeout_s`."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        deadline_s = time.monotonic() + timeout_s
        for thread in list(self._threads):
            thread.join(max(0.0, deadline_s - time.monotonic()))

    def _start(self) -> None:
        """Loads the models one after the other, then answers with the first on this thread."""
        began_s = time.perf_counter()
        try:
            workers = [self._load(settings) for settings in self._settings]
        except Exception as error:  # told to every request and in /api/v1/status; a person can act on it
            if not self._stopping:
                self.state, self.message = "failed", str(error) or type(error).__name__
                known = isinstance(error, (ValueError, OSError))
                logger.error("models could not be loaded: %s", error, exc_info=None if known else error)
            self.loaded.set()
            return
        self._workers = workers
        self.state, self.message = "ready", ""
        self.loaded.set()
        logger.info("ready after %.1f s: %d objects", time.perf_counter() - began_s, len(self.objects))
        for worker in workers[1:]:
            thread = threading.Thread(target=self._serve, args=(worker,), name="ism_engine", daemon=True)
            self._threads.append(thread)
            thread.start()
        self._serve(workers[0])

    def _load(self, settings: Settings) -> Inference:
        model = load_model(settings, self._tell, prepare=self._prepare)
        self._stored(model)
        worker = Inference(model, ObjectCache(self._options.cache_bytes))
        if self._options.preload is not None:
            with torch.inference_mode():
                worker.preload(self._options.preload)
        return worker

    def _tell(self, text: str) -> None:
        if self._stopping:
            raise RuntimeError("stopped while loading")
        self.message = text

    def _serve(self, worker: Inference) -> None:
        while batch := self._next():
            copy_context().run(_answer, worker, batch)

    def _next(self) -> list[Waiting]:
        """Waits for requests and takes as many as go together; none when the server ends."""
        with self._changed:
            while True:
                batch: list[Waiting] = []
                while self._queue and len(batch) < self._options.batch_size:
                    waiting = self._queue.popleft()
                    if waiting.future.set_running_or_notify_cancel():
                        batch.append(waiting)
                if batch or self._stopping:
                    return batch
                self._changed.wait()


def _answer(worker: Inference, batch: Sequence[Waiting]) -> None:
    answer_requests([waiting.request_id for waiting in batch])
    try:
        answers: Sequence[Answered | Exception] = worker.answer_all([waiting.ask for waiting in batch])
    except Exception as error:  # those who asked are told
        answers = [error] * len(batch)
    for waiting, answer in zip(batch, answers, strict=True):
        if isinstance(answer, Exception):
            waiting.future.set_exception(answer)
        else:
            waiting.future.set_result(answer)
