"""Uploads that are refused: hostile archives, CAD files that refer to others, ids that are no names."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from http_helpers import PYRAMID, cad_of_sample
from server_process import Server, StartServer


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
def test_a_mesh_of_too_many_triangles_is_refused(start_server: StartServer) -> None:
    server = start_server(ISM_MAX_TRIANGLES="10")
    cad = cad_of_sample(0)
    with server.client() as client:
        answer = client.post("/api/v1/render", data={"units": "m"}, files={"cad": (cad.name, cad.read_bytes())})
    assert answer.status_code == 400
    assert "at most 10" in answer.json()["error_message"]


@pytest.mark.parametrize("object_id", ["", "../x", "sample:duck", "a" * 65, ".hidden"])
def test_an_id_that_is_no_name_is_refused(server: Server, object_id: str) -> None:
    with server.client() as client:
        cad = cad_of_sample(0)
        answer = client.post("/api/v1/objects", data={"id": object_id}, files={"cad": (cad.name, cad.read_bytes())})
    assert answer.status_code in (400, 422)


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
    cv2.imwrite(str(picture), np.full((8, 8, 3), (0, 0, 255), np.uint8))  # pure red, as no light makes the gray pyramid
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
