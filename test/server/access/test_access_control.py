"""What strangers may not: ask under another name, guess keys, spend what others need."""

from __future__ import annotations

import contextlib
import json
import resource
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from socket import create_connection, socket
from typing import Any

import httpx
import pytest
from server_process import Server, start, stop
from test_objects import cad_of_sample, finished, ids, upload
from test_stream import frame
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from ism_ros.server.middleware.allowed_hosts import AllowedHosts

JSON = {"content-type": "application/json"}


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


# --- names


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8002", "127.0.0.1.evil.example", "x@y"])
def test_a_page_whose_name_was_pointed_here_reads_nothing(server: Server, sample: dict[str, Any], host: str) -> None:
    headers = {"host": host, "origin": f"http://{host}", "sec-fetch-site": "same-origin"}
    with server.client() as client:
        answers = [client.get(path, headers=headers) for path in ("/", "/docs", "/api/v1/status", "/metrics")]
        answers.append(client.post("/api/v1/inference", json={**sample, "output_dir": "by_evil"}, headers=headers))
    assert {answer.status_code for answer in answers} == {403}
    assert "ISM_ALLOWED_HOSTS" in answers[-1].json()["error_message"]
    assert not (server.data / "by_evil").exists()


def test_a_stream_is_not_opened_under_another_name(server: Server) -> None:
    host, _, port = server.url.removeprefix("http://").partition(":")
    with pytest.raises(InvalidStatus, match="403"):
        connect(f"ws://evil.example:{port}/api/v1/stream", sock=create_connection((host, int(port)), timeout=30))


def test_probes_are_answered_under_any_name(server: Server) -> None:
    with server.client() as client:
        for path in ("/health", "/ready"):
            assert client.get(path, headers={"host": "10.1.2.3:8002"}).status_code == 200
            assert client.get(path, headers={"host": "ism-server.default.svc"}).status_code == 200


def test_further_names_are_a_setting(tmp_path: Path, cache: Path) -> None:
    server = start(tmp_path / "data", cache, ISM_ALLOWED_HOSTS="robot.example, *.lab.example")
    with server.client() as client:
        found = {
            host: client.get("/api/v1/status", headers={"host": host}).status_code
            for host in ("robot.example", "ROBOT.example:80", "a.lab.example", "lab.example", "evil.example")
        }
    stop(server)
    assert found == {
        "robot.example": 200, "ROBOT.example:80": 200, "a.lab.example": 200, "lab.example": 403, "evil.example": 403
    }  # fmt: skip


def test_a_server_of_the_network_is_asked_by_address_and_by_its_own_name() -> None:
    on_loopback, on_network = AllowedHosts("", "127.0.0.1"), AllowedHosts("", "0.0.0.0")
    for host in ("192.168.1.5:8002", "[fe80::1]:8002"):
        assert not on_loopback.allows(host)
        assert on_network.allows(host)
    for hosts in (on_loopback, on_network):
        assert all(map(hosts.allows, ("localhost:8002", "localhost.", "127.0.0.1", "[::1]:8002", "127.1.2.3:1", None)))
        assert not any(map(hosts.allows, ("evil.example", "", "localhost/health?", "localhost, evil.example")))
    assert AllowedHosts("", "robot.example").allows("robot.example:8002")


# --- keys and rates


def test_keys_cannot_be_guessed_for_long(tmp_path: Path, cache: Path) -> None:
    server = start(tmp_path / "data", cache, ISM_API_KEY="right")
    with server.client() as client:
        guesses = [client.get("/api/v1/status", headers={"X-API-Key": str(number)}) for number in range(40)]
        while_limited = client.get("/api/v1/status", headers={"X-API-Key": "right"})
    stop(server)
    statuses = [answer.status_code for answer in guesses]
    assert statuses[0] == 401
    assert statuses[-1] == while_limited.status_code == 429
    assert int(guesses[-1].headers["retry-after"]) > 0


def test_somebody_else_at_an_address_cannot_lock_out_who_has_shown_the_key(tmp_path: Path, cache: Path) -> None:
    server = start(tmp_path / "data", cache, ISM_API_KEY="right")
    with server.client() as client:
        key = {"Authorization": "bearer right"}
        assert client.get("/api/v1/status", headers=key).status_code == 200
        guesses = [client.get("/api/v1/status", headers={"X-API-Key": "wrong"}).status_code for _ in range(40)]
        assert client.get("/api/v1/status", headers=key).status_code == 200
    stop(server)
    assert guesses[-1] == 429


@pytest.mark.slow
def test_a_header_does_not_make_another_client_unless_a_trusted_proxy_sends_it(tmp_path: Path, cache: Path) -> None:
    def statuses(server: Server) -> list[int]:
        with server.client() as client:
            answers = [client.get("/api/v1/status", headers={"X-Forwarded-For": f"1.2.3.{n}"}) for n in range(4)]
        stop(server)
        return [answer.status_code for answer in answers]

    assert statuses(start(tmp_path / "a", cache, ISM_RATE_LIMIT="3"))[-1] == 429
    assert statuses(start(tmp_path / "b", cache, ISM_RATE_LIMIT="3", ISM_TRUSTED_PROXIES="127.0.0.1")) == [200] * 4


def test_each_frame_of_a_batch_counts(tmp_path: Path, cache: Path, sample: dict[str, Any]) -> None:
    server = start(tmp_path / "data", cache, ISM_RATE_LIMIT="5")
    server.wait_until_ready()
    with server.client() as client:
        path = "/api/v1/inference/batch"
        too_many = client.post(path, json=[{**sample, "rgb_image": "x"}] * 6)
        answers = [client.post(path, json=[{**sample, "rgb_image": "x"}] * 4) for _ in range(2)]
    stop(server)
    assert too_many.status_code == 429
    assert "6 is more than 5" in too_many.json()["error_message"]
    assert [answer.status_code for answer in answers] == [207, 429]


# --- bodies


def test_a_body_of_millions_of_values_holds_nobody_up(server: Server) -> None:
    body = b"[" + b"0," * (30 << 20) + b"0]"
    with server.client() as client, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(client.post, "/api/v1/inference", content=body, headers=JSON)
        slowest_s = 0.0
        with server.client() as other:
            while not asked.done():
                began_s = time.monotonic()
                assert other.get("/health").status_code == 200
                slowest_s = max(slowest_s, time.monotonic() - began_s)
    assert asked.result().status_code == 413
    assert "values" in asked.result().json()["error_message"]
    assert slowest_s < 2.0


@pytest.mark.parametrize(
    "field", ["rgb_image", "cad_path", "template_dir", "output_dir", "segmentor_model", "cad_units"]
)
def test_half_a_surrogate_pair_is_refused_wherever_it_stands(
    server: Server, sample: dict[str, Any], field: str
) -> None:
    body = json.dumps({**sample, "object_ids": None, field: "a\ud800"}).encode()
    with server.client() as client:
        answer = client.post("/api/v1/inference", content=body, headers=JSON)
        batch = client.post("/api/v1/inference/batch", content=b"[" + body + b"]", headers=JSON)
        form = {"cam_params": json.dumps(sample["cam_params"]), "options": json.dumps({field: "\udfff"})}
        by_form = client.post("/api/v1/inference/upload", data=form, files={"rgb": ("a.png", b"x")})
    assert [answer.status_code, batch.status_code, by_form.status_code] == [422] * 3
    assert "surrogate" in answer.json()["error_message"]


@pytest.mark.parametrize("body", [b"\xff", b'"\xed\xa0\x80"', b"{", b"[" * 100_000, b"9" * 5000, b'{"a":NaN}'])
def test_what_is_no_json_is_refused(server: Server, body: bytes) -> None:
    with server.client() as client:
        answer = client.post("/api/v1/inference", content=body, headers=JSON)
    assert answer.status_code == 422, answer.text
    assert answer.json()["error_message"]


@pytest.mark.parametrize("field", ["output_dir", "cad_path", "template_dir"])
def test_a_path_of_1500_folders_is_refused(server: Server, sample: dict[str, Any], field: str) -> None:
    with server.client() as client:
        answer = client.post("/api/v1/inference", json={**sample, "object_ids": None, field: "a/" * 1500})
    assert answer.status_code == 400
    assert "folders deep" in answer.json()["error_message"]


def test_a_frame_of_a_stream_whose_header_is_endless_is_refused(server: Server, sample: dict[str, Any]) -> None:
    header = b"[" + b"0," * (1 << 20) + b"0]"
    with connect(server.url.replace("http", "ws") + "/api/v1/stream", max_size=None) as stream:
        stream.send(len(header).to_bytes(4, "little") + header)
        refused = json.loads(stream.recv(timeout=60))
        stream.send(frame(sample))
        assert json.loads(stream.recv(timeout=60))["success"]
    assert refused["success"] is False


# --- methods, ids


def test_a_method_that_a_route_does_not_take_is_told_with_those_that_it_does(server: Server) -> None:
    with server.client() as client:
        allowed = {
            path: client.put(path).headers["allow"] for path in ("/health", "/api/v1/objects", "/api/v1/inference")
        }
        assert client.put("/health").status_code == client.head("/api/v1/inference").status_code == 405
    assert allowed == {"/health": "GET, HEAD", "/api/v1/objects": "GET, HEAD, POST", "/api/v1/inference": "POST"}


def test_head_is_answered_as_get_without_a_body(server: Server) -> None:
    with server.client() as client:
        for path in ("/", "/health", "/ready", "/api/v1/status", "/docs", "/openapi.json"):
            head, get = client.head(path), client.get(path)
            assert (head.status_code, head.content) == (get.status_code, b"")
            assert head.headers["content-type"] == get.headers["content-type"]


@pytest.mark.parametrize("object_id", ["Schlüssel", "Ключ", "杯子", "हिन्दी", "مفتاح", "ß", "4 mm"])
def test_ids_are_words_of_any_alphabet(server: Server, object_id: str) -> None:
    with server.client() as client:
        job = upload(client, object_id, cad_of_sample(0))
        assert finished(client, job["id"])["state"] == "done"
        assert object_id in ids(client)
        assert client.delete(f"/api/v1/objects/{object_id}").status_code == 200


def test_of_several_who_remove_an_object_at_once_one_does(server: Server) -> None:
    with server.client() as client, ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            assert finished(client, upload(client, "contested", cad_of_sample(0))["id"])["state"] == "done"
            answers = list(pool.map(lambda _: client.delete("/api/v1/objects/contested").status_code, range(8)))
            assert sorted(answers) == [200] + [404] * 7


# --- connections


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
def test_a_server_short_of_descriptors_says_so_in_a_line_and_goes_on(tmp_path: Path, cache: Path) -> None:
    server = start(tmp_path / "data", cache)
    server.wait_until_ready()
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
