"""Requests that several tests send, and what they read out of responses."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

from ism_ros.objects.spec import read_objects_file
from ism_ros.selftest.self_test import SCENE

PYRAMID = (
    "v 0 0 0\nv .1 0 0\nv .1 .1 0\nv 0 .1 0\nv .05 .05 .1\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\nusemtl a\n"
    "f 3/3 2/2 1/1\nf 4/4 3/3 1/1\nf 1/1 2/2 5/3\nf 2/1 3/2 5/3\nf 3/1 4/2 5/3\nf 4/1 1/2 5/3\n"
)


def stream_message(sample: dict[str, Any], **changes: Any) -> bytes:
    rgb, depth = (base64.b64decode(sample[name]) for name in ("rgb_image", "depth_image"))
    fields = {
        "cam_params": sample["cam_params"],
        "object_ids": sample["object_ids"],
        "rgb_bytes": len(rgb),
        "depth_bytes": len(depth),
        **changes,
    }
    header = json.dumps(fields).encode()
    return len(header).to_bytes(4, "little") + header + rgb + depth


def metrics_of(text: str) -> dict[str, float]:
    """What /metrics says, by name and labels."""
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {name: float(number) for name, _, number in lines}


def answers_until(is_over: Callable[[], bool], url: str, sample: dict[str, Any]) -> Iterator[tuple[int, float]]:
    """Status and seconds of one answer after the other; one who is told to wait does so."""
    with httpx.Client(base_url=url, timeout=120) as client:
        while not is_over():
            began_s = time.monotonic()
            answer = client.post("/api/v1/inference", json=sample)
            yield answer.status_code, time.monotonic() - began_s
            if answer.status_code == 429:
                threading.Event().wait(float(answer.headers["retry-after"]))


def send_until(url: str, sample: dict[str, Any], deadline_s: float) -> list[tuple[int, float]]:
    """Status and seconds of each answer until then (time.monotonic)."""
    return list(answers_until(lambda: time.monotonic() >= deadline_s, url, sample))


def cad_of_sample(number: int) -> Path:
    spec = read_objects_file(SCENE / "objects.yaml")[number]
    assert spec.cad is not None
    return spec.cad


def upload(client: httpx.Client, object_id: str, cad: Path, **fields: Any) -> dict[str, Any]:
    with cad.open("rb") as file:
        answer = client.post(
            "/api/v1/objects", data={"id": object_id, "units": "m", **fields}, files={"cad": (cad.name, file)}
        )
    assert answer.status_code == 202, answer.text
    return answer.json()


def events(client: httpx.Client, job_id: str) -> Iterator[dict[str, Any]]:
    with client.stream("GET", f"/api/v1/jobs/{job_id}", headers={"Accept": "text/event-stream"}) as answer:
        for line in answer.iter_lines():
            if line.startswith("data: "):
                yield json.loads(line.removeprefix("data: "))


def finished(client: httpx.Client, job_id: str) -> dict[str, Any]:
    return list(events(client, job_id))[-1]


def ids(client: httpx.Client) -> list[str]:
    return [entry["id"] for entry in client.get("/api/v1/objects").json()["objects"]]
