"""Answers to requests that failed: an HTTP status, and the same body as of those that did not."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match

from ism_ros.server.errors import RequestError
from ism_ros.server.schemas import InferenceAnswer

logger = logging.getLogger(__name__)


def add_error_answers(app: FastAPI) -> None:
    """Whatever goes wrong is answered in one shape; what nobody foresaw is told in the log alone."""
    app.add_exception_handler(RequestError, _refused)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _no_route)
    app.add_exception_handler(Exception, _unforeseen)


def failure(status: int, message: str, retry_after_s: int | None = None) -> JSONResponse:
    """The answer to a request that failed, of the same shape as one that did not."""
    headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
    return JSONResponse(failed(message), status, headers)


def failed(message: str) -> dict[str, Any]:
    """The fields of an answer that says what is wrong."""
    text = message.encode("utf-8", "backslashreplace").decode()  # halves of surrogate pairs cannot be sent
    return InferenceAnswer(success=False, error_message=text).model_dump()


def _described(texts: dict[int, str]) -> dict[int | str, dict[str, Any]]:
    """Answers to failures as /docs shows them, by their status."""
    return {
        status: {
            "model": InferenceAnswer,
            "description": text,
            "content": {"application/json": {"example": failed(text)}},
        }
        for status, text in texts.items()
    }


ERRORS = _described(
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
KEY_ERRORS: dict[int | str, dict[str, Any]] = {status: ERRORS[status] for status in (401, 429)}
"""Of routes that can go wrong in no other way."""
OBJECT_ERRORS = {
    **ERRORS,
    **_described(
        {
            409: "The id or category_id is that of another object, or of the objects file.",
            507: "The server's disk is full or cannot be written.",
        }
    ),
}


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    return failure(error.status, error.message, error.retry_after_s)


async def _malformed(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if part != "body")
    return failure(422, f"{place or 'the body'}: {first['msg'][:1].lower()}{first['msg'][1:]}")


async def _no_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    said = f"{request.method} {request.scope['path']}: {error.detail}; see /docs"
    answer = failure(error.status_code, said)
    answer.headers.update(error.headers or {})
    if error.status_code == 405:
        answer.headers["Allow"] = ", ".join(_methods(request))
    return answer


def _methods(request: Request) -> list[str]:
    """Those that some route of this path takes."""
    taken: set[str] = set()
    for route in request.app.routes:
        if route.matches(request.scope)[0] is not Match.NONE:
            taken |= getattr(route, "methods", None) or set()
    return sorted(taken | {"HEAD"} if "GET" in taken else taken)


async def _unforeseen(request: Request, error: Exception) -> Response:
    logger.error("%s %r failed", request.method, request.scope["path"], exc_info=error)
    return failure(500, "the server failed to answer this request; its log says why")
