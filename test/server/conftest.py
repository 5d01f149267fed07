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

from server_process import Server, StartServer, start, stop


@pytest.fixture(scope="session")
def cache(sample_cache: Path) -> Path:
    return sample_cache


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


@pytest.fixture
def start_server(tmp_path: Path, cache: Path) -> Iterator[StartServer]:
    """Starts servers of the test's own, which are ended after it; each is ready unless `is_ready` is False."""
    started = []

    def start_one(is_ready: bool = True, **environment: str) -> Server:
        server = start(tmp_path / "data", cache, **environment)
        started.append(server)
        if is_ready:
            server.wait_until_ready()
        return server

    yield start_one
    for server in started:
        if server.process.poll() is None:
            stop(server)
