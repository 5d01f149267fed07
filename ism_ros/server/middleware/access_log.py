"""A line in the log, a count in the metrics and an id for each request."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ism_ros.server.metrics import Metrics
from ism_ros.server.request_logging import begin_request, log_fields

logger = logging.getLogger(__name__)


class AccessLog:
    """ASGI middleware: gives each request its id, and logs and counts its response."""

    def __init__(self, app: ASGIApp, metrics: Metrics, is_quiet: Callable[[str], bool]) -> None:
        """Initialize.

        Args:
            app: The app inside of it.
            metrics: Where responses are counted.
            is_quiet: Whether a path is logged at debug level only.
        """
        self._app = app
        self._metrics = metrics
        self._is_quiet = is_quiet

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_s = time.perf_counter()
        request_id = begin_request(Headers(scope=scope).get("x-request-id"))

        async def send_logged(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
                self._log(scope, message["status"], time.perf_counter() - began_s)
            await send(message)

        await self._app(scope, receive, send_logged)

    def _log(self, scope: Scope, status: int, seconds: float) -> None:
        method, path = scope["method"], getattr(scope.get("route"), "path", "none")
        self._metrics.observe_response(path, status, seconds)
        logger.log(
            logging.DEBUG if self._is_quiet(scope["path"]) else logging.INFO,
            "%s %s %d in %.0f ms",
            method,
            path,
            status,
            1000 * seconds,
            extra=log_fields(method=method, path=path, status=status, seconds=round(seconds, 4)),
        )
