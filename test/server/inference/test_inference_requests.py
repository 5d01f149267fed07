"""POST /api/v1/inference, against a real server with the embedded default."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import trimesh
from dummy_networks import install
from inference_requests import PATH, png, post, refused
from PIL import Image
from real_can import CAN, CAN_CAD, CAN_UNITS, assert_is_the_can, needs_real_can
from server_process import Server, StartServer

from ism_ros.data.rle import decode_rle
from ism_ros.matching.calibration import EVIDENCE_NAMES
from ism_ros.selftest.sample_files import SCENE


@pytest.fixture(scope="session")
def answer(server: Server, sample: dict[str, Any]) -> dict[str, Any]:
    response = post(server, sample)
    assert response.status_code == 200, response.text
    return response.json()


def test_the_sample_finds_both_objects_where_they_are(answer: dict[str, Any]) -> None:
    truth = cv2.imread(str(SCENE / "truth.png"), cv2.IMREAD_UNCHANGED)
    assert answer["success"]
    by_class = {found["class_id"]: found for found in reversed(answer["detections"])}
    for value, name in ((1, "sample:carton"), (2, "sample:banana")):
        mask = decode_rle(by_class[name]["segmentation"])
        there = truth == value
        assert (mask & there).sum() / (mask | there).sum() > 0.8


@pytest.mark.slow
@needs_real_can
def test_the_can_of_a_real_camera_comes_first_and_whole(server: Server) -> None:
    shutil.copy(CAN_CAD, server.data / "can.ply")
    rgb, depth = (base64.b64encode((CAN / file).read_bytes()).decode() for file in ("rgb.png", "depth.png"))
    camera = json.loads((CAN / "camera.json").read_text())
    body = {"rgb_image": rgb, "depth_image": depth, "cam_params": camera}
    found = post(server, {**body, "cad_path": "can.ply", "cad_units": CAN_UNITS}).json()["detections"][0]
    assert_is_the_can(found["score"], decode_rle(found["segmentation"]))


def test_every_detection_has_its_scores_a_box_and_a_pose(answer: dict[str, Any]) -> None:
    for found in answer["detections"]:
        assert {"score", "semantic_score", "appearance_score", "geometric_score", "visible_ratio"} <= found.keys()
        mask = decode_rle(found["segmentation"])
        columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
        x, y, width, height = found["bbox"]
        assert (x, y, x + width, y + height) == (columns[0], rows[0], columns[-1], rows[-1])
        assert len(found["pose"]["rotation"]) == 9
        assert 0.2 < found["pose"]["translation_m"][2] < 3.0
    assert answer["num_detections"] == len(answer["detections"])
    assert answer["scores"] == sorted(answer["scores"], reverse=True)
    assert answer["inference_time"] == pytest.approx(sum(answer["stage_times"].values()))


def test_every_detection_has_what_speaks_for_and_against_it(answer: dict[str, Any]) -> None:
    for found in answer["detections"]:
        assert tuple(found["evidence"]) == EVIDENCE_NAMES
        assert all(one.keys() == {"value", "contribution"} for one in found["evidence"].values())
        assert found["evidence"]["semantic"]["value"] == pytest.approx(found["semantic_score"])
        assert max(one["contribution"] for one in found["evidence"].values()) > 0


def test_without_depth_outlines_and_colors_are_the_evidence(server: Server, sample: dict[str, Any]) -> None:
    content = post(server, {**sample, "depth_image": None, "score_threshold": 0.0}).json()
    evidence = content["detections"][0]["evidence"]
    assert evidence["outline_iou"]["value"] > 0.7
    assert evidence["measured"]["value"] == 0


def test_the_overlay_is_a_picture_of_the_frames_size(answer: dict[str, Any]) -> None:
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(answer["visualization"]), np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == cv2.imread(str(SCENE / "rgb.jpg")).shape


def test_a_subset_of_objects_is_all_that_is_found(server: Server, sample: dict[str, Any]) -> None:
    content = post(server, {**sample, "object_ids": ["sample:banana"], "visualization": False}).json()
    assert {found["class_id"] for found in content["detections"]} == {"sample:banana"}
    assert content["visualization"] is None


def test_a_cad_path_and_a_data_url_and_a_square_camera_matrix(server: Server, sample: dict[str, Any]) -> None:
    shutil.copy(SCENE / "carton.glb", server.data / "carton.glb")
    k = sample["cam_params"]["cam_K"]
    content = post(
        server,
        {
            **sample,
            "object_ids": None,
            "cad_path": "carton.glb",
            "rgb_image": "data:image/jpeg;base64," + sample["rgb_image"],
            "cam_params": {"cam_K": [k[:3], k[3:6], k[6:]], "depth_scale": sample["cam_params"]["depth_scale"]},
        },
    ).json()
    assert content["success"], content["error_message"]
    assert content["detections"][0]["class_id"] == "carton"
    assert content["cad_path_used"].endswith("carton.glb")


@pytest.mark.slow
def test_depth_scale_says_what_the_numbers_of_the_depth_image_are(
    server: Server, sample: dict[str, Any], answer: dict[str, Any]
) -> None:
    depth_mm = cv2.imread(str(SCENE / "depth.png"), cv2.IMREAD_UNCHANGED)
    half_mm = {"depth_image": png(depth_mm * 2), "cam_params": {**sample["cam_params"], "depth_scale": 0.5}}
    assert post(server, {**sample, **half_mm}).json()["detections"] == answer["detections"]


@pytest.mark.parametrize(("factor", "said"), [(0.001, "which no camera sees"), (10, "if depth were 10 times nearer")])
def test_depth_in_another_unit_is_doubted_in_the_answer(
    server: Server, sample: dict[str, Any], factor: float, said: str
) -> None:
    scale = sample["cam_params"]["depth_scale"] * factor
    content = post(server, {**sample, "cam_params": {**sample["cam_params"], "depth_scale": scale}}).json()
    assert content["success"]
    (doubt,) = content["warnings"]
    assert doubt["reason"] == "depth_unit"
    assert said in doubt["text"]


def test_65535_is_no_reading_and_exif_turns_nothing(
    server: Server, sample: dict[str, Any], answer: dict[str, Any]
) -> None:
    depth_mm = cv2.imread(str(SCENE / "depth.png"), cv2.IMREAD_UNCHANGED)
    file = io.BytesIO()
    exif = Image.Exif()
    exif[274] = 6
    Image.open(SCENE / "rgb.jpg").save(file, "PNG", exif=exif)
    depth_image = png(np.where(depth_mm == 0, 65535, depth_mm).astype(np.uint16))
    turned = {"depth_image": depth_image, "rgb_image": base64.b64encode(file.getvalue()).decode()}
    content = post(server, {**sample, **turned}).json()
    assert [found["class_id"] for found in content["detections"]] == [
        found["class_id"] for found in answer["detections"]
    ]
    np.testing.assert_allclose(content["scores"], answer["scores"], atol=0.02)


def test_another_segmentor_may_be_asked_for(start_server: StartServer, tmp_path: Path, sample: dict[str, Any]) -> None:
    folder = install(tmp_path / "checkpoints", "fastsam/s")
    own = {"ISM_SEGMENTOR": "fastsam", "ISM_SEGMENTOR_MODEL": "s", "ISM_CHECKPOINTS_DIR": str(folder)}
    server = start_server(**own)
    by_default, content = (post(server, {**sample, **change}).json() for change in ({}, {"segmentor_model": "tiny"}))
    assert by_default["success"], by_default["error_message"]
    assert content["success"], content["error_message"]
    assert content["detections"][0]["score"] > 0.5
    assert content["detections"] != by_default["detections"]


def test_files_are_written_where_they_are_asked_for(server: Server, sample: dict[str, Any]) -> None:
    content = post(server, {**sample, "output_dir": "results/first"}).json()
    records = json.loads((server.data / "results/first/detection_ism.json").read_text())
    assert [record["score"] for record in records] == content["scores"]
    assert content["output_dir_used"] == str((server.data / "results/first").resolve())


def test_files_can_be_uploaded_as_they_are(server: Server, sample: dict[str, Any], answer: dict[str, Any]) -> None:
    with server.client() as client, open(SCENE / "rgb.jpg", "rb") as rgb, open(SCENE / "depth.png", "rb") as depth:
        content = client.post(
            f"{PATH}/upload",
            files={"rgb": rgb, "depth": depth},
            data={
                "cam_params": (SCENE / "camera.json").read_text(),
                "options": json.dumps({"object_ids": sample["object_ids"]}),
            },
        ).json()
    assert content["error_message"] is None
    assert content["scores"] == answer["scores"]


def test_a_frame_without_any_of_the_objects_is_a_good_answer(server: Server, sample: dict[str, Any]) -> None:
    content = post(server, {**sample, "score_threshold": 1.0}).json()
    assert content["success"]
    assert content["detections"] == []
    assert set(content["near_miss"]) == {"class_id", "score", "bbox"}


def test_what_was_left_out_as_too_small_is_told(server: Server, sample: dict[str, Any]) -> None:
    content = post(server, {**sample, "min_mask_pixels": 100_000}).json()
    assert content["detections"] == []
    (warning,) = (told for told in content["warnings"] if told["reason"] == "too_small")
    assert "less than 100000 pixels: lower min_mask_pixels" in warning["text"]


@pytest.fixture(scope="session")
def template_folder(server: Server) -> Path:
    """Of the carton, with nothing but what SAM-6D's render tool writes."""
    cad = SCENE / "carton.glb"
    with server.client() as client:
        rendered = client.post("/api/v1/render", files={"cad": (cad.name, cad.read_bytes())})
    folder = server.data / "outputs" / "templates"
    with zipfile.ZipFile(io.BytesIO(rendered.content)) as archive:
        archive.extractall(folder, [name for name in archive.namelist() if re.match("(rgb|mask|xyz)_", name)])
    return folder


@pytest.mark.slow
def test_the_curl_line_of_an_earlier_server_gives_a_right_answer(
    server: Server, sample: dict[str, Any], template_folder: Path, tmp_path: Path
) -> None:
    cad = server.data / "earlier.glb"
    shutil.copy(SCENE / "carton.glb", cad)
    body = {
        "rgb_image": png(cv2.imread(str(SCENE / "rgb.jpg"))),
        "depth_image": sample["depth_image"],
        "cam_params": sample["cam_params"],
        "template_dir": str(template_folder),
        "cad_path": str(cad),
        "output_dir": str(server.data / "output"),
    }
    (tmp_path / "request.json").write_text(json.dumps(body))
    line = f'curl -s -X POST "{server.url}{PATH}" -H "Content-Type: application/json" -d @request.json'
    said = subprocess.run(["sh", "-c", line], cwd=tmp_path, capture_output=True, check=True, timeout=60).stdout
    content = json.loads(said)
    assert content["success"] is True, content
    assert content["num_detections"] == len(content["detections"]) == len(content["scores"]) > 0
    assert content["inference_time"] > 0
    used = (content["template_dir_used"], content["cad_path_used"], content["output_dir_used"])
    assert used == (body["template_dir"], body["cad_path"], body["output_dir"])
    there = cv2.imread(str(SCENE / "truth.png"), cv2.IMREAD_UNCHANGED) == 1
    mask = decode_rle(content["detections"][0]["segmentation"])
    assert (mask & there).sum() / (mask | there).sum() > 0.8
    assert {file.name for file in (server.data / "output").iterdir()} >= {"detection_ism.json", "detection_ism.npz"}


@pytest.mark.slow
def test_template_folders_are_judged_as_users_know_it(
    server: Server, sample: dict[str, Any], template_folder: Path
) -> None:
    body = {**sample, "object_ids": None, "template_dir": "templates"}
    assert "templates does not exist" in refused(server, body, 404)
    folder = server.data / "templates"
    folder.mkdir()
    told = refused(server, body, 400)
    assert f"{folder} has no xyz_*.npy" in told
    for name in ("rgb_7.png", "mask_7.png", "xyz_7.npy"):
        shutil.copytree(template_folder, folder, dirs_exist_ok=True)
        (folder / name).rename(folder / "elsewhere")
        if name.startswith("xyz"):  # the number of templates is that of these files
            (folder / "xyz_41.npy").rename(folder / "xyz_99.npy")
        assert str(folder / name) in refused(server, body, 400)


@pytest.mark.slow
def test_a_file_that_changed_is_noticed(server: Server, sample: dict[str, Any]) -> None:
    truth = cv2.imread(str(SCENE / "truth.png"), cv2.IMREAD_UNCHANGED)
    cad = server.data / "changing.glb"
    for value, file in ((1, "carton.glb"), (2, "banana.ply")):
        trimesh.load(SCENE / file, force="mesh").export(cad)
        content = post(server, {**sample, "object_ids": None, "cad_path": "changing.glb", "cad_units": "m"}).json()
        mask = decode_rle(content["detections"][0]["segmentation"])
        assert (mask & (truth == value)).sum() / (mask | (truth == value)).sum() > 0.8
