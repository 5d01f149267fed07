"""What HTTP adds to the engine's own time, and how much the server answers when many ask at once.

    python benchmarks/bench_server.py
    python benchmarks/bench_server.py --requests 200 --clients 16

Starts `ism serve` in a process of its own, with the embedded default, and sends the bundled scene (640 x 480, colour as
JPEG, depth as 16-bit PNG, base64 in JSON). Overhead is the time from sending to having the answer, less inference_time.

Checked: its median below 15 ms (exit status 1).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
from rich.console import Console
from rich.table import Table

LIMIT_MS = 15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=40)
    parser.add_argument("--clients", type=int, default=16)
    options = parser.parse_args()
    process, url = _start()
    try:
        with httpx.Client(base_url=url, timeout=120) as client:
            sample = client.get("/test/sample").json()
            body = json.dumps({**sample, "visualization": False})
            with_overlay = json.dumps(sample)
            _post(client, body)
            rows = {
                "one client": _alone(client, body, options.requests),
                "one client, overlay sent": _alone(client, with_overlay, options.requests),
                f"{options.clients} clients": _together(client, body, options.requests, options.clients),
            }
    finally:
        process.terminate()
        process.wait()
    table = Table(title=f"milliseconds (load {psutil.getloadavg()[0]:.1f})")
    for name in ("", *next(iter(rows.values()))):
        table.add_column(name, justify="right")
    for name, row in rows.items():
        table.add_row(name, *(f"{value:.1f}" for value in row.values()))
    Console(width=120).print(table)
    Path("out").mkdir(exist_ok=True)
    Path("out/bench_server.json").write_text(json.dumps(rows, indent=2), encoding="utf-8")
    overhead_ms = rows["one client"]["overhead, median"]
    print(f"overhead of one request: {overhead_ms:.1f} ms, limit {LIMIT_MS} ms")
    sys.exit(0 if overhead_ms < LIMIT_MS else 1)


def _start() -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "ism_ros.cli.main", "serve", "--port", "0"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "ISM_MAX_WAITING": "1000"},
    )
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line
        if found := re.search(r"running on (http://\S+)", line):
            url = found[1]
            break
    else:
        raise SystemExit(f"ism serve did not start: {said}")
    while httpx.get(f"{url}/ready").status_code != 200:
        time.sleep(0.2)
    return process, url


def _post(client: httpx.Client, body: str) -> tuple[float, float]:
    """Milliseconds of the whole request, and of the models in it."""
    began = time.perf_counter()
    answer = client.post("/api/v1/inference", content=body, headers={"content-type": "application/json"})
    whole_ms = 1e3 * (time.perf_counter() - began)
    answer.raise_for_status()
    return whole_ms, 1e3 * answer.json()["inference_time"]


def _alone(client: httpx.Client, body: str, count: int) -> dict[str, float]:
    return _summary([_post(client, body) for _ in range(count)], 1)


def _together(client: httpx.Client, body: str, count: int, clients: int) -> dict[str, float]:
    began = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        times = list(pool.map(lambda _: _post(client, body), range(count)))
    return {**_summary(times, clients), "frames a second": count / (time.perf_counter() - began)}


def _summary(times: list[tuple[float, float]], clients: int) -> dict[str, float]:
    whole, models = [time for time, _ in times], [time for _, time in times]
    return {
        "whole, median": statistics.median(whole),
        "whole, 95 %": statistics.quantiles(whole, n=20)[-1],
        "models, median": statistics.median(models),
        "overhead, median": statistics.median(w - m for w, m in times) if clients == 1 else float("nan"),
        "frames a second": 1e3 * len(times) / sum(whole),
    }


if __name__ == "__main__":
    main()
