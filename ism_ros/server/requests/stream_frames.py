"""The binary messages of WS /api/v1/stream.

A frame is one binary message: the length of a JSON text as 4 bytes, least first; that text, with the fields of the JSON
request but the images, and `rgb_bytes` and `depth_bytes` (0 = no depth), their lengths; then the files themselves.
"""

from __future__ import annotations

from typing import Any

from ism_ros.server.errors import RequestError
from ism_ros.server.requests.json_bodies import parse_json

LENGTH_BYTES = 4
"""Bytes of the header's length."""
MAX_HEADER_BYTES = 1 << 20
"""Bytes of length and header, at most."""


def split_frame(message: bytes) -> tuple[dict[str, Any], bytes, bytes | None]:
    """Split the message of a frame.

    Args:
        message: The message.

    Returns:
        Request fields, color file, and depth file or None.

    Raises:
        RequestError: 400 where it is no frame.
    """
    end = LENGTH_BYTES + int.from_bytes(message[:LENGTH_BYTES], "little")
    try:
        if end > MAX_HEADER_BYTES:
            raise ValueError
        fields = parse_json(message[LENGTH_BYTES:end], "the frame's header")
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
