"""Whatever a client sends, the server answers with what its description promises, and goes on."""

from __future__ import annotations

import base64
import copy
import json
import random
from socket import create_connection
from typing import Any

import httpx
import pytest
from server_process import Server, StartServer
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

schemathesis = pytest.importorskip("schemathesis", minversion="4.0")

from hypothesis import HealthCheck, given, settings  # noqa: E402

FEW, MANY = 150, 10_000


def is_promised(status: int) -> bool:
    return status < 500 or status == 503


def send_requests_of_the_description(server: Server, count: int) -> int:
    """Requests with every field as described, and as not described. Returns how many were sent."""
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    sent = 0
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) >= 10

    for operation in operations:

        @settings(
            max_examples=max(5, count // len(operations)),
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def answer_is_promised(case: Any) -> None:
            nonlocal sent
            sent += 1
            answer = case.call(timeout=60)
            assert is_promised(answer.status_code), (
                f"{case.method} {case.path}: {answer.status_code} {answer.text[:300]}"
            )

        answer_is_promised()
    return sent


def spoiled(sample: dict[str, Any], rng: random.Random) -> str:
    """The sample as JSON with some of its fields, or of its bytes, replaced."""
    request = copy.deepcopy(sample)
    nonsense = [None, True, -1, 0, 1e308, -1e308, 2**70, "", "x", "../../etc/passwd", "\0", [], {}, [[]], "A" * 10_000]
    for _ in range(rng.randint(1, 3)):
        place: Any = rng.choice(
            [request, request["cam_params"] if isinstance(request.get("cam_params"), dict) else request]
        )
        place[rng.choice(list(place) or ["rgb_image"])] = rng.choice(nonsense)
    if rng.random() < 0.5:
        for name in ("rgb_image", "depth_image"):
            request[name] = damaged(sample[name], rng)
    text = json.dumps(request)
    if rng.random() < 0.2:
        cut = rng.randrange(len(text))
        text = text[:cut] + chr(rng.randrange(1, 0x3000)) + text[cut + rng.randrange(3) :]
    return text


def damaged(image: str, rng: random.Random) -> str:
    """base64 of a picture of which bytes are changed, missing, or too many; its head stays more often than not."""
    data = bytearray(base64.b64decode(image))
    for _ in range(rng.randint(1, 30)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    if rng.random() < 0.5:
        del data[rng.randrange(8, len(data)) :]
    return base64.b64encode(bytes(data)).decode()


def send_spoiled_samples(server: Server, sample: dict[str, Any], count: int) -> set[int]:
    rng = random.Random(0)
    statuses = set()
    with server.client() as client:
        for _ in range(count):
            text = spoiled({**sample, "visualization": False}, rng)
            answer = client.post(
                "/api/v1/inference", content=text.encode(errors="replace"), headers={"content-type": "application/json"}
            )
            assert is_promised(answer.status_code), (answer.status_code, answer.text[:300])
            if answer.status_code != 200:
                assert answer.json()["error_message"]
                assert "Traceback" not in answer.text
            statuses.add(answer.status_code)
    return statuses


def test_requests_made_of_the_description_are_answered_as_promised(server: Server) -> None:
    assert send_requests_of_the_description(server, FEW) >= 50


def test_spoiled_requests_are_answered_as_promised(server: Server, sample: dict[str, Any]) -> None:
    assert {400, 422} <= send_spoiled_samples(server, sample, FEW)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_ten_thousand_hostile_requests_bring_no_error_of_the_server(server: Server, sample: dict[str, Any]) -> None:
    sent = send_requests_of_the_description(server, MANY)
    send_spoiled_samples(server, sample, max(MANY - sent, MANY // 4))
    with server.client() as client:
        assert len(client.post("/api/v1/inference", json=sample).json()["detections"]) == 2


def test_a_header_that_is_no_header_is_refused(server: Server) -> None:
    with server.client() as client:
        answer = client.post(
            "/api/v1/inference", content=b"{}", headers={"content-type": b"\xff/x", "x-request-id": b"a" * 5000}
        )
    assert answer.status_code == 422


def test_a_body_that_never_ends_is_cut_off(server: Server) -> None:
    def without_end() -> Any:
        for _ in range(200):
            yield b" " * (1 << 20)

    with server.client() as client:
        try:
            status = client.post("/api/v1/inference", content=without_end()).status_code
        except httpx.WriteError:  # the connection was closed on us
            status = 413
    assert status == 413


@pytest.mark.slow
def test_a_body_that_never_comes_is_not_waited_for(start_server: StartServer) -> None:
    server = start_server(ISM_UPLOAD_TIMEOUT_S="0.5")
    address = httpx.URL(server.url)
    lines = (
        b"POST /api/v1/inference HTTP/1.1",
        b"Host: localhost",
        b"Content-Type: application/json",
        b"Content-Length: 9",
    )
    head = b"\r\n".join(lines) + b"\r\n\r\n{"
    with create_connection((address.host, address.port), timeout=60) as connection:
        connection.sendall(head)
        answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))  # until the server closes the connection
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"not there after 0.5 s" in answer


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "http://elsewhere.example"},
        {"origin": "null"},
    ],
    ids=str,
)
def test_pages_of_other_sites_cannot_use_the_server_through_a_browser(
    server: Server, sample: dict[str, Any], headers: dict[str, str]
) -> None:
    with server.client() as client:
        sent = client.post("/api/v1/inference", json=sample, headers=headers)
        removed = client.delete("/api/v1/objects/thing", headers=headers)
        read = client.get("/health", headers=headers)
    assert (sent.status_code, removed.status_code, read.status_code) == (403, 403, 200)
    assert "another site" in sent.json()["error_message"]
    assert "access-control-allow-origin" not in read.headers
    with pytest.raises(InvalidStatus, match="403"):
        connect(server.url.replace("http", "ws") + "/api/v1/stream", additional_headers=headers)


def test_a_page_of_the_server_itself_can_use_it(server: Server, sample: dict[str, Any]) -> None:
    for headers in ({"sec-fetch-site": "same-origin"}, {"origin": server.url}):
        with server.client() as client:
            assert client.post("/api/v1/inference", json=sample, headers=headers).status_code == 200
        with connect(server.url.replace("http", "ws") + "/api/v1/stream", additional_headers=headers) as socket:
            socket.ping().wait(60)
