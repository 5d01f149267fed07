"""WS /api/v1/stream and POST /api/v1/inference/batch against a real server."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from http_helpers import stream_message
from server_process import REPOSITORY, Server
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from ism_ros.selftest.sample_files import SCENE


def test_of_frames_that_come_faster_than_the_model_the_newest_is_answered(
    server: Server, sample: dict[str, Any]
) -> None:
    with connect(server.url.replace("http", "ws") + "/api/v1/stream", max_size=None) as socket:
        for _ in range(6):
            socket.send(stream_message(sample))
        answers = []
        while not answers or answers[-1]["frame"] < 5:
            answers.append(json.loads(socket.recv(timeout=60)))
    assert all(answer["success"] for answer in answers)
    assert len(answers) < 6
    assert len(answers) + sum(answer["dropped"] for answer in answers) == 6


def test_a_bad_frame_is_told_of_and_the_stream_goes_on(server: Server, sample: dict[str, Any]) -> None:
    with connect(server.url.replace("http", "ws") + "/api/v1/stream", max_size=None) as socket:
        for bad, word in (
            (b"xx", "4 bytes"),
            (stream_message(sample)[:-1], "header says"),
            (stream_message(sample, cam_params=1), "cam"),
            (stream_message(sample, rgb_bytes=float("inf")), "rgb_bytes"),
            ((100_000).to_bytes(4, "little") + b"[" * 100_000, "rgb_bytes"),
        ):
            socket.send(bad)
            answer = json.loads(socket.recv(timeout=60))
            assert not answer["success"]
            assert word in answer["error_message"]
        socket.send(stream_message(sample))
        assert json.loads(socket.recv(timeout=60))["success"]


def test_the_lines_in_the_docs_work(server: Server, tmp_path: Path) -> None:
    for name, own in {"rgb.jpg": "rgb.png", "depth.png": "depth.png", "camera.json": "camera.json"}.items():
        shutil.copy(SCENE / name, tmp_path / own)
    shutil.copy(SCENE / "carton.glb", server.data / "of_docs.glb")
    (lines,) = re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs" / "server.md").read_text("utf-8"), re.DOTALL)
    program = lines.replace("localhost:8002", server.url.removeprefix("http://")).replace("mug.ply", "of_docs.glb")
    ended = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert "'class_id': 'of_docs'" in ended.stdout, ended.stderr


def test_a_text_message_is_told_what_frames_are(server: Server) -> None:
    with connect(server.url.replace("http", "ws") + "/api/v1/stream") as socket:
        socket.send("{}")
        with pytest.raises(ConnectionClosed, match="binary messages"):
            socket.recv(timeout=60)


def test_a_frame_may_be_as_large_as_an_upload(server: Server, sample: dict[str, Any]) -> None:
    with connect(server.url.replace("http", "ws") + "/api/v1/stream", max_size=None) as socket:
        socket.send(stream_message(sample) + bytes(30 << 20))
        assert "header says" in json.loads(socket.recv(timeout=60))["error_message"]
        socket.send(bytes(65 << 20))
        with pytest.raises(ConnectionClosed, match="1009"):
            socket.recv(timeout=60)


def test_a_batch_answers_each_frame_in_order(server: Server, sample: dict[str, Any]) -> None:
    small = {**sample, "visualization": False}
    with server.client() as client:
        good = client.post("/api/v1/inference/batch", json=[small, small])
        mixed = client.post("/api/v1/inference/batch", json=[small, {**small, "rgb_image": "!"}])
    assert good.status_code == 200
    assert [answer["success"] for answer in good.json()] == [True, True]
    assert mixed.status_code == 207
    assert [answer["success"] for answer in mixed.json()] == [True, False]
