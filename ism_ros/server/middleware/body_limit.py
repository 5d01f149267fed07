"""Bodies that are too large are refused before they are read, those that do not come are not waited for."""

from __future__ import annotations

import time
from collections.abc import Callable

import anyio
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BodyLimit:
    """ASGI middleware: looks at what the client says it sends, counts what it does send, and how long that takes.

    too_large, too_slow: make the answers to a body of more than `max_bytes`, or that is not there after `timeout_s`.
    """

    def __init__(
        self,
        app: ASGIApp,
        max_bytes: int,
        timeout_s: float,
        too_large: Callable[[], Response],
        too_slow: Callable[[], Response],
    ) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._too_large = too_large
        self._too_slow = too_slow

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._max_bytes:
            await self._too_large()(scope, receive, send)
            return
        received = 0
        is_complete = False
        refusal: Callable[[], Response] | None = None
        deadline_s = time.monotonic() + self._timeout_s

        async def limited() -> Message:
            nonlocal received, is_complete, refusal
            if is_complete:  # what comes now is that the client has gone, which may take as long as it likes
                return await receive()
            try:
                with anyio.fail_after(deadline_s - time.monotonic()):
                    message = await receive()
            except TimeoutError:
                refusal = self._too_slow
                raise BodyError from None
            is_complete = not message.get("more_body", False)
            received += len(message.get("body", b""))
            if received > self._max_bytes:
                refusal = self._too_large
                raise BodyError
            return message

        async def unless_refused(message: Message) -> None:
            # whatever the app makes of a body that breaks off, the client is told why
            if refusal is None:
                await send(message)
            elif message["type"] == "http.response.start":
                await refusal()(scope, receive, send)

        await self._app(scope, limited, unless_refused)


class BodyError(Exception):
    """Ends the reading of a body."""
