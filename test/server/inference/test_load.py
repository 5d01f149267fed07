"""64 clients at once, for a minute; `make soak` runs it."""

from __future__ import annotations

import contextlib
import os
import signal
import statistics
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from http_helpers import cad_of_sample, finished, send_until, upload
from server_process import Server, StartServer, start, stop

CLIENTS, SECONDS, WARM_S = 64, 60.0, 15.0


def memory_mb(server: Server) -> float:
    """Of the server and all processes below it, the one with the models included; pages that they share count once."""
    front = psutil.Process(server.process.pid)
    return sum(one.memory_full_info().pss for one in (front, *front.children(recursive=True))) / 1e6


@pytest.mark.soak
def test_64_clients_see_nothing_worse_than_429_and_memory_stays(
    start_server: StartServer, sample: dict[str, Any]
) -> None:
    server = start_server()
    with ThreadPoolExecutor(CLIENTS) as pool:
        ask = {**sample, "visualization": False}
        deadline_s = time.monotonic() + SECONDS
        asking = [pool.submit(send_until, server.url, ask, deadline_s) for _ in range(CLIENTS)]
        threading.Event().wait(WARM_S)
        warm_mb = memory_mb(server)
        answers = [answer for one in asking for answer in one.result()]
    at_end_mb = memory_mb(server)
    statuses = Counter(status for status, _ in answers)
    seconds = [seconds for status, seconds in answers if status == 200]
    print(
        f"\n{dict(statuses)}; 200 after {statistics.median(seconds):.2f} s (95 %: "
        f"{statistics.quantiles(seconds, n=20)[-1]:.2f} s); memory {warm_mb:.0f} MB after {WARM_S:.0f} s, "
        f"{at_end_mb:.0f} MB after {SECONDS:.0f} s"
    )
    assert set(statuses) <= {200, 429}
    assert statuses[200] > 0
    assert at_end_mb < 1.1 * warm_mb


def descendant(server: Server, words: str) -> psutil.Process:
    """The first process below the server's that has `words` in its command."""
    while True:
        for child in psutil.Process(server.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if words in " ".join(child.cmdline()):
                    return child
        assert server.process.poll() is None


@pytest.mark.slow
def test_a_killed_worker_costs_no_accepted_request(start_server: StartServer, sample: dict[str, Any]) -> None:
    server = start_server(ISM_BATCH_SIZE="2")
    with server.client() as client, ThreadPoolExecutor(8) as pool:
        client.post("/api/v1/inference", json=sample)
        asked = [pool.submit(client.post, "/api/v1/inference", json=sample) for _ in range(8)]
        while client.get("/api/v1/status").json()["queue_depth"] == 0:
            pass
        os.kill(descendant(server, "spawn_main").pid, signal.SIGKILL)
        answers = [one.result() for one in asked]
    said = stop(server)
    assert {answer.status_code for answer in answers} <= {200, 503}  # 503: came while there was no worker
    assert sum(answer.status_code == 200 for answer in answers) >= 3
    assert "has died and is started again" in said


@pytest.mark.soak
def test_a_worker_that_dies_of_another_servers_object_does_not_end_the_following(tmp_path: Path, cache: Path) -> None:
    state = str(tmp_path / "state")
    first = start(tmp_path / "first", cache, ISM_STATE_DIR=state)
    second = start(tmp_path / "second", tmp_path / "own_cache", ISM_STATE_DIR=state)
    first.wait_until_ready()
    second.wait_until_ready()
    with first.client() as client, second.client() as second_client:
        assert finished(client, upload(client, "thing", cad_of_sample(0))["id"])["state"] == "done"
        descendant(second, "template_process")
        os.kill(descendant(second, "spawn_main").pid, signal.SIGKILL)
        while "thing" not in second_client.get("/api/v1/status").json()["objects"]:
            assert second.process.poll() is None
        assert finished(client, upload(client, "another", cad_of_sample(1))["id"])["state"] == "done"
        while "another" not in second_client.get("/api/v1/status").json()["objects"]:
            assert second.process.poll() is None
    stop(first)
    stop(second)


@pytest.mark.slow
def test_a_killed_renderer_costs_its_job_and_nothing_else(tmp_path: Path, sample: dict[str, Any]) -> None:
    server = start(tmp_path / "data", tmp_path / "own_cache")
    server.wait_until_ready()
    with server.client() as client:
        job = upload(client, "thing", cad_of_sample(1))
        os.kill(descendant(server, "template_process").pid, signal.SIGKILL)
        ended = finished(client, job["id"])
        again = finished(client, upload(client, "thing", cad_of_sample(1))["id"])
        answer = client.post("/api/v1/inference", json={**sample, "object_ids": ["thing"]})
    stop(server)
    assert ended["state"] == "failed"
    assert "killed" in ended["message"]
    assert again["state"] == "done"
    assert answer.status_code == 200
