"""WS /api/v1/stream: frames in, detections out; of frames that come while the model works only the newest is kept.

Frames are binary messages as of `requests/stream_frames.py`. Each response is a text message as of POST
/api/v1/inference, with `frame`, the number of the message that it is for, from 0, and `dropped`, how many were left
out since the last response.
"""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter, WebSocket
from starlette.concurrency import run_in_threadpool
from starlette.websockets import WebSocketDisconnect

from ism_ros.server.context import AppContext, Context
from ism_ros.server.error_responses import error_body
from ism_ros.server.errors import RequestError
from ism_ros.server.requests.inference_parsing import parse_fields
from ism_ros.server.requests.stream_frames import split_frame

logger = logging.getLogger(__name__)

router = APIRouter()
"""The route."""


@router.websocket("/api/v1/stream")
async def stream(socket: WebSocket, context: Context) -> None:
    """Serve a stream until the client goes; a frame that cannot be used does not end it.

    Args:
        socket: The client.
        context: The app's context.
    """
    try:
        context.access.check_client(socket)
    except RequestError as error:
        await socket.close(code=1008, reason=error.message)
        return
    await socket.accept()
    latest = LatestMessage()
    responding = asyncio.ensure_future(_respond_to_latest(socket, context, latest))
    try:
        while not responding.done():
            latest.put(await socket.receive_bytes())
    except KeyError:
        await socket.close(code=1003, reason="frames are binary messages, not text")
    except WebSocketDisconnect:
        pass
    finally:
        responding.cancel()


@dataclass
class LatestMessage:
    """A slot for the latest message.

    Attributes:
        content: The message, or None.
        number: Its number, from 0.
        arrived: Set when one has come that was not taken yet.
    """

    content: bytes | None = None
    number: int = -1
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, content: bytes) -> None:
        """Replace the message.

        Args:
            content: The new one.
        """
        self.content = content
        self.number += 1
        self.arrived.set()

    async def take(self) -> tuple[bytes, int]:
        """Wait for a message that was not taken yet.

        Returns:
            The message and its number.
        """
        await self.arrived.wait()
        self.arrived.clear()
        assert self.content is not None
        return self.content, self.number


async def _respond_to_latest(socket: WebSocket, context: AppContext, latest: LatestMessage) -> None:
    last = -1
    while True:
        message, number = await latest.take()
        try:
            content = await _infer(socket, context, message)
        except RequestError as error:
            content = error_body(error.message)
        except Exception:
            logger.exception("a frame of a stream failed")
            content = error_body("the server failed to answer this frame; its log says why")
        await socket.send_text(json.dumps({**content, "frame": number, "dropped": number - last - 1}))
        last = number


async def _infer(socket: WebSocket, context: AppContext, message: bytes) -> dict[str, Any]:
    fields, rgb, depth = split_frame(message)
    context.access.check_rate(socket)
    request = parse_fields(fields, "the frame's header")
    model_input = await run_in_threadpool(context.parser.from_images, request, rgb, depth)
    return await context.inference.infer(model_input, disconnected=asyncio.Event().wait())  # `stream` sees that itself
