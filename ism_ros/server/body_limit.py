"""Bodies that are too large are refused before they are read."""

from __future__ import annotations

from collections.abc import Callable

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BodyLimit:
    """ASGI middleware: looks at what the client says it sends, and counts what it does send.

    refusal: makes the answer to a body of more than `max_bytes`.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, refusal: Callable[[], Response]) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._refusal = refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._max_bytes:
            await self._refusal()(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_bytes:
                raise TooLargeError
            return message

        async def unless_too_large(message: Message) -> None:
            # whatever the app makes of a body that breaks off, the client is told why
            if received <= self._max_bytes:
                await send(message)
            elif message["type"] == "http.response.start":
                await self._refusal()(scope, receive, send)

        await self._app(scope, counted, unless_too_large)


class TooLargeError(Exception):
    """Ends the reading of a body."""
