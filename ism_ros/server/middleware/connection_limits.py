"""Limits on connections: idle and stuck ones are closed, so that none is refused for want of file descriptors."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import time
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_TIMEOUT_S = 10.0
"""Longest that the head of a request may take, from the connection or its first byte on, seconds."""
BACKLOG = 128
"""Connections that the listening socket accepts at once, at most."""
SPARE_DESCRIPTORS = 128
"""File descriptors kept for other uses than connections: files of uploads, pipes of model processes."""
_LOG_PERIOD_S = 10.0
_TIMED_OUT = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_BUSY = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 2\r\nContent-Length: 0\r\n\r\n"

logger = logging.getLogger(__name__)


class LimitedConnection(H11Protocol):
    """A connection of uvicorn's that is closed when a request's head does not come or its response is not taken.

    Where there are too many, the one that was idle for longest is closed.

    Attributes:
        head_timeout_s: Longest that the head of a request may take, seconds.
        response_timeout_s: Longest that a client may not take its response, seconds.
        max_connections: Connections at a time; at most half of them WebSockets.
    """

    head_timeout_s = HEAD_TIMEOUT_S
    response_timeout_s = 60.0
    max_connections = 512

    _head_timer: asyncio.TimerHandle | None = None
    _response_timer: asyncio.TimerHandle | None = None
    _used_s = 0.0

    def connection_made(self, transport: Any) -> None:
        """Close another connection, or this one, where there are too many.

        Args:
            transport: As of asyncio's protocols.
        """
        super().connection_made(transport)
        self._used_s = self.loop.time()
        if len(self.connections) > self.max_connections and not self._make_room():
            self._end_with(_BUSY)
            return
        self._watch_head()

    def data_received(self, data: bytes) -> None:
        """Note that the connection is used.

        Args:
            data: As of asyncio's protocols.
        """
        self._used_s = self.loop.time()
        super().data_received(data)
        self._watch_head()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Refuse a WebSocket where half of the connections are: they are never idle, and requests need the others.

        Args:
            event: The opening request.
        """
        streams = sum(not isinstance(other, LimitedConnection) for other in self.connections)
        if streams >= max(1, self.max_connections // 2):
            self._end_with(_BUSY)
        else:
            super().handle_websocket_upgrade(event)

    def pause_writing(self) -> None:
        """Begin to wait for the client to take its response."""
        super().pause_writing()
        if self._response_timer is None:
            self._response_timer = self.loop.call_later(self.response_timeout_s, self.transport.abort)

    def resume_writing(self) -> None:
        """End the waiting for the client to take its response."""
        super().resume_writing()
        self._stop_timer("_response_timer")

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timers.

        Args:
            exc: As of asyncio's protocols.
        """
        self._stop_timer("_head_timer")
        self._stop_timer("_response_timer")
        super().connection_lost(exc)

    def _watch_head(self) -> None:
        is_awaited = self.conn.their_state is h11.IDLE and self.transport.get_protocol() is self
        if not is_awaited:
            self._stop_timer("_head_timer")
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(self.head_timeout_s, self._end_with, _TIMED_OUT)

    def _stop_timer(self, name: str) -> None:
        timer = getattr(self, name)
        if timer is not None:
            timer.cancel()
            setattr(self, name, None)

    def _is_idle(self) -> bool:
        return not self.transport.is_closing() and (self.cycle is None or self.cycle.response_complete)

    def _make_room(self) -> bool:
        """Close the connection that is idle for longest; return False where all others are in use."""
        others = [one for one in self.connections if isinstance(one, LimitedConnection) and one is not self]
        if any(one.transport.is_closing() for one in others):
            return True
        idle = [one for one in others if one._is_idle()]
        if not idle:
            return False
        min(idle, key=lambda one: one._used_s)._end_with(_TIMED_OUT)
        return True

    def _end_with(self, response: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(response)
            self.transport.close()


def limited_connections(max_connections: int, timeout_s: float) -> type[LimitedConnection]:
    """Make the protocol class for uvicorn's setting `http`.

    Args:
        max_connections: Connections at a time; fewer where the system gives this process few file descriptors.
        timeout_s: Longest that a head, and that the taking of a response, may last, seconds.

    Returns:
        The class.
    """
    limits = {
        "max_connections": min(max_connections, _free_descriptors()),
        "head_timeout_s": min(HEAD_TIMEOUT_S, timeout_s),
        "response_timeout_s": timeout_s,
    }
    return type("LimitedConnection", (LimitedConnection,), limits)


def backlog() -> int:
    """Return the backlog of the listening socket, which asyncio also accepts at once."""
    return max(8, min(BACKLOG, _free_descriptors() // 4))


def limit_accept_errors(loop: asyncio.AbstractEventLoop) -> None:
    """Log rarely that connections cannot be accepted, which asyncio reports thousands of times a second.

    Args:
        loop: The event loop that accepts connections.
    """
    logged_s = -_LOG_PERIOD_S

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        nonlocal logged_s
        if "socket.accept()" not in context.get("message", ""):
            loop.default_exception_handler(context)
            return
        if time.monotonic() - logged_s >= _LOG_PERIOD_S:
            logged_s = time.monotonic()
            logger.error(
                "no connection can be accepted (%s): allow more open files (ulimit -n) or lower ISM_MAX_CONNECTIONS",
                context.get("exception"),
            )

    loop.set_exception_handler(handle)


def _free_descriptors() -> int:
    """Return how many file descriptors connections may take."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return 1 << 20
    free = max(0, soft - len(os.listdir("/dev/fd")))
    return max(4, free - SPARE_DESCRIPTORS if free > 2 * SPARE_DESCRIPTORS else free // 2)
