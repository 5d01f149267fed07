"""Limits on the bodies of requests: too large ones are refused before they are read, slow ones are given up."""

from __future__ import annotations

import time

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ism_ros.server.error_responses import error_response
from ism_ros.server.errors import BodyAbortedError, RequestError


class BodyLimit:
    """ASGI middleware: checks what the client declares, counts what it does send, and how long that takes."""

    def __init__(self, app: ASGIApp, max_bytes: int, timeout_s: float) -> None:
        """Initialize.

        Args:
            app: The app inside of it.
            max_bytes: Most bytes of a body; more get 413.
            timeout_s: Longest that a body may take to arrive, seconds; then 408.
        """
        self._app = app
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._too_large = RequestError(413, f"the request has more than {max_bytes} bytes: send smaller images")
        self._too_slow = RequestError(
            408, f"the request was not there after {timeout_s:g} s: send smaller images, or faster"
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._max_bytes:
            await error_response(self._too_large)(scope, receive, send)
            return
        received = 0
        is_complete = False
        refusal: RequestError | None = None
        deadline_s = time.monotonic() + self._timeout_s

        async def receive_limited() -> Message:
            nonlocal received, is_complete, refusal
            if is_complete:  # what comes now is that the client has gone, which may take as long as it likes
                return await receive()
            try:
                with anyio.fail_after(deadline_s - time.monotonic()):
                    message = await receive()
            except TimeoutError:
                refusal = self._too_slow
                raise BodyAbortedError from None
            is_complete = not message.get("more_body", False)
            received += len(message.get("body", b""))
            if received > self._max_bytes:
                refusal = self._too_large
                raise BodyAbortedError
            return message

        async def send_unless_refused(message: Message) -> None:
            # whatever the app makes of a body that breaks off, the client gets the reason
            if refusal is None:
                await send(message)
            elif message["type"] == "http.response.start":
                await error_response(refusal)(scope, receive, send)

        await self._app(scope, receive_limited, send_unless_refused)
