"""The ISM Server: its routes, what requests pass before them, and how it starts and ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware

from ism_ros import __version__
from ism_ros.config.settings import Settings
from ism_ros.runtime.cache_folder import keep_below
from ism_ros.server.context import AppContext, create_context
from ism_ros.server.error_responses import install_error_handlers
from ism_ros.server.middleware.access_control import PROBE_PATHS, AccessMiddleware
from ism_ros.server.middleware.access_log import AccessLog
from ism_ros.server.middleware.body_limit import BodyLimit
from ism_ros.server.middleware.connection_limits import limit_accept_errors
from ism_ros.server.middleware.head_requests import HeadAsGet
from ism_ros.server.routes import inference_routes, object_routes, page_routes, state_routes, stream_routes
from ism_ros.server.routes.docs_routes import OPENAPI_URL, add_docs_routes, is_docs_path, require_key_in_docs
from ism_ros.server.settings import ServerSettings, read_model_settings, read_server_settings

ROUTERS = (
    page_routes.router,
    state_routes.router,
    inference_routes.router,
    stream_routes.router,
    object_routes.router,
)
"""All routes but those of the API's description."""
STOP_TIMEOUT_S = 30.0
"""Longest that accepted requests are waited for when the server ends, seconds."""
TRIM_PERIOD_S = 600.0
"""Seconds between two looks at the size of the cache on disk."""


def create_app(
    settings: Settings | None = None,
    server: ServerSettings | None = None,
    on_give_up: Callable[[], None] = lambda: None,
) -> FastAPI:
    """Make the app.

    Args:
        settings: Settings of models and objects; None = from the environment.
        server: Settings of the server; None = from the environment.
        on_give_up: Called when the models could not be loaded in all tries.

    Returns:
        The app, whose `state.context` is its `AppContext`.

    Raises:
        SettingsError: A setting cannot be used.
    """
    settings = read_model_settings() if settings is None else settings
    server = read_server_settings() if server is None else server
    context = create_context(settings, server, on_give_up)
    app = FastAPI(
        title="ISM Server",
        version=__version__,
        description="Instances of novel objects in RGB-D frames, from their CAD models alone.",
        lifespan=_lifespan,
        openapi_url=OPENAPI_URL,
        docs_url=None,
        redoc_url=None,
        middleware=[  # the outermost first
            Middleware(HeadAsGet),
            Middleware(AccessLog, metrics=context.metrics, is_quiet=_is_public),
            Middleware(AccessMiddleware, access=context.access, is_public=_is_public),
            Middleware(BodyLimit, max_bytes=server.max_upload, timeout_s=server.upload_timeout_s),
        ],
    )
    app.state.context = context
    add_docs_routes(app)
    if server.api_key:
        require_key_in_docs(app)
    for router in ROUTERS:
        app.include_router(router)
    install_error_handlers(app, [*app.routes, *(route for router in ROUTERS for route in router.routes)])
    return app


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Load in the background from the start; run what was accepted before the end."""
    context: AppContext = app.state.context
    limit_accept_errors(asyncio.get_running_loop())
    context.uploaded.read()
    context.queue.start()
    context.jobs.start()
    trimming = asyncio.create_task(_trim_disk_cache(context))
    try:
        yield
    finally:
        trimming.cancel()
        context.jobs.stop()
        await run_in_threadpool(context.queue.stop, STOP_TIMEOUT_S)


async def _trim_disk_cache(context: AppContext) -> None:
    """Keep the cache on disk within its budget."""
    cache_dir = context.settings.resolved_cache_dir()
    while True:
        await run_in_threadpool(keep_below, cache_dir, context.server.max_disk_cache)
        await asyncio.sleep(TRIM_PERIOD_S)


def _is_public(path: str) -> bool:
    """Return whether a path holds no secret and is served without a key."""
    return path in PROBE_PATHS or page_routes.is_page_path(path) or is_docs_path(path)
