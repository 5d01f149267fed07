"""POST /api/v1/inference: requests that are refused, with what to do."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pytest
from inference_requests import FAILED, PATH, png, refused
from PIL import Image
from server_process import Server

from ism_ros.selftest.sample_files import SCENE


@pytest.mark.parametrize(
    ("k", "said"),
    [
        ([1e308, 0, 240, 0, 460, 180, 0, 0, 1], "as no lens has"),
        ([0.96, 0, 0.5, 0, 1.28, 0.5, 0, 0, 1], "normalised"),
        ([460, 0, 0, 0, 460, 0, 240, 180, 1], "must be 0 0 1"),
        ([460, 0, 9000, 0, 460, 180, 0, 0, 1], "outside of an image"),
    ],
)
def test_a_camera_matrix_that_cannot_be_of_this_image_is_refused(
    server: Server, sample: dict[str, Any], k: list[float], said: str
) -> None:
    told = refused(server, {**sample, "cam_params": {**sample["cam_params"], "cam_K": k}}, 400)
    assert said in told


def test_an_output_folder_that_cannot_be_written_is_named(server: Server, sample: dict[str, Any]) -> None:
    (server.data / "taken").write_text("a file")
    told = refused(server, {**sample, "output_dir": "taken/results"}, 400)
    assert f"output_dir {server.data / 'taken/results'} cannot be written (Not a directory)" in told


@pytest.mark.parametrize("options", ["[]", "nothing", "[" * 100_000])
def test_options_that_are_no_json_object_are_refused(server: Server, options: str) -> None:
    with server.client() as client, open(SCENE / "rgb.jpg", "rb") as rgb:
        fields = {"cam_params": (SCENE / "camera.json").read_text(), "options": options}
        answer = client.post(f"{PATH}/upload", files={"rgb": rgb}, data=fields)
    assert answer.status_code == 422, answer.text
    assert "JSON" in answer.json()["error_message"]


def test_wrong_requests_are_refused_with_what_to_do(server: Server, sample: dict[str, Any]) -> None:
    assert "base64" in refused(server, {**sample, "rgb_image": "!"}, 400)
    assert "PNG or JPEG" in refused(server, {**sample, "rgb_image": base64.b64encode(b"GIF89a").decode()}, 400)
    assert "cam_K" in refused(server, {**sample, "cam_params": {"cam_K": [1, 2, 3]}}, 422)
    assert "focal" in refused(server, {**sample, "cam_params": {"cam_K": [0] * 9}}, 400)
    assert "rgb_image" in refused(server, {"cam_params": sample["cam_params"]}, 422)
    assert "16-bit" in refused(server, {**sample, "depth_image": png(np.zeros((480, 640, 3), np.uint8))}, 400)
    assert "not known" in refused(server, {**sample, "object_ids": ["teapot"]}, 404)
    assert "nothing to look for" in refused(server, {**sample, "object_ids": None}, 400)
    assert "sam_vit" in refused(server, {**sample, "segmentor_model": "sam"}, 400)
    assert "choose one of" in refused(server, {**sample, "segmentor_model": "yolo"}, 400)
    assert "choose one of" in refused(server, {**sample, "segmentor_model": "os:getcwd"}, 400)


def test_paths_stay_inside_the_data_root(server: Server, sample: dict[str, Any], tmp_path: Any) -> None:
    (tmp_path / "secret.ply").write_text("ply")
    (server.data / "link").symlink_to(tmp_path)
    for path in ("../secret.ply", str(tmp_path / "secret.ply"), "link/secret.ply", "/etc/passwd"):
        for field in ("cad_path", "template_dir", "output_dir"):
            assert "outside" in refused(server, {**sample, "object_ids": None, field: path}, 403)


def test_a_folder_with_a_link_out_of_the_data_root_is_refused(
    server: Server, sample: dict[str, Any], tmp_path: Any
) -> None:
    folder = server.data / "linked"
    folder.mkdir()
    (folder / "xyz_0.npy").symlink_to(tmp_path / "secret.npy")
    for field in ("template_dir", "output_dir"):
        assert "xyz_0.npy" in refused(server, {**sample, "object_ids": None, field: "linked"}, 403)


def test_images_are_judged_before_they_are_decoded(server: Server, sample: dict[str, Any]) -> None:
    head = io.BytesIO()

    Image.new("1", (20_000, 20_000)).save(head, "PNG")
    picture = base64.b64encode(head.getvalue()).decode()
    assert "pixels" in refused(server, {**sample, "rgb_image": picture}, 413)


def test_a_body_that_is_too_large_is_not_read(server: Server) -> None:
    with server.client() as client:
        answer = client.post(PATH, content=b"{" + b" " * (65 << 20))
    assert answer.status_code == 413
    assert answer.json().items() >= FAILED.items()


def test_a_body_that_does_not_say_how_long_it_is_is_not_read_either(server: Server) -> None:
    with server.client() as client:
        answer = client.post(PATH, content=(b" " * (1 << 20) for _ in range(65)))
    assert answer.status_code == 413
