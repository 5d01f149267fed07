"""Who may send requests: under the server's names, with its key, within the rate."""

from __future__ import annotations

from pathlib import Path
from socket import create_connection
from typing import Any

import pytest
from server_process import Server, StartServer, start, stop
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from ism_ros.server.middleware.allowed_hosts import AllowedHosts


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


def test_further_names_are_a_setting(start_server: StartServer) -> None:
    server = start_server(is_ready=False, ISM_ALLOWED_HOSTS="robot.example, *.lab.example")
    with server.client() as client:
        found = {
            host: client.get("/api/v1/status", headers={"host": host}).status_code
            for host in ("robot.example", "ROBOT.example:80", "a.lab.example", "lab.example", "evil.example")
        }
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


def test_keys_cannot_be_guessed_for_long(start_server: StartServer) -> None:
    server = start_server(is_ready=False, ISM_API_KEY="right")
    with server.client() as client:
        guesses = [client.get("/api/v1/status", headers={"X-API-Key": str(number)}) for number in range(40)]
        while_limited = client.get("/api/v1/status", headers={"X-API-Key": "right"})
    statuses = [answer.status_code for answer in guesses]
    assert statuses[0] == 401
    assert statuses[-1] == while_limited.status_code == 429
    assert int(guesses[-1].headers["retry-after"]) > 0


def test_somebody_else_at_an_address_cannot_lock_out_who_has_shown_the_key(start_server: StartServer) -> None:
    server = start_server(is_ready=False, ISM_API_KEY="right")
    with server.client() as client:
        key = {"Authorization": "bearer right"}
        assert client.get("/api/v1/status", headers=key).status_code == 200
        guesses = [client.get("/api/v1/status", headers={"X-API-Key": "wrong"}).status_code for _ in range(40)]
        assert client.get("/api/v1/status", headers=key).status_code == 200
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


def test_each_frame_of_a_batch_counts(start_server: StartServer, sample: dict[str, Any]) -> None:
    server = start_server(ISM_RATE_LIMIT="5")
    with server.client() as client:
        path = "/api/v1/inference/batch"
        too_many = client.post(path, json=[{**sample, "rgb_image": "x"}] * 6)
        answers = [client.post(path, json=[{**sample, "rgb_image": "x"}] * 4) for _ in range(2)]
    assert too_many.status_code == 429
    assert "6 is more than 5" in too_many.json()["error_message"]
    assert [answer.status_code for answer in answers] == [207, 429]
