"""One server for all tests that do not need one of their own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

from server_process import Server, start, stop


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Iterator[Server]:
    running = start(tmp_path_factory.mktemp("data"), cache)
    running.wait_until_ready()
    yield running
    stop(running)


@pytest.fixture(scope="session")
def sample(server: Server) -> dict[str, Any]:
    with server.client() as client:
        return client.get("/test/sample").json()
