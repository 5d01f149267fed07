"""Connections that cost more than they bring are closed, so that none is refused for want of descriptors."""

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
"""Longest that the head of a request may take, from the connection or its first byte on."""
BACKLOG = 128
"""Connections that are accepted at once."""
SPARE_DESCRIPTORS = 128
"""Of this process, beside those of connections: files of uploads, pipes of workers."""
_SAID_EVERY_S = 10.0
_LATE = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_BUSY = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 2\r\nContent-Length: 0\r\n\r\n"

logger = logging.getLogger(__name__)


class LimitedConnection(H11Protocol):
    """A connection of uvicorn's that is closed when the head of a request does not come, or when nobody takes its
    answer; where there are too many, the one that was idle for longest makes room."""

    head_timeout_s = HEAD_TIMEOUT_S
    answer_timeout_s = 60.0
    max_connections = 512

    _head_timer: asyncio.TimerHandle | None = None
    _answer_timer: asyncio.TimerHandle | None = None
    _used_s = 0.0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._used_s = self.loop.time()
        if len(self.connections) > self.max_connections and not self._make_room():
            self._end_with(_BUSY)
            return
        self._watch_head()

    def data_received(self, data: bytes) -> None:
        self._used_s = self.loop.time()
        super().data_received(data)
        self._watch_head()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """A stream is never idle: half of the connections are left for requests."""
        streams = sum(not isinstance(other, LimitedConnection) for other in self.connections)
        if streams >= max(1, self.max_connections // 2):
            self._end_with(_BUSY)
        else:
            super().handle_websocket_upgrade(event)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._answer_timer is None:
            self._answer_timer = self.loop.call_later(self.answer_timeout_s, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_timer("_answer_timer")

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer("_head_timer")
        self._stop_timer("_answer_timer")
        super().connection_lost(exc)

    def _watch_head(self) -> None:
        is_awaited = self.conn.their_state is h11.IDLE and self.transport.get_protocol() is self
        if not is_awaited:
            self._stop_timer("_head_timer")
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(self.head_timeout_s, self._end_with, _LATE)

    def _stop_timer(self, name: str) -> None:
        timer = getattr(self, name)
        if timer is not None:
            timer.cancel()
            setattr(self, name, None)

    def _is_idle(self) -> bool:
        return not self.transport.is_closing() and (self.cycle is None or self.cycle.response_complete)

    def _make_room(self) -> bool:
        """Closes what is idle for longest; False where all others are at work."""
        others = [one for one in self.connections if isinstance(one, LimitedConnection) and one is not self]
        if any(one.transport.is_closing() for one in others):
            return True
        idle = [one for one in others if one._is_idle()]
        if not idle:
            return False
        min(idle, key=lambda one: one._used_s)._end_with(_LATE)
        return True

    def _end_with(self, answer: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(answer)
            self.transport.close()


def limited_connections(max_connections: int, timeout_s: float) -> type[LimitedConnection]:
    """The class for uvicorn's `http`: so many connections, or fewer where the system gives this process few
    descriptors. timeout_s: longest that a head, and that the taking of an answer, may last."""
    limits = {
        "max_connections": min(max_connections, _free_descriptors()),
        "head_timeout_s": min(HEAD_TIMEOUT_S, timeout_s),
        "answer_timeout_s": timeout_s,
    }
    return type("LimitedConnection", (LimitedConnection,), limits)


def backlog() -> int:
    """Of the listening socket, which asyncio also accepts at once."""
    return max(8, min(BACKLOG, _free_descriptors() // 4))


def say_seldom_that_descriptors_are_lacking(loop: asyncio.AbstractEventLoop) -> None:
    """asyncio tells of each connection that it cannot accept, thousands of times a second."""
    said_s = -_SAID_EVERY_S

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        nonlocal said_s
        if "socket.accept()" not in context.get("message", ""):
            loop.default_exception_handler(context)
            return
        if time.monotonic() - said_s >= _SAID_EVERY_S:
            said_s = time.monotonic()
            logger.error(
                "no connection can be accepted (%s): allow more open files (ulimit -n) or lower ISM_MAX_CONNECTIONS",
                context.get("exception"),
            )

    loop.set_exception_handler(handle)


def _free_descriptors() -> int:
    """That connections may take."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return 1 << 20
    free = max(0, soft - len(os.listdir("/dev/fd")))
    return max(4, free - SPARE_DESCRIPTORS if free > 2 * SPARE_DESCRIPTORS else free // 2)
