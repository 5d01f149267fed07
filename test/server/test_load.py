"""64 clients at once, for a minute; `make soak` runs it."""

from __future__ import annotations

import os
import signal
import statistics
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from server_process import start, stop
from test_objects import cad_of_sample, finished, upload

CLIENTS, SECONDS, WARM_S = 64, 60.0, 15.0


def ask_until(url: str, sample: dict[str, Any], deadline_s: float) -> list[tuple[int, float]]:
    """Status and seconds of each answer; one who is told to wait does so."""
    answers = []
    with httpx.Client(base_url=url, timeout=120) as client:
        while time.monotonic() < deadline_s:
            began_s = time.monotonic()
            answer = client.post("/api/v1/inference", json=sample)
            answers.append((answer.status_code, time.monotonic() - began_s))
            if answer.status_code == 429:
                threading.Event().wait(float(answer.headers["retry-after"]))
    return answers


@pytest.mark.soak
def test_64_clients_see_nothing_worse_than_429_and_memory_stays(
    tmp_path: Path, cache: Path, sample: dict[str, Any]
) -> None:
    server = start(tmp_path / "data", cache)
    server.wait_until_ready()
    memory = psutil.Process(server.process.pid).memory_info
    with ThreadPoolExecutor(CLIENTS) as pool:
        ask = {**sample, "visualization": False}
        deadline_s = time.monotonic() + SECONDS
        asking = [pool.submit(ask_until, server.url, ask, deadline_s) for _ in range(CLIENTS)]
        threading.Event().wait(WARM_S)
        warm_mb = memory().rss / 1e6
        answers = [answer for one in asking for answer in one.result()]
    at_end_mb = memory().rss / 1e6
    stop(server)
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


def test_a_killed_renderer_costs_its_job_and_nothing_else(tmp_path: Path, sample: dict[str, Any]) -> None:
    server = start(tmp_path / "data", tmp_path / "own_cache")
    server.wait_until_ready()
    with server.client() as client:
        job = upload(client, "thing", cad_of_sample(1))
        renderer: list[psutil.Process] = []
        while not renderer:
            renderer = [
                child
                for child in psutil.Process(server.process.pid).children()
                if "preparation_process" in " ".join(child.cmdline())
            ]
        os.kill(renderer[0].pid, signal.SIGKILL)
        ended = finished(client, job["id"])
        again = finished(client, upload(client, "thing", cad_of_sample(1))["id"])
        answer = client.post("/api/v1/inference", json={**sample, "object_ids": ["thing"]})
    stop(server)
    assert ended["state"] == "failed"
    assert "killed" in ended["message"]
    assert again["state"] == "done"
    assert answer.status_code == 200
