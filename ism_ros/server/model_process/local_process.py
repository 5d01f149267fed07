"""A process that owns one model: answers requests, and takes objects in and out meanwhile.

Connections lead to the server, each with a thread of its own here. On each of `asks` come lists of (Ask, request id),
and go lists of answers; on `control` come the messages of worker_messages.py and go news: what is being loaded,
objects, progress, lines for the log. When the server is gone, so is the worker.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

from ism_ros.config.settings import Settings
from ism_ros.model import InstanceSegmentationModel
from ism_ros.objects.spec import ObjectSpec
from ism_ros.objects.template_process import PreparationProcess
from ism_ros.server.model_process.inference_runner import Ask, Inference
from ism_ros.server.model_process.messages import (
    Added,
    AddObject,
    Cancel,
    Failed,
    Loading,
    LogLine,
    Objects,
    Onboarding,
    Progressed,
    Ready,
    Removed,
    RemoveObject,
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
from ism_ros.server.objects.object_store import read_stored
from ism_ros.server.request_logging import answer_requests, current_request

logger = logging.getLogger(__name__)


def run(asks: Sequence[Connection], control: Connection, settings: Settings, options: WorkerOptions) -> None:
    """The process, from its start to its end."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the server ends it, when what was accepted is answered
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        Worker(asks, control, settings, options).run()
    os._exit(0)


class Worker:
    """See the module."""

    def __init__(
        self, asks: Sequence[Connection], control: Connection, settings: Settings, options: WorkerOptions
    ) -> None:
        self._asks = asks
        self._control = control
        self._settings = settings
        self._options = options
        self._sending = threading.Lock()
        self._prepare = PreparationProcess(limits=options.limits)
        logging.basicConfig(level=options.log_level, handlers=[_Forward(self._tell)], force=True)

    def run(self) -> None:
        """Loads, then answers until the server is gone."""
        try:
            inference = self._load()
        except Exception as error:  # told to every request and in /api/v1/status; a person can act on it
            if not isinstance(error, (ValueError, OSError)):
                logger.exception("models could not be loaded")
            self._tell(Failed(str(error) or type(error).__name__))
            self._control.recv()
            return
        self._tell(Objects(object_states(inference.model)))
        self._tell(Ready(inference.model.device, counters_of(inference)))
        threading.Thread(target=self._change_objects, args=(inference.model,), name="ism_objects", daemon=True).start()
        first, *others = self._asks
        for connection in others:
            threading.Thread(target=self._answer, args=(inference, connection), name="ism_lane", daemon=True).start()
        self._answer(inference, first)

    def _answer(self, inference: Inference, asks: Connection) -> None:
        """One batch after the other; at the end of the server, that of the process."""
        with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
            while True:
                batch: Sequence[tuple[Ask, str]] = asks.recv()
                answer_requests([request_id for _, request_id in batch])
                asks.send(answers(inference, [ask for ask, _ in batch]))
        os._exit(0)

    def _load(self) -> Inference:
        stored = read_stored(self._options.state_folder)
        return load(
            self._settings,
            self._options,
            stored,
            lambda text: self._tell(Loading(text)),
            self._prepare,
            lambda progress: self._tell(Onboarding(progress)),
        )

    def _change_objects(self, model: InstanceSegmentationModel) -> None:
        with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
            while True:
                self._do(model, self._control.recv())
        os._exit(0)

    def _do(self, model: InstanceSegmentationModel, message: object) -> None:
        if isinstance(message, AddObject):
            self._add(model, message.spec)
        elif isinstance(message, RemoveObject):
            if message.object_id in model.library.ids:
                model.library = model.library.without(message.object_id)
            self._tell(Objects(object_states(model)))
            self._tell(Removed(message.object_id))

    def _add(self, model: InstanceSegmentationModel, spec: ObjectSpec) -> None:
        def progress(done: int, total: int) -> None:
            while self._control.poll():
                message = self._control.recv()
                if isinstance(message, Cancel):
                    raise CancelledError
                self._do(model, message)
            self._tell(Progressed(done, total))

        try:
            known = model.onboard(spec, progress)
            model.put(known)
            for warning in known.warnings:
                logger.warning("%s", warning.text)
        except Exception as error:  # the job is told
            self._tell(Added(spec.id, None, why_not(spec, error)))
            return
        self._tell(Objects(object_states(model)))
        self._tell(Added(spec.id, known.template_count))

    def _tell(self, news: object) -> None:
        with self._sending:
            self._control.send(news)


class _Forward(logging.Handler):
    """Hands lines to the server, whose log they belong into."""

    def __init__(self, tell: Any) -> None:
        super().__init__()
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + logging.Formatter().formatException(record.exc_info)
        with contextlib.suppress(OSError):
            self._tell(LogLine(record.levelno, record.name, text, current_request()))
