"""Bodies, methods and ids of requests that are refused, and those that are not."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from http_helpers import cad_of_sample, finished, ids, stream_message, upload
from server_process import Server
from websockets.sync.client import connect

JSON = {"content-type": "application/json"}


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
        stream.send(stream_message(sample))
        assert json.loads(stream.recv(timeout=60))["success"]
    assert refused["success"] is False


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
