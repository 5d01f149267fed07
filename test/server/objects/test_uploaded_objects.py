"""Objects come and go over HTTP: onboarded in the background, kept, and found by requests."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from server_process import Server, start, stop

from ism_ros.objects.spec import read_objects_file
from ism_ros.selftest.self_test import SCENE
from ism_ros.server.objects.object_jobs import FINISHED_JOBS_KEPT

FINISHED = ("done", "failed", "stopped")


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


@pytest.fixture
def own_server(tmp_path: Path, cache: Path) -> Iterator[Server]:
    running = start(tmp_path / "data", cache)
    running.wait_until_ready()
    yield running
    stop(running)


def test_an_uploaded_object_is_found_by_requests(own_server: Server, sample: dict[str, Any]) -> None:
    with own_server.client() as client:
        job = upload(client, "thing", cad_of_sample(0))
        told = list(events(client, job["id"]))
        answer = client.post("/api/v1/inference", json={**sample, "object_ids": ["thing"]}).json()
        by_default = client.post("/api/v1/inference", json={**sample, "object_ids": None}).json()
    assert told[-1]["state"] == "done", told[-1]
    assert [found["class_id"] for found in answer["detections"]] == ["thing"]
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
    assert [one["class_id"] for one in found["detections"]] == ["thing"]


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
def test_objects_of_the_objects_file_cannot_be_deleted(tmp_path: Path, cache: Path) -> None:
    server = start(tmp_path / "data", cache, ISM_OBJECTS_FILE=str(SCENE / "objects.yaml"))
    server.wait_until_ready()
    with server.client() as client:
        name = ids(client)[0]
        answer = client.delete(f"/api/v1/objects/{name}")
        unknown = client.delete("/api/v1/objects/nothing")
    stop(server)
    assert answer.status_code == 409
    assert unknown.status_code == 404


def zip_of(contents: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def link() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        member = zipfile.ZipInfo("rgb_0.png")
        member.external_attr = 0o120777 << 16
        archive.writestr(member, "/etc/passwd")
    return buffer.getvalue()


def lying_about_its_size() -> bytes:
    """A zip whose list says 10 bytes where there are 600 MB."""
    data = bytearray(zip_of({"xyz_0.npy": bytes(600 << 20)}))
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        struct.pack_into("<I", data, data.rindex(signature) + offset, 10)
    return bytes(data)


def damaged_inside() -> bytes:
    """A zip whose only file starts as no deflated bytes can."""
    name = b"rgb_0.png"
    data = bytearray(zip_of({name.decode(): bytes(1000)}))
    data[data.index(name) + len(name)] = 0xFF
    return bytes(data)


def chunk(kind: bytes, content: bytes) -> bytes:
    checked = kind + content
    return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))


def png(side_px: int) -> bytes:
    """Of a picture of so many pixels in each direction, most of which are missing."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side_px, side_px, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000)))


UNFINISHED = b"\x93NUMPY\x01\x00\x0b\x00{'descr': ("
PICKLE = b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (9,)}"


@pytest.mark.parametrize(
    ("archive", "status"),
    [
        (lambda: zip_of({"../rgb_0.png": b""}), 400),
        (lambda: zip_of({"/rgb_0.png": b""}), 400),
        (lambda: zip_of({"C:\\rgb_0.png": b""}), 400),
        (link, 400),
        (lambda: zip_of({"rgb_0.png": b"", "run.sh": b""}), 400),
        (lambda: zip_of({"xyz_0.npy": bytes(600 << 20)}), 413),
        (lying_about_its_size, 400),
        (lambda: zip_of({f"rgb_{number}.png": b"" for number in range(5000)}), 413),
        (lambda: zip_of({"rgb_0.png": png(60_000)}), 413),
        (lambda: zip_of({"xyz_0.npy": PICKLE}), 400),
        (lambda: zip_of({"xyz_0.npy": UNFINISHED}), 400),
        (damaged_inside, 400),
        (lambda: zip_of({"rgb_0.png": png(8)}, zipfile.ZIP_LZMA), 400),
        (lambda: b"not a zip", 400),
        (lambda: b"", 400),
    ],
    ids=["dots", "absolute", "drive", "link", "stranger", "bomb", "liar", "many", "pixels", "pickle", "header",
         "damaged", "lzma", "text", "empty"],
)  # fmt: skip
def test_a_hostile_zip_is_refused_and_leaves_nothing(server: Server, archive: Any, status: int) -> None:
    with server.client() as client:
        answer = client.post("/api/v1/objects", data={"id": "x"}, files={"templates": ("t.zip", archive())})
    assert answer.status_code == status, answer.text
    assert answer.json()["success"] is False
    assert list(server.data.with_name(f"{server.data.name}_state").glob("uploads/*")) == []


def glb(tree: bytes) -> bytes:
    return b"glTF" + struct.pack("<IIII", 2, 20 + len(tree), len(tree), 0x4E4F534A) + tree


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.obj", b"mtllib ../../secret.mtl\nv 0 0 0\n"),
        ("a.gltf", b'{"buffers": [{"uri": "/etc/passwd"}]}'),
        ("a.ply", b"ply\ncomment TextureFile ..\\x.png\nend_header\n"),
        ("a.ply", b"ply\nformat ascii 1.0\n" + b"comment x\n" * 10_000 + b"obj_info TextureFile../x.png\nend_header\n"),
        ("a.glb", glb(b'{"images": [{"uri": "..%2f..%2fsecret.png"}]}')),
        ("a.exe", b"MZ"),
        ("a.ply", b""),
    ],
)
def test_a_cad_file_that_reaches_for_others_is_refused(server: Server, name: str, content: bytes) -> None:
    with server.client() as client:
        for path in ("/api/v1/objects", "/api/v1/render"):
            answer = client.post(path, data={"id": "x"}, files={"cad": (name, content)})
            assert answer.status_code == 400, answer.text


@pytest.mark.parametrize("tree", [b'{"buffers": 5}', b'{"buffers": [{"uri": 5}]}', b"[" * 100_000])
def test_a_gltf_that_is_none_is_refused(server: Server, tree: bytes) -> None:
    with server.client() as client:
        answer = client.post("/api/v1/render", files={"cad": ("a.gltf", tree)})
    assert answer.status_code == 400, answer.text


@pytest.mark.slow
def test_a_mesh_of_too_many_triangles_is_refused(tmp_path: Path, cache: Path) -> None:
    server = start(tmp_path / "data", cache, ISM_MAX_TRIANGLES="10")
    server.wait_until_ready()
    cad = cad_of_sample(0)
    with server.client() as client:
        answer = client.post("/api/v1/render", data={"units": "m"}, files={"cad": (cad.name, cad.read_bytes())})
    stop(server)
    assert answer.status_code == 400
    assert "at most 10" in answer.json()["error_message"]


@pytest.mark.parametrize("object_id", ["", "../x", "sample:duck", "a" * 65, ".hidden"])
def test_an_id_that_is_no_name_is_refused(server: Server, object_id: str) -> None:
    with server.client() as client:
        cad = cad_of_sample(0)
        answer = client.post("/api/v1/objects", data={"id": object_id}, files={"cad": (cad.name, cad.read_bytes())})
    assert answer.status_code in (400, 422)


PYRAMID = (
    "v 0 0 0\nv .1 0 0\nv .1 .1 0\nv 0 .1 0\nv .05 .05 .1\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\nusemtl a\n"
    "f 3/3 2/2 1/1\nf 4/4 3/3 1/1\nf 1/1 2/2 5/3\nf 2/1 3/2 5/3\nf 3/1 4/2 5/3\nf 4/1 1/2 5/3\n"
)


@pytest.mark.parametrize(
    "head",
    [
        "mtllib model.obj\n# newmtl a\nnewmtl a\nmap_Kd {picture}\n",  # as the server calls what it keeps
        "mtllib model.obj\nnewmtl a\nmap_Kd ../../../{picture}\n",
        "mtllib \\\n{library}\n",
        "mtllib \\\n model.obj\nnewmtl a\nmap_Kd {picture}\n",
        "#mtllib {library}\n",
        "o mtllib {library}\n",
    ],
    ids=["itself", "itself_and_dots", "continued", "continued_itself", "comment", "name"],
)
@pytest.mark.slow
def test_an_upload_sees_no_picture_of_the_server(server: Server, tmp_path: Path, head: str) -> None:
    picture, library = tmp_path / "secret.png", tmp_path / "secret.mtl"
    cv2.imwrite(str(picture), np.full((8, 8, 3), (0, 0, 255), np.uint8))  # pure red, as no light makes the grey pyramid
    library.write_text(f"newmtl a\nmap_Kd {picture}\n")
    content = head.format(picture=picture, library=library) + PYRAMID
    with server.client() as client:
        rendered = client.post("/api/v1/render", data={"units": "m"}, files={"cad": ("a.obj", content)})
    with zipfile.ZipFile(io.BytesIO(rendered.content)) as templates:
        rgb = [cv2.imdecode(np.frombuffer(templates.read(name), np.uint8), cv2.IMREAD_COLOR)
               for name in templates.namelist() if name.startswith("rgb_")]  # fmt: skip
    seen = np.concatenate([one.reshape(-1, 3) for one in rgb]).astype(int)
    assert len(seen[seen.sum(1) > 0])
    assert not ((seen[:, 2] - seen[:, 0]) > 50).any()
