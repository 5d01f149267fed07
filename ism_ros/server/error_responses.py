"""HTTP responses for requests that failed, all with the body of `InferenceResponse`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute

from ism_ros.server.errors import RequestError
from ism_ros.server.schemas import InferenceResponse

logger = logging.getLogger(__name__)


def install_error_handlers(app: FastAPI, routes: Sequence[BaseRoute]) -> None:
    """Make every failure a response of one shape; details of unexpected exceptions go to the log alone.

    Args:
        app: The app that gets the exception handlers.
        routes: Its routes, whose methods are named where a request has another one.
    """

    async def handle_http_exception(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        text = f"{request.method} {request.scope['path']}: {error.detail}; see /docs"
        response = error_response(RequestError(error.status_code, text))
        response.headers.update(error.headers or {})
        if error.status_code == 405:
            response.headers["Allow"] = ", ".join(_allowed_methods(routes, request.scope["path"]))
        return response

    app.add_exception_handler(RequestError, _handle_request_error)
    app.add_exception_handler(RequestValidationError, _handle_validation_error)
    app.add_exception_handler(HTTPException, handle_http_exception)
    app.add_exception_handler(Exception, _handle_unexpected_error)


def error_response(error: RequestError) -> JSONResponse:
    """Make the response to a request that failed.

    Args:
        error: Status, message and the Retry-After header, where it has one.

    Returns:
        The JSON response.
    """
    headers = {} if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
    return JSONResponse(error_body(error.message), error.status, headers)


def error_body(message: str) -> dict[str, Any]:
    """Make the JSON fields of a response that says what is wrong.

    Args:
        message: One sentence for `error_message`.

    Returns:
        All fields of `InferenceResponse`, `success` false.
    """
    text = message.encode("utf-8", "backslashreplace").decode()  # halves of surrogate pairs cannot be sent
    return InferenceResponse(success=False, error_message=text).model_dump()


def _documented(texts: dict[int, str]) -> dict[int | str, dict[str, Any]]:
    """Describe error responses for /docs, by their status."""
    return {
        status: {
            "model": InferenceResponse,
            "description": text,
            "content": {"application/json": {"example": error_body(text)}},
        }
        for status, text in texts.items()
    }


ERROR_RESPONSES = _documented(
    {
        400: "The request cannot be used; error_message says why.",
        401: "The key is missing or wrong.",
        403: "A path outside of the server's folders, a page of another site, or a host that is not this server's.",
        404: "A file, folder or object is not there.",
        408: "The body did not arrive in time.",
        413: "The body or an image is too large.",
        422: "A field is missing or of the wrong kind.",
        429: "Too many requests wait; see Retry-After.",
        503: "Models are being loaded; see Retry-After.",
        504: "The request took too long.",
    }
)
"""Error responses of most routes, as /docs shows them."""
KEY_ERROR_RESPONSES: dict[int | str, dict[str, Any]] = {status: ERROR_RESPONSES[status] for status in (401, 429)}
"""Error responses of routes that can go wrong in no other way."""
OBJECT_ERROR_RESPONSES = {
    **ERROR_RESPONSES,
    **_documented(
        {
            409: "The id or category_id is that of another object, or of the objects file.",
            507: "The server's disk is full or cannot be written.",
        }
    ),
}
"""Error responses of routes that change objects."""


async def _handle_request_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    return error_response(error)


async def _handle_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if part != "body")
    text = f"{place or 'the body'}: {first['msg'][:1].lower()}{first['msg'][1:]}"
    return error_response(RequestError(422, text))


def _allowed_methods(routes: Sequence[BaseRoute], path: str) -> list[str]:
    """List the methods that some route of a path takes."""
    methods: set[str] = set()
    for route in routes:
        pattern = getattr(route, "path_regex", None)
        if pattern is not None and pattern.match(path):
            methods |= getattr(route, "methods", None) or set()
    return sorted(methods | {"HEAD"} if "GET" in methods else methods)


async def _handle_unexpected_error(request: Request, error: Exception) -> Response:
    logger.error("%s %r failed", request.method, request.scope["path"], exc_info=error)
    return error_response(RequestError(500, "the server failed to answer this request; its log says why"))
