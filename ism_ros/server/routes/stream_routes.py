"""WS /api/v1/stream: binary frames in, detections out; of frames that come while the model works only the newest stays.

A frame is one binary message: the length of a JSON text as 4 bytes, least first; that text, with the fields of the JSON
request but the images, and `rgb_bytes` and `depth_bytes` (0 = no depth), their lengths; then the files themselves. Each
answer is a text message as of POST /api/v1/inference, with `frame`, the number of the message it answers, from 0, and
`dropped`, how many were left out since the last answer.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from ism_ros.server.errors import RequestError
from ism_ros.server.requests.json_bodies import json_of

HEADER_BYTES = 4
MAX_HEADER_BYTES = 1 << 20

Answer = Callable[[dict[str, Any], bytes, bytes | None], Awaitable[dict[str, Any]]]
"""From request fields, rgb and depth to the answer's fields."""

logger = logging.getLogger(__name__)


@dataclass
class Newest:
    """A slot for one message, and how many came."""

    message: bytes | None = None
    number: int = -1


async def serve_stream(socket: WebSocket, answer: Answer, failure: Callable[[str], dict[str, Any]]) -> None:
    """Until the client goes. A frame that cannot be used is answered with what is wrong, and the stream goes on."""
    newest, arrived = Newest(), asyncio.Event()
    answering = asyncio.ensure_future(_answer_newest(socket, newest, arrived, answer, failure))
    try:
        while not answering.done():
            newest.message = await socket.receive_bytes()
            newest.number += 1
            arrived.set()
    except KeyError:
        await socket.close(code=1003, reason="frames are binary messages, not text")
    except WebSocketDisconnect:
        pass
    finally:
        answering.cancel()


async def _answer_newest(
    socket: WebSocket, newest: Newest, arrived: asyncio.Event, answer: Answer, failure: Callable[[str], dict[str, Any]]
) -> None:
    last = -1
    while True:
        await arrived.wait()
        arrived.clear()
        message, number = newest.message, newest.number
        assert message is not None
        try:
            content = await answer(*split_frame(message))
        except RequestError as error:
            content = failure(error.message)
        except Exception:
            logger.exception("a frame of a stream failed")
            content = failure("the server failed to answer this frame; its log says why")
        await socket.send_text(json.dumps({**content, "frame": number, "dropped": number - last - 1}))
        last = number


def split_frame(message: bytes) -> tuple[dict[str, Any], bytes, bytes | None]:
    """Request fields, rgb file, depth file or None of a binary message. Raises RequestError."""
    end = HEADER_BYTES + int.from_bytes(message[:HEADER_BYTES], "little")
    try:
        if end > MAX_HEADER_BYTES:
            raise ValueError
        fields = json_of(message[HEADER_BYTES:end], "the frame's header")
        rgb_bytes, depth_bytes = int(fields.pop("rgb_bytes")), int(fields.pop("depth_bytes", 0))
    except (RequestError, ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        why = f" ({error})" if isinstance(error, RequestError) else ""
        raise RequestError(
            400, f"a frame starts with 4 bytes of length and a JSON text with rgb_bytes and depth_bytes{why}"
        ) from None
    if rgb_bytes < 0 or depth_bytes < 0 or len(message) != end + rgb_bytes + depth_bytes:
        raise RequestError(
            400, f"the frame has {len(message)} bytes, but its header says {end + rgb_bytes + depth_bytes}"
        )
    depth = message[end + rgb_bytes :] if depth_bytes else None
    return fields, message[end : end + rgb_bytes], depth
