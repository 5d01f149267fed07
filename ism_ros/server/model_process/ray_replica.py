"""What runs in each replica of the Ray Serve deployment: a model, with the objects that the common folder lists.

Nobody tells replicas of objects. Each looks at the list before it answers, so that all of them know the same ones,
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
from ism_ros.objects.template_process import PreparationProcess
from ism_ros.server.errors import RequestError
from ism_ros.server.model_process.inference_runner import Ask, Inference
from ism_ros.server.model_process.messages import (
    Added,
    Answers,
    Failed,
    LogLine,
    Objects,
    Progressed,
    Ready,
    WorkerOptions,
)
from ism_ros.server.model_process.model_loading import (
    CancelledError,
    answers,
    counters_of,
    load,
    object_states,
    why_not,
)
from ism_ros.server.objects.object_store import StateFolder, StoredObjects
from ism_ros.server.request_logging import answer_requests, current_request


@dataclass(frozen=True)
class Told:
    """What a replica says: `content`, and the lines for the server's log that were written meanwhile."""

    replica: int
    content: Ready | Failed | Objects | Answers | Progressed | Added
    lines: tuple[LogLine, ...]


class Models:
    """See the module. on_loopback: nothing of the replica listens anywhere else."""

    def __init__(self, settings: Settings, options: WorkerOptions, on_loopback: bool) -> None:
        if on_loopback:
            keep_on_loopback()
        self._lines = _Lines()
        logging.basicConfig(level=options.log_level, handlers=[self._lines], force=True)
        self._one = ThreadPoolExecutor(1, "ism_model")  # the model is for one thread
        self._stored = StoredObjects(StateFolder(options.state_folder))
        self._inference: Inference | None = None
        self._failure = ""
        try:
            self._stored.read()
            prepare = PreparationProcess(limits=options.limits)
            self._inference = load(settings, options, self._stored.specs.values(), lambda text: None, prepare)
        except (ValueError, OSError) as error:  # told to every request; starting again would change nothing
            self._failure = str(error)

    async def describe(self) -> tuple[Told, Told]:
        """State and objects."""
        if self._inference is None:
            return self._told(Failed(self._failure)), self._told(Objects(()))
        model = self._inference.model
        return self._told(Ready(model.device, counters_of(self._inference))), self._told(Objects(object_states(model)))

    async def answer(self, batch: Sequence[tuple[Ask, str]]) -> Told:
        """One answer an ask, each of which comes with the id of its request."""
        return await asyncio.get_running_loop().run_in_executor(self._one, self._answer, batch)

    async def onboard(self, spec: ObjectSpec) -> AsyncIterator[Told]:
        """Progress, at the end Added: the object is in the cache on the disk then, for all replicas that will be told
        of it by the common folder. Giving up the iteration ends it."""
        loop = asyncio.get_running_loop()
        news: asyncio.Queue[Progressed | None] = asyncio.Queue()
        given_up = threading.Event()

        def progress(done: int, total: int) -> None:
            if given_up.is_set():
                raise CancelledError
            loop.call_soon_threadsafe(news.put_nowait, Progressed(done, total))

        added = loop.run_in_executor(None, self._onboard, spec, progress)
        added.add_done_callback(lambda _: news.put_nowait(None))
        try:
            while (progressed := await news.get()) is not None:
                yield self._told(progressed)
            yield self._told(await added)
        finally:
            given_up.set()

    def add_object(self, spec: ObjectSpec) -> None:
        """Of another one of the servers and replicas; raises ValueError or OSError."""
        assert self._inference is not None
        self._inference.model.put(self._inference.model.onboard(spec))

    def remove_object(self, object_id: str) -> None:
        assert self._inference is not None
        model = self._inference.model
        if object_id in model.library.ids:
            model.library = model.library.without(object_id)

    def _answer(self, batch: Sequence[tuple[Ask, str]]) -> Told:
        if self._inference is None:
            refusal = RequestError(503, f"the models could not be loaded: {self._failure}")
            return self._told(Answers((refusal,) * len(batch), {}))
        answer_requests([request_id for _, request_id in batch])
        self._stored.follow(self)
        return self._told(answers(self._inference, [ask for ask, _ in batch]))

    def _onboard(self, spec: ObjectSpec, progress: Callable[[int, int], None]) -> Added:
        assert self._inference is not None
        try:
            return Added(spec.id, self._inference.model.onboard(spec, progress).template_count)
        except Exception as error:  # the job is told
            return Added(spec.id, None, why_not(spec, error))

    def _told(self, content: Ready | Failed | Objects | Answers | Progressed | Added) -> Told:
        return Told(os.getpid(), content, self._lines.taken())


def keep_on_loopback() -> None:
    """Ray Serve's replicas listen at all addresses for each other, whatever that of the node is; here at ours alone."""
    from ray.serve._private import replica

    bind = replica.add_port_to_grpc_server
    replica.add_port_to_grpc_server = lambda server, address: bind(server, address.replace("[::]", "127.0.0.1"))


class _Lines(logging.Handler):
    """Keeps lines until somebody takes them."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: queue.SimpleQueue[LogLine] = queue.SimpleQueue()

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + logging.Formatter().formatException(record.exc_info)
        self._kept.put(LogLine(record.levelno, record.name, text, current_request()))

    def taken(self) -> tuple[LogLine, ...]:
        lines = []
        while not self._kept.empty():
            lines.append(self._kept.get())
        return tuple(lines)
