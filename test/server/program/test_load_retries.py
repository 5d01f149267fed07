"""What cannot be loaded is tried again, and where that does not help whoever watches over the process sees it."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import httpx
import psutil
import pytest
from server_process import Server, StartServer, stop

from ism_ros.selftest.sample_files import SCENE


def status_of(server: Server) -> dict[str, str]:
    with server.client() as client:
        return client.get("/api/v1/status").json()


@pytest.mark.slow
def test_an_objects_file_that_comes_later_is_found(start_server: StartServer, tmp_path: Path) -> None:
    file = tmp_path / "objects.yaml"
    server = start_server(is_ready=False, ISM_OBJECTS_FILE=str(file))
    while (status := status_of(server))["state"] == "loading":
        assert server.process.poll() is None
    with server.client() as client:
        assert client.get("/ready").status_code == 503
        assert client.get("/health").status_code == 200
    cad = SCENE / "banana.ply"
    known = next(iter(SCENE.glob("*.ply")), cad)
    file.write_text(f"objects:\n  - {{id: thing, cad: {known}, units: m}}\n")
    server.wait_until_ready()
    assert status_of(server)["objects"] == ["thing"]
    said = stop(server)
    assert str(file) in status["message"]
    assert "tried again in 1 s" in said
    assert "Traceback" not in said


@pytest.mark.slow
def test_a_worker_that_is_killed_while_it_loads_is_started_again(start_server: StartServer) -> None:
    server = start_server(is_ready=False)
    process, killed = psutil.Process(server.process.pid), False
    while not killed:
        assert server.process.poll() is None
        for child in process.children():
            with contextlib.suppress(psutil.Error):
                if "spawn_main" in " ".join(child.cmdline()):
                    os.kill(child.pid, signal.SIGKILL)
                    killed = True
    server.wait_until_ready()
    said = stop(server)
    assert "its process was killed" in said


@pytest.mark.slow
def test_where_nothing_helps_the_server_ends_with_an_exit_code(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server(is_ready=False, ISM_OBJECTS_FILE=str(tmp_path / "none.yaml"), ISM_LOAD_ATTEMPTS="2")
    healthy = []
    with server.client() as client, contextlib.suppress(httpx.TransportError):
        while server.process.poll() is None:
            healthy.append(client.get("/health").status_code)
    assert server.process.wait(60) == 1
    server.reader.join(60)
    said = "".join(server.said)
    assert healthy[0] == 200
    assert set(healthy) <= {200, 503}
    assert "could not be loaded in 2 attempts" in said
    assert "none.yaml" in said
    assert "Traceback" not in said
