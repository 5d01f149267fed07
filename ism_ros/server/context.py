"""What routes may use of the app."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from ism_ros.config.settings import Settings
from ism_ros.objects.template_process import TemplateProcess
from ism_ros.server.backends.backend_factory import create_backends
from ism_ros.server.inference.inference_service import InferenceService
from ism_ros.server.inference.request_queue import RequestQueue
from ism_ros.server.metrics import Metrics
from ism_ros.server.middleware.access_control import AccessControl
from ism_ros.server.model_process.messages import ModelOptions
from ism_ros.server.objects.object_jobs import ObjectJobs
from ism_ros.server.objects.object_store import UploadedObjects
from ism_ros.server.objects.state_folder import StateFolder
from ism_ros.server.objects.template_renderer import TemplateRenderer
from ism_ros.server.requests.data_directories import DataDirectories
from ism_ros.server.requests.inference_parsing import InputParser
from ism_ros.server.settings import ServerSettings


@dataclass(frozen=True)
class AppContext:
    """The parts of the app.

    Attributes:
        settings: Settings of models and objects.
        server: Settings of the server.
        access: Who may send requests.
        metrics: Numbers of /metrics.
        parser: Checks inference requests.
        queue: Requests in front of the backends.
        inference: Runs inference requests.
        uploaded: Uploaded objects.
        jobs: Jobs that onboard them.
        renderer: Renders templates for clients.
        started_s: When the app was made, monotonic seconds.
    """

    settings: Settings
    server: ServerSettings
    access: AccessControl
    metrics: Metrics
    parser: InputParser
    queue: RequestQueue
    inference: InferenceService
    uploaded: UploadedObjects
    jobs: ObjectJobs
    renderer: TemplateRenderer
    started_s: float = field(default_factory=time.monotonic)


def create_context(settings: Settings, server: ServerSettings, on_give_up: Callable[[], None]) -> AppContext:
    """Make the parts of the app; nothing is started.

    Args:
        settings: Settings of models and objects.
        server: Settings of the server.
        on_give_up: Called when the models could not be loaded in all tries.

    Returns:
        The parts.
    """
    metrics = Metrics()
    folder = StateFolder(server.state_folder())
    uploaded = UploadedObjects(folder)
    parser = InputParser(DataDirectories(server.data_root), folder.uploads, server)
    options = ModelOptions(
        state_folder=folder.path,
        cache_bytes=server.max_cache_size,
        preload=parser.default_object() if server.preload_templates else None,
        limits=server.preparation_limits(),
        log_level=logging.getLogger().level,
    )
    queue = RequestQueue(
        create_backends(settings, options, server),
        queue_size=server.max_waiting,
        batch_size=server.batch_size,
        load_attempts=server.load_attempts,
        on_give_up=on_give_up,
    )
    return AppContext(
        settings=settings,
        server=server,
        access=AccessControl(server),
        metrics=metrics,
        parser=parser,
        queue=queue,
        inference=InferenceService(queue, metrics, server),
        uploaded=uploaded,
        jobs=ObjectJobs(uploaded, queue),
        renderer=TemplateRenderer(TemplateProcess(limits=server.preparation_limits())),
    )


def get_context(connection: HTTPConnection) -> AppContext:
    """Return the context of the app that serves a request.

    Args:
        connection: The request or WebSocket.
    """
    context: AppContext = connection.app.state.context
    return context


Context = Annotated[AppContext, Depends(get_context)]
"""Parameter type of routes that use the app's context."""
