"""The web page at `/`: a few files that come with the package; nothing is loaded from elsewhere."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse
from starlette.exceptions import HTTPException

WEB = Path(__file__).parents[1] / "web"
"""Folder of the page's files."""
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""Files that are served, by suffix, and their media types."""
SECURITY_HEADERS = {
    # scripts, styles and requests of this server alone; pictures also out of the page's own memory
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
"""Headers of the page and its files."""
FILES = {file.name: file for file in WEB.iterdir() if file.suffix in MEDIA_TYPES}
"""The page's files by name."""

router = APIRouter()
"""The routes."""


def is_page_path(path: str) -> bool:
    """Return whether a path is of the page or its files, which hold no secret and are served without a key.

    Args:
        path: Path of a URL.
    """
    return path == "/" or path.startswith("/page/")


@router.get("/", include_in_schema=False)
async def page() -> FileResponse:
    """Serve the page."""
    return _file_response(FILES["index.html"])


@router.get("/page/{name}", include_in_schema=False)
async def page_file(name: str) -> FileResponse:
    """Serve a file of the page.

    Args:
        name: Its name.

    Raises:
        HTTPException: 404 where the page has no such file.
    """
    if name not in FILES:
        raise HTTPException(404, "the page has no such file")
    return _file_response(FILES[name])


def _file_response(file: Path) -> FileResponse:
    return FileResponse(file, media_type=MEDIA_TYPES[file.suffix], headers=SECURITY_HEADERS)
