"""Objects come and go over HTTP: onboarded in the background, kept, and found by requests."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest
from http_helpers import cad_of_sample, events, finished, ids, upload
from server_process import Server, StartServer, start, stop

from ism_ros.data.rle import decode_rle
from ism_ros.selftest.sample_files import SCENE, read_sample_labels
from ism_ros.server.objects.object_jobs import FINISHED_JOBS_KEPT

FINISHED = ("done", "failed", "stopped")


@pytest.fixture
def own_server(start_server: StartServer) -> Server:
    return start_server()


def assert_carton_is_found(answer: dict[str, Any]) -> None:
    """Found where it is, as "thing"; another carton of the scene may look like it, but far less."""
    best, *others = answer["detections"]
    found, truth = decode_rle(best["segmentation"]).astype(bool), read_sample_labels() == 1
    assert best["class_id"] == "thing"
    assert (found & truth).sum() / (found | truth).sum() > 0.9
    assert all(one["score"] < 0.6 * best["score"] for one in others)


def test_an_uploaded_object_is_found_by_requests(own_server: Server, sample: dict[str, Any]) -> None:
    with own_server.client() as client:
        job = upload(client, "thing", cad_of_sample(0))
        told = list(events(client, job["id"]))
        answer = client.post("/api/v1/inference", json={**sample, "object_ids": ["thing"]}).json()
        by_default = client.post("/api/v1/inference", json={**sample, "object_ids": None}).json()
    assert told[-1]["state"] == "done", told[-1]
    assert_carton_is_found(answer)
    assert by_default["detections"] == answer["detections"]


@pytest.mark.slow
def test_progress_is_told_template_by_template(own_server: Server, tmp_path: Path) -> None:
    fresh = tmp_path / "fresh.obj"
    fresh.write_text("v 0 0 0\nv .1 0 0\nv 0 .1 0\nv 0 0 .1\nf 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n")
    with own_server.client() as client:
        told = list(events(client, upload(client, "fresh", fresh)["id"]))
    counts = [event["done"] for event in told]
    assert counts == sorted(counts)
    assert len(set(counts)) > 3
    assert told[-1]["total"] == 42


@pytest.mark.slow
def test_uploaded_objects_survive_a_restart(tmp_path: Path, cache: Path) -> None:
    first = start(tmp_path / "data", cache)
    first.wait_until_ready()
    with first.client() as client:
        kept, removed = (upload(client, name, cad_of_sample(0)) for name in ("kept", "removed"))
        assert finished(client, kept["id"])["state"] == finished(client, removed["id"])["state"] == "done"
        assert client.delete("/api/v1/objects/removed").status_code == 200
    stop(first)
    second = start(tmp_path / "data", cache)
    second.wait_until_ready()
    with second.client() as client:
        assert ids(client) == ["kept"]
        assert client.get(f"/api/v1/jobs/{kept['id']}").json()["state"] == "done"
    stop(second)
    assert len(list((tmp_path / "data_state" / "uploads").iterdir())) == 1


@pytest.mark.slow
def test_a_job_that_a_killed_server_left_is_taken_up_again(tmp_path: Path) -> None:
    first = start(tmp_path / "data", tmp_path / "own_cache")
    first.wait_until_ready()
    with first.client() as client:
        job = upload(client, "thing", cad_of_sample(1))
        next(event for event in events(client, job["id"]) if event["state"] == "running")
    first.process.kill()
    first.process.wait()
    second = start(tmp_path / "data", tmp_path / "own_cache")
    second.wait_until_ready()
    with second.client() as client:
        assert finished(client, job["id"])["state"] == "done"
        assert ids(client) == ["thing"]
    stop(second)


def test_the_oldest_of_many_jobs_are_forgotten(own_server: Server) -> None:
    folder = own_server.data.with_name(f"{own_server.data.name}_state") / "jobs"
    with own_server.client() as client:
        first = upload(client, "first", cad_of_sample(0))["id"]
        assert finished(client, first)["state"] == "done"
        done = (folder / f"{first}.json").read_text()
        for number in range(FINISHED_JOBS_KEPT):
            (folder / f"{number}.json").write_text(done.replace(first, str(number)))
        last = upload(client, "last", cad_of_sample(0))["id"]
        while len(kept := client.get("/api/v1/jobs").json()) > FINISHED_JOBS_KEPT:
            assert own_server.process.poll() is None
        assert ids(client) == ["first", "last"]
    assert kept[0]["id"] == last
    assert len(list(folder.glob("*.json"))) == FINISHED_JOBS_KEPT


@pytest.mark.slow
def test_servers_that_share_a_folder_follow_each_other(own_server: Server, cache: Path) -> None:
    state = str(own_server.data.with_name(f"{own_server.data.name}_state"))
    other = start(own_server.data, cache, ISM_STATE_DIR=state)
    other.wait_until_ready()
    with own_server.client() as client, other.client() as other_client:
        job = upload(client, "thing", cad_of_sample(0))
        assert finished(client, job["id"])["state"] == "done"
        while ids(other_client) != ["thing"]:
            assert other.process.poll() is None
        assert other_client.get(f"/api/v1/jobs/{job['id']}").json()["state"] == "done"
        assert other_client.delete("/api/v1/objects/thing").status_code == 200
        while ids(client) != []:
            assert own_server.process.poll() is None
    stop(other)


@pytest.mark.slow
def test_an_object_that_is_deleted_while_it_is_onboarded_never_appears(tmp_path: Path) -> None:
    server = start(tmp_path / "data", tmp_path / "own_cache")
    server.wait_until_ready()
    with server.client() as client:
        job = upload(client, "thing", cad_of_sample(1))
        next(event for event in events(client, job["id"]) if event["done"])
        assert client.delete("/api/v1/objects/thing").status_code == 200
        assert finished(client, job["id"])["state"] == "stopped"
        assert ids(client) == []
    stop(server)


@pytest.mark.slow
def test_rendered_templates_are_taken_back_as_an_upload(own_server: Server, sample: dict[str, Any]) -> None:
    cad = cad_of_sample(0)
    with own_server.client() as client:
        rendered = client.post("/api/v1/render", data={"units": "m"}, files={"cad": (cad.name, cad.read_bytes())})
        assert rendered.status_code == 200, rendered.text
        answer = client.post(
            "/api/v1/objects", data={"id": "thing"}, files={"templates": ("templates.zip", rendered.content)}
        )
        assert finished(client, answer.json()["id"])["state"] == "done"
        found = client.post("/api/v1/inference", json={**sample, "object_ids": ["thing"]}).json()
    names = zipfile.ZipFile(io.BytesIO(rendered.content)).namelist()
    assert {"rgb_41.png", "mask_41.png", "xyz_41.npy", "poses.npy"} <= set(names)
    assert_carton_is_found(found)


def test_a_cad_file_that_cannot_be_read_fails_its_job_with_the_reason(own_server: Server, tmp_path: Path) -> None:
    broken = tmp_path / "broken.ply"
    broken.write_bytes(b"ply\nformat ascii 1.0\nelement vertex 1000000000\nend_header\n")
    with own_server.client() as client:
        job = finished(client, upload(client, "broken", broken)["id"])
        assert ids(client) == []
    assert job["state"] == "failed"
    assert "model.ply" in job["message"]
    assert str(own_server.data.parent) not in job["message"]


@pytest.mark.slow
def test_a_category_of_another_object_is_refused(own_server: Server) -> None:
    with own_server.client() as client:
        upload(client, "one", cad_of_sample(0), category_id=7)
        answer = client.post(
            "/api/v1/objects",
            data={"id": "two", "category_id": 7},
            files={"cad": ("a.ply", cad_of_sample(0).read_bytes())},
        )
    assert answer.status_code == 409
    assert "'one'" in answer.json()["error_message"]


@pytest.mark.slow
def test_objects_of_the_objects_file_cannot_be_deleted(start_server: StartServer) -> None:
    server = start_server(ISM_OBJECTS_FILE=str(SCENE / "objects.yaml"))
    with server.client() as client:
        name = ids(client)[0]
        answer = client.delete(f"/api/v1/objects/{name}")
        unknown = client.delete("/api/v1/objects/nothing")
    assert answer.status_code == 409
    assert unknown.status_code == 404
