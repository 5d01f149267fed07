"""64 clients at once, for hundreds of answers; `make soak` runs it."""

from __future__ import annotations

import contextlib
import os
import signal
import statistics
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import psutil
import pytest
from http_helpers import answers_until, cad_of_sample, finished, upload
from server_process import Server, StartServer, start, stop

CLIENTS = 64
WARM_UP, WINDOW = 300, 200
"""Answers until most threads have needed as much memory as they ever will, which they keep, and those of each of two
windows whose memory is compared."""
ANSWERS_PER_SAMPLE = 5


def memory_mb(server: Server) -> float:
    """What the server and all processes below it, the one with the models included, have allocated.

    Without files that are mapped: their pages count the more, the fewer other programs map them.
    """
    front = psutil.Process(server.process.pid)
    taken = [one.memory_info() for one in (front, *front.children(recursive=True))]
    return sum(one.rss - one.shared for one in taken) / 1e6


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_64_clients_see_nothing_worse_than_429_and_memory_stays(
    start_server: StartServer, sample: dict[str, Any]
) -> None:
    server = start_server()
    answers: SimpleQueue[tuple[int, float]] = SimpleQueue()
    statuses: Counter[int] = Counter()
    seconds: list[float] = []
    samples_mb: list[float] = []
    ended = threading.Event()

    def ask() -> None:
        for answer in answers_until(ended.is_set, server.url, {**sample, "visualization": False}):
            answers.put(answer)

    with ThreadPoolExecutor(CLIENTS) as pool:
        asking = [pool.submit(ask) for _ in range(CLIENTS)]
        try:
            while len(seconds) < WARM_UP + 2 * WINDOW and set(statuses) <= {200, 429}:
                status, took_s = answers.get(timeout=120)
                statuses[status] += 1
                if status == 200:
                    seconds.append(took_s)
                    if len(seconds) % ANSWERS_PER_SAMPLE == 0:
                        samples_mb.append(memory_mb(server))
        finally:
            ended.set()
        for one in asking:
            one.result()
    assert set(statuses) <= {200, 429}
    after, length = WARM_UP // ANSWERS_PER_SAMPLE, WINDOW // ANSWERS_PER_SAMPLE
    early_mb, late_mb = max(samples_mb[after : after + length]), max(samples_mb[after + length :])
    print(
        f"\n{dict(statuses)}; 200 after {statistics.median(seconds):.2f} s (95 %: "
        f"{statistics.quantiles(seconds, n=20)[-1]:.2f} s); memory {samples_mb[0]:.0f} MB at first, at most "
        f"{early_mb:.0f} in {WINDOW} answers after {WARM_UP}, {late_mb:.0f} in the next {WINDOW}"
    )
    assert late_mb < 1.08 * early_mb  # half a megabyte an answer would be more


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
