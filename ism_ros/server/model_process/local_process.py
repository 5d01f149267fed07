"""The main function of a process that owns one model: runs batches, and adds and removes objects meanwhile.

Connections lead to the server, each with a thread of its own here. On each batch connection come lists of
(InferenceInput, request id), and go `BatchResults`; the control connection carries all other messages, and log records
for the server's log. When the server has ended, so does this process.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Sequence
from multiprocessing.connection import Connection

from ism_ros.config.settings import Settings
from ism_ros.model import InstanceSegmentationModel
from ism_ros.objects.spec import ObjectSpec
from ism_ros.objects.template_process import TemplateProcess
from ism_ros.server.model_process.inference_runner import InferenceRunner
from ism_ros.server.model_process.messages import (
    AddObject,
    AddProgress,
    CancelOnboarding,
    Failed,
    KnownObjects,
    Loading,
    ModelOptions,
    ObjectAdded,
    ObjectRemoved,
    PathObjectsProgress,
    Ready,
    RemoveObject,
)
from ism_ros.server.model_process.model_loading import (
    OnboardingCancelledError,
    counters_of,
    load_runner,
    object_infos,
    onboarding_error,
    run_batch,
)
from ism_ros.server.objects.object_store import read_uploaded
from ism_ros.server.request_logging import ForwardingHandler, set_request_ids
from ism_ros.server.requests.inference_input import InferenceInput

SERVER_ENDED = (EOFError, BrokenPipeError, ConnectionResetError)
"""What connections raise when the server has ended."""

logger = logging.getLogger(__name__)


def main(
    batch_connections: Sequence[Connection], control: Connection, settings: Settings, options: ModelOptions
) -> None:
    """Run the process from its start to its end.

    Args:
        batch_connections: One for each batch that is run at a time.
        control: For all other messages.
        settings: Settings of models and objects.
        options: Further options of the process.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the server ends it, when what was accepted is answered
    with contextlib.suppress(*SERVER_ENDED):
        LocalProcess(batch_connections, control, settings, options).run()
    os._exit(0)


class LocalProcess:
    """Owns the model of this process and serves the connections."""

    def __init__(
        self, batch_connections: Sequence[Connection], control: Connection, settings: Settings, options: ModelOptions
    ) -> None:
        """Initialize, and send log records to the server from now on.

        Args:
            batch_connections: One for each batch that is run at a time.
            control: For all other messages.
            settings: Settings of models and objects.
            options: Further options of the process.
        """
        self._batch_connections = batch_connections
        self._control = control
        self._settings = settings
        self._options = options
        self._sending = threading.Lock()
        self._template_builder = TemplateProcess(limits=options.limits)
        logging.basicConfig(level=options.log_level, handlers=[ForwardingHandler(self._send)], force=True)

    def run(self) -> None:
        """Load the models, then serve until the server has ended.

        Raises:
            EOFError: The server has ended; also as one of the other `SERVER_ENDED`.
        """
        try:
            runner = self._load()
        except Exception as error:  # in every response and in /api/v1/status; a person can act on it
            if not isinstance(error, (ValueError, OSError)):
                logger.exception("models could not be loaded")
            self._send(Failed(str(error) or type(error).__name__))
            self._control.recv()
            return
        self._send(KnownObjects(object_infos(runner.model)))
        self._send(Ready(runner.model.device, counters_of(runner)))
        threading.Thread(target=self._serve_control, args=(runner.model,), name="ism_objects", daemon=True).start()
        first, *others = self._batch_connections
        for connection in others:
            threading.Thread(
                target=self._serve_batches, args=(runner, connection), name="ism_batches", daemon=True
            ).start()
        self._serve_batches(runner, first)

    def _load(self) -> InferenceRunner:
        return load_runner(
            self._settings,
            self._options,
            read_uploaded(self._options.state_folder),
            lambda text: self._send(Loading(text)),
            self._template_builder,
            lambda progress: self._send(PathObjectsProgress(progress)),
        )

    def _serve_batches(self, runner: InferenceRunner, connection: Connection) -> None:
        """Run one batch after the other; end the process when the server has ended."""
        with contextlib.suppress(*SERVER_ENDED):
            while True:
                batch: Sequence[tuple[InferenceInput, str]] = connection.recv()
                set_request_ids([request_id for _, request_id in batch])
                connection.send(run_batch(runner, [request for request, _ in batch]))
        os._exit(0)

    def _serve_control(self, model: InstanceSegmentationModel) -> None:
        with contextlib.suppress(*SERVER_ENDED):
            while True:
                self._handle(model, self._control.recv())
        os._exit(0)

    def _handle(self, model: InstanceSegmentationModel, message: object) -> None:
        if isinstance(message, AddObject):
            self._add(model, message.spec)
        elif isinstance(message, RemoveObject):
            if message.object_id in model.library.ids:
                model.library = model.library.without(message.object_id)
            self._send(KnownObjects(object_infos(model)))
            self._send(ObjectRemoved(message.object_id))

    def _add(self, model: InstanceSegmentationModel, spec: ObjectSpec) -> None:
        def progress(done: int, total: int) -> None:
            while self._control.poll():
                message = self._control.recv()
                if isinstance(message, CancelOnboarding):
                    raise OnboardingCancelledError
                self._handle(model, message)
            self._send(AddProgress(done, total))

        try:
            known = model.onboard(spec, progress)
            model.put(known)
            for warning in known.warnings:
                logger.warning("%s", warning.text)
        except Exception as error:  # the job gets it
            self._send(ObjectAdded(spec.id, None, onboarding_error(spec, error)))
            return
        self._send(KnownObjects(object_infos(model)))
        self._send(ObjectAdded(spec.id, known.template_count))

    def _send(self, message: object) -> None:
        with self._sending:
            self._control.send(message)
