"""What the server says of itself, when it starts, is busy, and ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from http_helpers import answers_until, metrics_of, stream_message
from server_process import REPOSITORY, Server, StartServer, start, stop
from websockets.sync.client import connect

from ism_ros.objects.spec import read_objects_file
from ism_ros.selftest.sample_files import SCENE


def test_health_and_status_name_what_runs(server: Server) -> None:
    with server.client() as client:
        assert client.get("/health").json()["status"] == "healthy"
        status = client.get("/api/v1/status").json()
    assert (status["state"], status["segmentor"], status["descriptor"]) == ("ready", "tiny", "tiny")


def test_while_models_load_requests_are_told_when_to_come_back(
    start_server: StartServer, sample: dict[str, Any]
) -> None:
    server = start_server(is_ready=False)
    with server.client() as client:
        healthy, ready = client.get("/health"), client.get("/ready")
        answer = client.post("/api/v1/inference", json=sample)
    assert (healthy.status_code, ready.status_code, answer.status_code) == (200, 503, 503)
    assert int(ready.headers["retry-after"]) == int(answer.headers["retry-after"]) > 0
    assert "being loaded" in answer.json()["error_message"]


def test_metrics_count_answers_stages_caches_queue_and_memory(server: Server, sample: dict[str, Any]) -> None:
    with server.client() as client:
        client.post("/api/v1/inference", json=sample)
        before = metrics_of(client.get("/metrics").text)
        client.post("/api/v1/inference", json=sample)
        client.post("/api/v1/inference", json={})
        after = metrics_of(client.get("/metrics").text)
    path = 'path="/api/v1/inference"'
    for name, more in (
        (f'ism_requests_total{{{path},status="200"}}', 1),
        (f"ism_request_seconds_count{{{path}}}", 2),
        ('ism_stage_seconds_count{stage="proposals"}', 1),
        ("ism_detections_total", 2),
        ('ism_object_cache{what="hits"}', 2),
        ('ism_object_cache{what="misses"}', 0),
    ):
        assert after[name] - before[name] == more, name
    assert f'ism_requests_total{{{path},status="422"}}' in after
    assert after["ism_queue_depth"] == 0
    assert "ism_device_memory_bytes" in after


def test_objects_beyond_the_budget_are_forgotten(start_server: StartServer, sample: dict[str, Any]) -> None:
    server = start_server(ISM_MAX_CACHE_SIZE="1B")
    with server.client() as client:
        answers = [client.post("/api/v1/inference", json=sample).json() for _ in range(2)]
        numbers = metrics_of(client.get("/metrics").text)
    assert [len(answer["detections"]) for answer in answers] == [2, 2]
    assert numbers['ism_object_cache{what="objects"}'] == 1
    assert numbers['ism_object_cache{what="misses"}'] == 4


def test_it_listens_on_this_machine_alone(server: Server) -> None:
    front = psutil.Process(server.process.pid)
    listening = [
        socket.laddr
        for process in (front, *front.children(recursive=True))
        for socket in process.net_connections(kind="inet")
        if socket.status == psutil.CONN_LISTEN
    ]
    assert {address.ip for address in listening} == {"127.0.0.1"}


def test_a_path_that_is_not_there_is_answered_in_the_same_shape(server: Server) -> None:
    with server.client() as client:
        answer = client.get("/api/v1/inferences")
    assert answer.status_code == 404
    assert answer.json()["success"] is False


@pytest.mark.slow
def test_more_requests_than_may_wait_are_told_when_to_come_back(
    start_server: StartServer, sample: dict[str, Any]
) -> None:
    server = start_server(ISM_MAX_WAITING="1")
    with server.client() as client, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: client.post("/api/v1/inference", json=sample), range(8)))
    statuses = {answer.status_code for answer in answers}
    assert statuses == {200, 429}
    assert all(int(answer.headers["retry-after"]) > 0 for answer in answers if answer.status_code == 429)


def test_with_a_key_only_probes_are_answered_without_it(start_server: StartServer) -> None:
    key = "let me in, für alle"
    server = start_server(is_ready=False, ISM_API_KEY=key)
    with server.client() as client:
        assert client.get("/health").status_code == 200
        assert client.get("/api/v1/status").status_code == 401
        assert client.get("/api/v1/status", headers={"X-API-Key": "wrong"}).status_code == 401
        assert client.get("/api/v1/status", headers={"Host": "localhost/health?"}).status_code == 401
        assert client.get("/api/v1/status", headers={"X-API-Key": key.encode()}).status_code == 200
        assert client.get("/api/v1/status", headers={"Authorization": f"Bearer {key}".encode()}).status_code == 200


def test_models_that_cannot_be_loaded_are_told_of(
    start_server: StartServer, tmp_path: Path, sample: dict[str, Any]
) -> None:
    server = start_server(is_ready=False, ISM_MODEL_TYPE="sam", ISM_CHECKPOINTS_DIR=str(tmp_path))
    with server.client() as client:
        while client.get("/api/v1/status").json()["state"] == "loading":
            pass
        answer = client.post("/api/v1/inference", json=sample)
        assert client.get("/health").status_code == 200
    said = stop(server)
    assert answer.status_code == 503
    assert "sam_vit_h" in answer.json()["error_message"]
    assert "Traceback" not in said


@pytest.mark.slow
def test_what_was_accepted_is_answered_before_the_server_ends(
    start_server: StartServer, sample: dict[str, Any]
) -> None:
    server = start_server(ISM_BATCH_SIZE="1")
    with server.client() as client, ThreadPoolExecutor(4) as pool:
        client.post("/api/v1/inference", json=sample)
        asked = [pool.submit(client.post, "/api/v1/inference", json=sample) for _ in range(4)]
        while client.get("/api/v1/status").json()["queue_depth"] == 0:
            pass
        said = stop(server)
        assert [future.result().status_code for future in asked] == [200] * 4
    assert "Traceback" not in said


def test_a_setting_that_cannot_be_used_is_one_line(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(AssertionError) as said:
        start(tmp_path / "data", cache, ISM_MAX_CACHE_SIZE="much")
    assert "ISM_MAX_CACHE_SIZE" in str(said.value)
    assert len(str(said.value).strip().splitlines()) == 1


def test_what_is_not_installed_is_named_in_one_line() -> None:
    program = (
        "import sys; sys.modules['fastapi_offline'] = None; sys.argv = ['ism', 'serve', '--port', '0'];"
        "from ism_ros.cli.main import main; main()"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "COLUMNS": "200"}
    ended = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    (line,) = ended.stderr.strip().splitlines()
    assert "fastapi_offline" in line
    assert "pip install 'ism_ros[server]'" in line


def test_an_identical_request_is_answered_from_the_result_cache(
    start_server: StartServer, sample: dict[str, Any]
) -> None:
    server = start_server(ISM_RESULT_CACHE="10MB")
    with server.client() as client:
        first, again, other = (
            client.post("/api/v1/inference", json={**sample, **change}).json()
            for change in ({}, {}, {"score_threshold": 0.9})
        )
        text = client.get("/metrics").text
    assert again == first
    assert other["stage_times"] != first["stage_times"]
    assert 'ism_object_cache{what="result_hits"} 1.0' in text


def test_a_client_beyond_its_rate_is_told_when_to_come_back(start_server: StartServer, sample: dict[str, Any]) -> None:
    server = start_server(is_ready=False, ISM_RATE_LIMIT="3")
    with server.client() as client:
        answers = [client.get("/api/v1/status") for _ in range(4)]
        assert client.get("/health").status_code == 200
        with connect(server.url.replace("http", "ws") + "/api/v1/stream") as socket:
            socket.send(stream_message(sample))
            told = json.loads(socket.recv(timeout=60))
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert 0 < int(answers[-1].headers["retry-after"]) <= 20
    assert "more than 3 requests a minute" in told["error_message"]


def test_a_request_that_takes_too_long_is_told_so(start_server: StartServer, sample: dict[str, Any]) -> None:
    server = start_server(ISM_TIMEOUT_S="0.01")
    with server.client() as client:
        answer = client.post("/api/v1/inference", json=sample)
    assert answer.status_code == 504
    assert "0.01 s" in answer.json()["error_message"]


def test_requests_of_clients_that_hung_up_leave_the_queue(start_server: StartServer, sample: dict[str, Any]) -> None:
    server = start_server(ISM_BATCH_SIZE="1")

    def hang_up(number: int) -> None:
        asked = {**sample, "output_dir": f"asked_{number}"}
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{server.url}/api/v1/inference", json=asked, timeout=httpx.Timeout(120, read=0.05))

    with server.client() as client, ThreadPoolExecutor(8) as pool:
        list(pool.map(hang_up, range(8)))
        assert client.post("/api/v1/inference", json=sample).status_code == 200
        text = client.get("/metrics").text
        depth = client.get("/api/v1/status").json()["queue_depth"]
    assert depth == 0
    assert 'ism_requests_total{path="/api/v1/inference",status="499"} 8.0' in text
    assert len(list(server.data.glob("asked_*"))) < 4  # the one that was at hand, and few that came while it was


def test_a_batch_whose_client_hung_up_is_given_up(server: Server, sample: dict[str, Any]) -> None:
    frames = [{**sample, "output_dir": f"of_batch_{number}"} for number in range(16)]
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{server.url}/api/v1/inference/batch", json=frames, timeout=httpx.Timeout(120, read=0.05))
    with server.client() as client:
        while 'path="/api/v1/inference/batch",status="499"' not in client.get("/metrics").text:
            assert client.get("/health").status_code == 200
    assert len(list(server.data.glob("of_batch_*"))) < 4


@pytest.mark.slow
def test_templates_are_loaded_at_start_where_that_is_asked_for(tmp_path: Path, cache: Path) -> None:
    mug = read_objects_file(SCENE / "objects.yaml")[0].cad
    assert mug is not None
    wanted = {"ISM_CAD_MODEL_PATH": mug.name, "ISM_PRELOAD_TEMPLATES": "true"}
    server = start(mug.parent, cache, ISM_STATE_DIR=str(tmp_path), **wanted)
    server.wait_until_ready()
    with server.client() as client:
        loaded = client.get("/api/v1/status").json()["templates_loaded"]
    stop(server)
    assert loaded == 42


@pytest.mark.slow
def test_several_devices_share_the_requests(start_server: StartServer, sample: dict[str, Any]) -> None:
    server = start_server(ISM_DEVICES="cpu:0,cpu:1", ISM_BATCH_SIZE="2")
    with server.client() as client, ThreadPoolExecutor(8) as pool:

        def have_loaded() -> bool:
            return bool(client.get("/api/v1/status").json()["device"] == "cpu,cpu")  # as tensors there call it

        for _ in answers_until(have_loaded, server.url, sample):
            pass
        before_s = processor_seconds(server)
        answers = list(pool.map(lambda _: client.post("/api/v1/inference", json=sample).json(), range(8)))
    found = [{one["class_id"]: one["score"] for one in answer["detections"]} for answer in answers]
    assert len(found[0]) == 2
    assert all(one == pytest.approx(found[0], abs=1e-4) for one in found)
    spent_s = {pid: after_s - before_s.get(pid, 0.0) for pid, after_s in processor_seconds(server).items()}
    working = [spent for spent in spent_s.values() if spent > 0.1 * max(spent_s.values())]
    assert len(working) == 2, spent_s


def processor_seconds(server: Server) -> dict[int, float]:
    """Processor time so far of the processes that the server has started, by their numbers."""
    children = psutil.Process(server.process.pid).children(recursive=True)
    return {child.pid: sum(child.cpu_times()[:2]) for child in children}
