"""`/docs`: the API described by Swagger UI, whose files come with a Python package; nothing comes from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

import fastapi_offline
from fastapi import FastAPI, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse
from starlette.exceptions import HTTPException

from ism_ros.server.routes.page_routes import SECURITY_HEADERS

SWAGGER_UI = Path(fastapi_offline.__file__).parent / "static"
"""Folder of Swagger UI's files."""
MEDIA_TYPES = {
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
}
"""Files of Swagger UI that are served, and their media types."""
OPENAPI_URL = "/openapi.json"
"""Path of the description."""


def is_docs_path(path: str) -> bool:
    """Return whether a path is of the description, which holds no secret and is served without a key.

    Args:
        path: Path of a URL.
    """
    return path in ("/docs", OPENAPI_URL) or path.startswith("/docs/")


def add_docs_routes(app: FastAPI) -> None:
    """Add the page and its files to an app.

    Args:
        app: An app with `docs_url` None, as FastAPI's own page loads Swagger UI from a CDN.
    """
    page = bytes(
        get_swagger_ui_html(
            openapi_url=OPENAPI_URL,
            title=f"{app.title} API",
            swagger_js_url="/docs/swagger-ui-bundle.js",
            swagger_css_url="/docs/swagger-ui.css",
            swagger_favicon_url="/page/icon.svg",
        ).body
    )
    headers = {**SECURITY_HEADERS, "Content-Security-Policy": _policy(page)}

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return Response(page, media_type="text/html", headers=headers)

    @app.get("/docs/{name}", include_in_schema=False)
    async def docs_file(name: str) -> FileResponse:
        if name not in MEDIA_TYPES:
            raise HTTPException(404, "the description has no such file")
        return FileResponse(SWAGGER_UI / name, media_type=MEDIA_TYPES[name], headers=SECURITY_HEADERS)


def require_key_in_docs(app: FastAPI) -> None:
    """Add to the description that requests carry a key, so that /docs asks for it and sends it.

    Args:
        app: The app.
    """
    describe = app.openapi

    def openapi() -> dict[str, object]:
        schema = describe()
        schema["components"]["securitySchemes"] = {"key": {"type": "apiKey", "in": "header", "name": "X-API-Key"}}
        schema["security"] = [{"key": []}]
        return schema

    app.openapi = openapi  # type: ignore[method-assign]


def _policy(page: bytes) -> str:
    """Make the content security policy that Swagger UI needs; the one script in `page` is named by its hash."""
    scripts = re.findall(rb"<script>(.*?)</script>", page, re.DOTALL)
    hashes = [f"'sha256-{base64.b64encode(hashlib.sha256(script).digest()).decode('ascii')}'" for script in scripts]
    return (
        f"default-src 'none'; script-src 'self' {' '.join(hashes)}; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
