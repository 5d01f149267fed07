"""The page at `/`: a few files that come with the package, and nothing from anywhere else."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse
from starlette.exceptions import HTTPException

PAGE = Path(__file__).parents[1] / "web"
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
HEADERS = {
    # scripts, styles and requests of this server alone; pictures also out of the page's own memory
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def is_of_page(path: str) -> bool:
    """Whether a URL's path is one of the page or its files, which hold no secret and are answered without a key."""
    return path == "/" or path.startswith("/page/")


def add_page_routes(app: FastAPI) -> None:
    files = {file.name: file for file in PAGE.iterdir() if file.suffix in MEDIA_TYPES}

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return _answer(files["index.html"])

    @app.get("/page/{name}", include_in_schema=False)
    async def page_file(name: str) -> FileResponse:
        if name not in files:
            raise HTTPException(404, "the page has no such file")
        return _answer(files[name])


def _answer(file: Path) -> FileResponse:
    return FileResponse(file, media_type=MEDIA_TYPES[file.suffix], headers=HEADERS)
