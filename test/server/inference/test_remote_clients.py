"""`ism segment --server` and examples/http_client.py, against a real server and the bundled scene."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from same_detections import assert_same, instances_of_records
from server_process import REPOSITORY, Server, StartServer

from ism_ros.cli.remote import RemoteServer, ServerError
from ism_ros.selftest.sample_files import SCENE

FRAME = ["--rgb", str(SCENE / "rgb.jpg"), "--depth", str(SCENE / "depth.png"), "--camera", str(SCENE / "camera.json")]


def run(*command: object, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ISM_")}
    return subprocess.run(
        [sys.executable, *map(str, command)],
        env={**inherited, "PYTHONPATH": str(REPOSITORY), "COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
        timeout=200,
    )


def segment(*arguments: object, **environment: str) -> str:
    """What it said; it must have succeeded."""
    ended = run("-m", "ism_ros.cli.main", "segment", *FRAME, *arguments, **environment)
    assert ended.returncode == 0, ended.stderr
    return ended.stderr


def refused(*arguments: object, **environment: str) -> str:
    """The one line that says why."""
    ended = run("-m", "ism_ros.cli.main", "segment", *FRAME, "--output", os.devnull, *arguments, **environment)
    assert ended.returncode == 2, ended.stderr
    (line,) = ended.stderr.strip().splitlines()
    return line


def records(folder: Path) -> list[dict[str, Any]]:
    return [{**one, "time": None} for one in json.loads((folder / "detection_ism.json").read_text())]


def rows(said: str) -> list[str]:
    """The lines of the table."""
    return re.findall(r"^\s*\S+(?:\s+\d\.\d{3}){5} .*$", said, re.MULTILINE)


def test_files_and_table_are_those_of_the_models_here(server: Server, cache: Path, tmp_path: Path) -> None:
    shutil.copy(SCENE / "carton.glb", server.data / "box.glb")
    shutil.copy(SCENE / "carton.glb", tmp_path / "box.glb")
    here, there = tmp_path / "here", tmp_path / "there"
    said_here = segment("--cad", tmp_path / "box.glb", "--output", here, ISM_CACHE_DIR=str(cache))
    said_there = segment("--cad", "box.glb", "--output", there, "--server", server.url)
    assert rows(said_there) == rows(said_here) != []
    assert records(there) == records(here)
    assert all("+ " in row for row in rows(said_there))
    assert all(one["evidence"] for one in records(there))
    np.testing.assert_array_equal(cv2.imread(str(there / "vis_ism.png")), cv2.imread(str(here / "vis_ism.png")))
    with np.load(there / "detection_ism.npz") as found, np.load(here / "detection_ism.npz") as expected:
        assert found.files == expected.files
        for name in set(found.files) - {"time"}:
            assert found[name].dtype == expected[name].dtype, name
            np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


@pytest.mark.slow
def test_objects_are_chosen_by_their_ids(server: Server, cache: Path, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    objects = SCENE / "objects.yaml"
    segment("--objects", objects, "--object", "banana", "--output", here, ISM_CACHE_DIR=str(cache))
    said = segment("--object", "sample:banana", "--output", there, "--server", server.url)
    assert {row.split()[0] for row in rows(said)} == {"sample:banana"}
    assert_same(
        instances_of_records(records(there), bop_boxes=False), instances_of_records(records(here), bop_boxes=False)
    )


def test_the_sample_scene_is_the_same_with_both_objects(server: Server, cache: Path, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    segment("--objects", SCENE / "objects.yaml", "--output", here, ISM_CACHE_DIR=str(cache))
    segment("--object", "sample:carton", "--object", "sample:banana", "--output", there, "--server", server.url)
    assert records(there) == records(here)
    assert {one["category_id"] for one in records(there)} == {1, 2}


def test_nothing_found_is_a_good_answer(server: Server, tmp_path: Path) -> None:
    out = tmp_path / "out"
    said = segment("--object", "sample:carton", "--score-threshold", 1, "--output", out, "--server", server.url)
    assert re.search(r"0 detections: the best guess is sample:carton at 0\.\d+", " ".join(said.split()))
    assert records(out) == []
    with np.load(out / "detection_ism.npz") as content:
        assert content["segmentation"].shape == (0, *cv2.imread(str(SCENE / "rgb.jpg")).shape[:2])


@pytest.mark.slow
def test_a_server_that_still_loads_is_waited_for(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server(is_ready=False)
    segment("--object", "sample:carton", "--output", tmp_path / "out", "--server", server.url)
    assert records(tmp_path / "out")


class Busy(BaseHTTPRequestHandler):
    """Has always just one more request to answer first."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(429)
        self.send_header("Retry-After", "3")
        self.end_headers()
        self.wfile.write(b'{"error_message": "16 requests wait already"}')

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def busy() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Busy) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()


def test_patience_has_an_end(busy: str) -> None:
    with pytest.raises(ServerError, match=r"429: 16 requests wait already; waited 2 s: try again later"):
        RemoteServer(busy, max_wait_s=2).segment(SCENE / "rgb.jpg", None, SCENE / "camera.json", {})


@pytest.mark.slow
def test_models_that_cannot_be_loaded_are_not_waited_for(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server(is_ready=False, ISM_MODEL_TYPE="sam", ISM_CHECKPOINTS_DIR=str(tmp_path))
    line = refused("--object", "sample:carton", "--server", server.url)
    assert "503" in line
    assert "sam_vit_h" in line


@pytest.mark.slow
def test_the_key_comes_by_option_or_environment(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server(is_ready=False, ISM_API_KEY="let me in")
    asked = ("--object", "sample:carton", "--server", server.url)
    assert "--api-key" in refused(*asked)
    assert "401" in refused(*asked, "--api-key", "wrong")
    segment(*asked, "--output", tmp_path / "first", "--api-key", "let me in")
    segment(*asked, "--output", tmp_path / "second", ISM_API_KEY="let me in")
    assert records(tmp_path / "first") == records(tmp_path / "second")


def test_what_the_server_refuses_is_told_in_its_words(server: Server) -> None:
    assert "mugs.ply does not exist" in refused("--cad", "mugs.ply", "--server", server.url)
    assert "object 'teapot' is not known" in refused("--object", "teapot", "--server", server.url)
    assert "outside" in refused("--cad", "/etc/passwd", "--server", server.url)


def test_an_address_without_a_server_is_told_with_what_to_do() -> None:
    assert "ism serve" in refused("--cad", "mug.ply", "--server", "http://127.0.0.1:1")
    assert "http://" in refused("--cad", "mug.ply", "--server", "localhost:8002")


def test_what_is_up_to_the_server_is_not_asked_of_it() -> None:
    address = ("--server", "http://127.0.0.1:1")
    assert "--descriptor-model is up to the server" in refused("--descriptor-model", "vitl14", *address)
    assert "--object ID" in refused("--cad", "mug.ply", "--cad", "cup.ply", *address)


def test_the_example_shows_and_saves_what_is_in_the_sample(server: Server, tmp_path: Path) -> None:
    example = REPOSITORY / "examples" / "http_client.py"
    ended = run(example, "--server", f"{server.url}/", "--sample", "--output", tmp_path)
    assert ended.returncode == 0, ended.stderr
    answer = json.loads((tmp_path / "answer.json").read_text())
    assert [line.split()[0] for line in ended.stdout.splitlines()[1:-2]] == [
        found["class_id"] for found in answer["detections"]
    ]
    assert cv2.imread(str(tmp_path / "overlay.png")).shape == cv2.imread(str(SCENE / "rgb.jpg")).shape


def test_the_example_sends_files(server: Server) -> None:
    shutil.copy(SCENE / "carton.glb", server.data / "carton.glb")
    example = REPOSITORY / "examples" / "http_client.py"
    ended = run(example, "--server", server.url, *FRAME, "--cad", "carton.glb")
    assert ended.stdout.splitlines()[1].startswith("carton "), ended.stderr


def test_the_example_says_in_one_line_what_is_wrong(server: Server) -> None:
    example = REPOSITORY / "examples" / "http_client.py"
    for arguments, words in (
        (("--server", "http://127.0.0.1:1", "--sample"), "ism serve"),
        (("--server", server.url, *FRAME, "--object", "teapot"), "not known"),
    ):
        ended = run(example, *arguments)
        assert ended.returncode == 1
        assert words in ended.stderr
        assert len(ended.stderr.splitlines()) == 1
