"""Connections that are idle, slow or too many."""

from __future__ import annotations

import contextlib
import resource
import threading
from collections.abc import Iterator
from pathlib import Path
from socket import create_connection, socket

import httpx
import pytest
from server_process import Server, StartServer, start, stop
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect


def connection_to(server: Server) -> socket:
    address = httpx.URL(server.url)
    return create_connection((address.host, address.port), timeout=30)


def rest_of(connection: socket) -> bytes:
    """What comes until the server closes the connection."""
    answer = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(1 << 16):
            answer += part
    return answer


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Iterator[Server]:
    running = start(
        tmp_path_factory.mktemp("impatient") / "data", cache, ISM_UPLOAD_TIMEOUT_S="0.5", ISM_MAX_CONNECTIONS="8"
    )
    running.wait_until_ready()
    yield running
    stop(running)


@pytest.mark.parametrize("said", [b"", b"GET /health HT", b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: "])
def test_a_head_that_does_not_come_is_not_waited_for(impatient: Server, said: bytes) -> None:
    with connection_to(impatient) as connection:
        connection.sendall(said)
        assert rest_of(connection).startswith(b"HTTP/1.1 408 ")


def test_a_head_that_trickles_is_not_waited_for(impatient: Server) -> None:
    with connection_to(impatient) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        connection.recv(1 << 16)
        trickle, is_over = b"GET /health HTTP/1.1\r\nX: ", threading.Event()

        def send() -> None:
            for _ in range(100):
                try:
                    connection.sendall(trickle[:1] + b"a")
                except OSError:
                    return
                if is_over.wait(0.1):
                    return

        thread = threading.Thread(target=send)
        thread.start()
        answer = rest_of(connection)  # which may be lost, as more came after it was sent
        assert not answer or b" 408 " in answer
        is_over.set()
        thread.join()


def test_idle_connections_make_room_for_those_that_ask(impatient: Server) -> None:
    idle = [connection_to(impatient) for _ in range(60)]
    with impatient.client() as client:
        assert client.get("/health").status_code == 200
    for connection in idle:
        connection.close()


def test_streams_leave_room_for_requests(impatient: Server) -> None:
    url = impatient.url.replace("http", "ws") + "/api/v1/stream"
    opened = [connect(url) for _ in range(4)]
    for _ in range(4):
        with pytest.raises(InvalidStatus, match="503"):
            connect(url)
    with impatient.client() as client:
        assert client.get("/health").status_code == 200
    for stream in opened:
        stream.close()


@pytest.mark.slow
def test_a_server_short_of_descriptors_says_so_in_a_line_and_goes_on(start_server: StartServer) -> None:
    server = start_server()
    used = len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (used + 10, used + 10))
    flood = [connection_to(server) for _ in range(100)]
    while "no connection can be accepted" not in "".join(server.said):
        assert server.process.poll() is None
    threading.Event().wait(2.5)  # while asyncio tries again each second
    for connection in flood:
        connection.close()
    with server.client() as client:
        assert client.get("/health").status_code == 200
    said = stop(server)
    assert said.count("no connection can be accepted") == 1
    assert "ISM_MAX_CONNECTIONS" in said
    assert len(said.splitlines()) < 40
