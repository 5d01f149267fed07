"""HEAD requests, served as GET without the body."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send


class HeadAsGet:
    """ASGI middleware: routes need not know HEAD, as uvicorn leaves the body of its response out."""

    def __init__(self, app: ASGIApp) -> None:
        """Initialize.

        Args:
            app: The app inside of it.
        """
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}
        await self._app(scope, receive, send)
