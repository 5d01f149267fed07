"""What HTTP adds to the engine's own time, and how much the server answers when many ask at once.

    python benchmarks/bench_server.py
    python benchmarks/bench_server.py --requests 200 --clients 16

Starts `ism serve` in a process of its own, with the embedded default, and sends the bundled scene (640 x 480, colour as
JPEG, depth as 16-bit PNG, base64 in JSON). Overhead is the time from sending to having the answer, less inference_time.

The engine alone is the same frame and objects in a loop, without a server, in a process of its own before it starts.

Checked: the overhead's median below 15 ms, and with many clients at least as many frames a second as the engine alone
(exit status 1).
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

from ism_ros.threads import use_patient_threads

use_patient_threads()

import httpx
import psutil
from rich.console import Console
from rich.table import Table

from ism_ros.config import Settings
from ism_ros.frame_files import read_frame
from ism_ros.ism import load_model
from ism_ros.known_answer import SCENE

LIMIT_MS = 15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=40)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--engine-alone", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.engine_alone:
        print(_engine_alone(options.requests))
        return
    loop = [sys.executable, __file__, "--engine-alone", "--requests", str(options.requests)]
    engine_hz = float(subprocess.run(loop, check=True, capture_output=True, text=True).stdout)
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
    together_hz = rows[f"{options.clients} clients"]["frames a second"]
    print(f"overhead of one request: {overhead_ms:.1f} ms, limit {LIMIT_MS} ms")
    print(f"frames a second: engine alone {engine_hz:.2f}, {options.clients} clients {together_hz:.2f}", end=" ")
    print(f"({together_hz / engine_hz:.2f} times as many)")
    sys.exit(0 if overhead_ms < LIMIT_MS and together_hz >= engine_hz else 1)


def _engine_alone(count: int) -> float:
    """Frames a second of the bundled scene."""
    frame = read_frame(SCENE / "rgb.jpg", SCENE / "depth.png", SCENE / "camera.json")
    model = load_model(Settings(objects_file=str(SCENE / "objects.yaml")))
    model.segment(frame)
    began = time.perf_counter()
    for _ in range(count):
        model.segment(frame)
    return count / (time.perf_counter() - began)


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
