"""An object that is named for the first time keeps those waiting who ask for it, and nobody else."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import trimesh
from http_helpers import PYRAMID, metrics_of
from server_process import Server, StartServer, start, stop

from ism_ros.objects.spec import ObjectSpec
from ism_ros.server.objects.file_signature import file_signature

PATH = "/api/v1/inference"


@pytest.fixture(scope="module")
def cold(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With caches that nobody else fills."""
    folder = tmp_path_factory.mktemp("cold")
    running = start(folder / "data", folder / "cache", ISM_TIMEOUT_S="600")
    running.wait_until_ready()
    yield running
    stop(running)


def asking(sample: dict[str, Any], cad: str) -> dict[str, Any]:
    return {**sample, "object_ids": None, "cad_path": cad, "cad_units": "m", "visualization": False}


@pytest.mark.slow
def test_others_are_answered_while_an_object_is_onboarded(cold: Server, sample: dict[str, Any]) -> None:
    trimesh.creation.icosphere(subdivisions=6, radius=0.05).export(cold.data / "ball.ply")
    with cold.client() as client, ThreadPoolExecutor(4) as pool:
        assert client.post(PATH, json=sample).status_code == 200
        before = metrics_of(client.get("/metrics").text)
        asked = [pool.submit(client.post, PATH, json=asking(sample, "ball.ply")) for _ in range(3)]
        meanwhile, progress = [], []
        while not any(one.done() for one in asked):
            progress += client.get("/api/v1/status").json()["onboarding"]
            meanwhile.append(client.post(PATH, json=sample).status_code)
        answers = [one.result() for one in asked]
        after = metrics_of(client.get("/metrics").text)
        assert client.get("/api/v1/status").json()["onboarding"] == []
    assert {answer.status_code for answer in answers} == set(meanwhile) == {200}
    assert len(meanwhile) > 2
    assert progress[-1]["id"] == "ball"
    assert 0 < progress[-1]["done"] <= progress[-1]["total"] == 42
    misses = 'ism_object_cache{what="misses"}'
    assert after[misses] - before[misses] == 1


def test_what_is_wrong_with_an_object_is_told_to_all_who_wait_for_it(cold: Server, sample: dict[str, Any]) -> None:
    (cold.data / "broken.ply").write_bytes(b"ply\nformat ascii 1.0\nelement vertex 9\nend_header\n")
    with cold.client() as client, ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: client.post(PATH, json=asking(sample, "broken.ply")), range(4)))
    assert [answer.status_code for answer in answers] == [400] * 4
    assert all("broken.ply" in answer.json()["error_message"] for answer in answers)


@pytest.mark.slow
def test_a_request_that_cannot_wait_any_longer_is_told_what_for(
    start_server: StartServer, sample: dict[str, Any]
) -> None:
    server = start_server(is_ready=False, ISM_TIMEOUT_S="0.5")
    trimesh.creation.icosphere(subdivisions=6, radius=0.06).export(server.data / "ball.ply")
    server.wait_until_ready()
    with server.client() as client:
        answer = client.post(PATH, json=asking(sample, "ball.ply"))
        while client.get("/api/v1/status").json()["onboarding"]:
            assert server.process.poll() is None
        assert client.get("/api/v1/status").json()["queue_depth"] == 0
    assert answer.status_code == 504
    assert "'ball' is still being onboarded" in answer.json()["error_message"]


def textured(folder: Path) -> Path:
    (folder / "textured.obj").write_text(f"mtllib a.mtl\n{PYRAMID}")
    (folder / "a.mtl").write_text("newmtl a\nmap_Kd red.png\n")
    paint(folder / "red.png", (0, 0, 255))
    return folder / "textured.obj"


def paint(file: Path, bgr: tuple[int, int, int]) -> None:
    cv2.imwrite(str(file), np.random.default_rng(0).integers(0, 9, (8, 8, 3), np.uint8) + np.array(bgr, np.uint8))


@pytest.mark.slow
def test_a_texture_that_changes_beside_its_cad_file_is_noticed(cold: Server, sample: dict[str, Any]) -> None:
    cad, counts = textured(cold.data), []
    with cold.client() as client:
        for color in ((0, 0, 200), None, (9, 99, 200)):
            if color is not None:
                paint(cad.with_name("red.png"), color)
            assert client.post(PATH, json=asking(sample, cad.name)).status_code == 200
            counts.append(metrics_of(client.get("/metrics").text)['ism_object_cache{what="misses"}'])
    assert np.diff(counts).tolist() == [0, 1]


def test_what_an_object_is_made_of_includes_all_files_that_it_names(tmp_path: Path) -> None:
    spec = ObjectSpec("thing", textured(tmp_path))
    seen = [file_signature(spec), file_signature(spec)]
    paint(tmp_path / "other.png", (9, 9, 9))  # which nothing names yet
    seen.append(file_signature(spec))
    (tmp_path / "a.mtl").write_text("newmtl a\nmap_Kd other.png \n")
    seen.append(file_signature(spec))
    (tmp_path / "other.png").write_bytes(b"anything else")
    seen.append(file_signature(spec))
    (tmp_path / "other.png").unlink()
    seen.append(file_signature(spec))
    assert [one == other for one, other in pairwise(seen)] == [True, True, False, False, False]


@pytest.mark.slow
def test_frames_of_a_batch_wait_together(cold: Server, sample: dict[str, Any]) -> None:
    frames = [{**sample, "visualization": False}] * 16
    depths = set()
    with cold.client() as client, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(client.post, f"{PATH}/batch", json=frames)
        while not asked.done():
            depths.add(client.get("/api/v1/status").json()["queue_depth"])
    assert asked.result().status_code == 200
    assert len(asked.result().json()) == 16
    assert max(depths) > 1
