"""JSON in requests: measured before it is parsed, and parsed outside of the event loop."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from ism_ros.server.errors import BodyAbortedError, RequestError

MAX_VALUES = 200_000
"""Values in one JSON text, at most; more would hold Python's lock for seconds. Pictures in base64 are one each."""
_SEPARATORS = (b",", b"[", b"{")
_SURROGATE_HALF = re.compile(r"\\u[dD][89a-fA-F]")


def parse_json(data: bytes, what: str) -> Any:
    """Parse a JSON text.

    Halves of surrogate pairs are refused, as no file, response or log can hold them.

    Args:
        data: The text in UTF-8, UTF-16 or UTF-32.
        what: What it is, for error messages.

    Returns:
        The value.

    Raises:
        RequestError: 413 for too many values, 422 for what is no JSON.
    """
    if sum(map(data.count, _SEPARATORS)) > MAX_VALUES:
        raise RequestError(413, f"{what} has more than {MAX_VALUES} values: send pictures as base64, and fewer fields")
    try:
        text = data.decode(json.detect_encoding(data))
        value = json.loads(text)
        if _SURROGATE_HALF.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise RequestError(
            422, f"{what} holds half of a surrogate pair (\\ud800 to \\udfff), which is no text"
        ) from None
    except UnicodeDecodeError:
        raise RequestError(422, f"{what} is no UTF-8: send JSON in UTF-8") from None
    except json.JSONDecodeError as error:
        raise RequestError(422, f"{what} is no JSON: {error.msg} at character {error.pos}") from None
    except RecursionError:
        raise RequestError(422, f"{what} is JSON that is nested too deeply") from None
    except ValueError as error:  # a number of thousands of digits
        raise RequestError(422, f"{what} cannot be read: {error}") from None
    return value


class JsonRoute(APIRoute):
    """A route whose JSON body is parsed on another thread."""

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]
        """Wrap FastAPI's handler of this route.

        Returns:
            A handler that gives FastAPI a request whose JSON is parsed already.
        """
        handle_parsed = super().get_route_handler()

        async def handle(request: Request) -> Response:
            if self.body_field is None or "json" not in request.headers.get("content-type", ""):
                return await handle_parsed(request)
            try:
                body = await request.body()
            except (BodyAbortedError, ClientDisconnect):
                raise RequestError(400, "the body broke off: send it whole") from None
            if not body:
                return await handle_parsed(request)
            value = await run_in_threadpool(parse_json, body, "the body")
            return await handle_parsed(_ParsedRequest(request, body, value))

        return handle


class _ParsedRequest(Request):
    """A request whose body is known."""

    def __init__(self, request: Request, body: bytes, value: Any) -> None:
        super().__init__(request.scope, request.receive)
        self._known_body, self._value = body, value

    async def body(self) -> bytes:
        return self._known_body

    async def json(self) -> Any:
        return self._value
