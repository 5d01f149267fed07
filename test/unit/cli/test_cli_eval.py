"""`ism eval` as a user runs it, on a BOP dataset of simulated tables that the project renders itself."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ism_ros.bop.average_precision import evaluate
from ism_ros.bop.dataset import BopDataset, open_dataset
from ism_ros.bop.ground_truth import read_ground_truth
from ism_ros.bop.predictions import read_predictions
from ism_ros.cad.mesh_loading import load_cad
from ism_ros.cad.surfaces import surface_of
from ism_ros.cli.main import main
from ism_ros.data.camera import Camera
from ism_ros.rendering.renderer import render
from ism_ros.sim.benchmark_scenes.known_objects import known_objects
from ism_ros.sim.benchmark_scenes.table_scene import REALSENSE
from ism_ros.sim.bop_dataset import main as write_from_command_line
from ism_ros.sim.bop_dataset import scale_camera, write_dataset

OBJECT_SET, OBJECTS, SCENES, IMAGES = 4, 2, 2, 2
PREDICTIONS = "ism-tiny-tiny_tables-test.json"


@dataclass(frozen=True)
class Done:
    """How a run of `ism` ended."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rendered dataset; not to be changed."""
    folder = tmp_path_factory.mktemp("bop") / "tables"
    camera = scale_camera(REALSENSE, 320)
    write_dataset(folder, scenes=SCENES, images=IMAGES, objects=OBJECTS, object_set=OBJECT_SET, camera=camera)
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for all runs: models are onboarded once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def ism(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], cache: Path) -> Callable[..., Done]:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("ISM_CACHE_DIR", str(cache))

    def run(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["ism", "eval", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return Done(int(ended.value.code or 0), *capsys.readouterr())

    return run


def content(path: Path) -> Any:
    return json.loads(path.read_text())


def scene_entries(dataset: BopDataset) -> list[tuple[Path, int, int, dict[str, Any], dict[str, Any]]]:
    """Scene folder, image, index, and the entries in scene_gt and scene_gt_info of every instance."""
    rows = []
    for image in dataset.images:
        scene = dataset.scene(image.scene_id)
        poses = content(scene.json("scene_gt"))[str(image.image_id)]
        infos = content(scene.json("scene_gt_info"))[str(image.image_id)]
        rows += [(scene.folder, image.image_id, k, *both) for k, both in enumerate(zip(poses, infos, strict=True))]
    return rows


# --- the rendered dataset ---


def test_the_rendered_dataset_is_a_bop_dataset(tables: Path) -> None:
    dataset = open_dataset(tables)
    assert len(dataset.images) == SCENES * IMAGES
    assert list(dataset.models) == [1, 2]
    truth = read_ground_truth(dataset)
    assert {instance.object_id for instance in truth.instances} == {1, 2}
    frame = dataset.scene(1).frame(0)
    assert (frame.width, frame.height) == (320, 240)
    assert frame.depth_m is not None
    assert 0.3 < float(np.median(frame.depth_m[frame.depth_m > 0])) < 3


def test_models_are_in_millimetres_and_look_as_they_did(tables: Path) -> None:
    camera = Camera(np.array([[400.0, 0, 64], [0, 400.0, 64], [0, 0, 1]]), 128, 128)
    pose = np.eye(4)
    pose[:3, :3] = [[1, 0, 0], [0, 0, -1], [0, 1, 0]]
    pose[2, 3] = 0.8
    info = content(tables / "models" / "models_info.json")
    for number, mesh in enumerate(known_objects(OBJECT_SET, OBJECTS), start=1):
        written = load_cad(tables / "models" / f"obj_{number:06d}.ply", "mm")
        np.testing.assert_allclose(written.extents, mesh.extents, rtol=1e-5)
        assert info[str(number)]["size_x"] == pytest.approx(1000 * mesh.extents[0], rel=1e-5)
        assert info[str(number)]["diameter"] > 1000 * mesh.extents.max() * 0.999
        seen, expected = (render([surface_of(m)], [pose], camera) for m in (written, mesh))
        assert (expected.instance >= 0).sum() > 500
        assert np.abs(seen.rgb.astype(int) - expected.rgb).mean() < 0.5


def test_poses_put_the_models_where_the_masks_are(tables: Path) -> None:
    dataset = open_dataset(tables)
    for folder, image_id, _, pose, info in scene_entries(dataset):
        intrinsics = np.array(content(folder / "scene_camera.json")[str(image_id)]["cam_K"]).reshape(3, 3)
        corners_mm = 1000 * load_cad(dataset.models[pose["obj_id"]], "mm").vertices
        rotation = np.array(pose["cam_R_m2c"]).reshape(3, 3)
        u, v, w = intrinsics @ (rotation @ corners_mm.T + np.array(pose["cam_t_m2c"])[:, None])
        x, y, width, height = info["bbox_obj"]
        np.testing.assert_allclose(
            [(u / w).min(), (v / w).min(), (u / w).max(), (v / w).max()],
            [x, y, x + width - 1, y + height - 1],
            atol=1.01,
        )


def test_visible_masks_are_parts_of_silhouettes_at_the_depth_of_the_object(tables: Path) -> None:
    dataset = open_dataset(tables)
    for folder, image_id, index, pose, info in scene_entries(dataset):
        name = f"{image_id:06d}_{index:06d}.png"
        whole, visible = (cv2.imread(str(folder / kind / name), 0) > 0 for kind in ("mask", "mask_visib"))
        assert not (visible & ~whole).any()
        assert info["px_count_visib"] == visible.sum()
        assert info["px_count_all"] >= whole.sum()
        assert info["visib_fract"] == pytest.approx(visible.sum() / info["px_count_all"])
        depth_m = dataset.scene(int(folder.name)).frame(image_id).depth_m
        assert depth_m is not None
        read = depth_m[visible & (depth_m > 0)]
        if len(read) > 50:
            assert abs(1000 * np.median(read) - pose["cam_t_m2c"][2]) < 150


def test_targets_count_what_is_visible_enough(tables: Path) -> None:
    entries = [
        (int(folder.name), image_id, pose["obj_id"])
        for folder, image_id, _, pose, info in scene_entries(open_dataset(tables))
        if info["visib_fract"] >= 0.1
    ]
    targets = content(tables / "test_targets_bop19.json")
    assert {(t["scene_id"], t["im_id"], t["obj_id"]): t["inst_count"] for t in targets} == {
        key: entries.count(key) for key in entries
    }
    assert len(content(tables / "test_targets_bop24.json")) == SCENES * IMAGES


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.tex").touch()
    assert write_from_command_line([str(tmp_path)]) == 2
    assert "is not empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


# --- ism eval ---


def test_a_dataset_is_searched_and_judged(ism: Callable[..., Done], tables: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = ism(tables, "--output", out)
    assert done.returncode == 0, done.stderr
    assert "obj_000001" in done.stdout
    assert "milliseconds an image" in done.stdout
    dataset = open_dataset(tables)
    predictions = read_predictions(out / PREDICTIONS)
    scores = content(out / "scores.json")
    again = evaluate(read_ground_truth(dataset), dataset.models, predictions)
    assert scores["segm"]["AP"] == again.scores["AP"]
    assert scores["segm"]["AP50"] > 0.3
    assert scores["settings"]["score_threshold"] == 0
    assert min(entry["score"] for entry in predictions) < 0.7
    times = {(entry["scene_id"], entry["image_id"]): entry["time"] for entry in predictions}
    assert all(entry["time"] == times[entry["scene_id"], entry["image_id"]] > 0 for entry in predictions)
    assert "data:image/jpeg" in (out / "report.html").read_text()


def test_a_stopped_run_goes_on_where_it_was(ism: Callable[..., Done], tables: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert ism(tables, "--output", out, "--limit", 2, "--worst", 0).returncode == 0
    first = {path: path.stat().st_mtime_ns for path in (out / "images").iterdir()}
    assert len(first) == 2
    done = ism(tables, "--output", out, "--worst", 0)
    assert done.returncode == 0, done.stderr
    assert "2 images were done before" in done.stderr
    second = {path: path.stat().st_mtime_ns for path in (out / "images").iterdir()}
    assert len(second) == SCENES * IMAGES
    assert first.items() <= second.items()
    assert content(out / "scores.json")["images"] == SCENES * IMAGES


def test_other_settings_do_not_go_on_with_old_results(ism: Callable[..., Done], tables: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert ism(tables, "--output", out, "--limit", 1, "--worst", 0).returncode == 0
    settings = tmp_path / "settings.yaml"
    settings.write_text("overlap_threshold: 1.0\n")
    done = ism(tables, "--output", out, "--limit", 1, "--config", settings)
    assert done.returncode == 2
    refused = done.stderr.strip().splitlines()[-1]
    assert "holds 1 images of another run: setting overlap_threshold was 0.5 and is 1.0" in refused
    assert "--restart" in refused
    done = ism(tables, "--output", out, "--limit", 1, "--config", settings, "--restart", "--worst", 0)
    assert done.returncode == 0, done.stderr


def test_scores_of_noctis_have_a_name_of_their_own(ism: Callable[..., Done], tables: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = ism(tables, "--output", out, "--scoring", "noctis", "--limit", 2, "--worst", 0)
    assert done.returncode == 0, done.stderr
    assert read_predictions(out / PREDICTIONS.replace("tiny_tables", "tiny-noctis_tables"))
    assert content(out / "scores.json")["settings"]["scoring"] == "noctis"
    assert not (out / PREDICTIONS).exists()


def test_a_split_without_truth_gives_predictions_for_the_server(
    ism: Callable[..., Done], tables: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "tables"
    shutil.copytree(tables, secret)
    for path in secret.glob("test/*/scene_gt*.json"):
        path.unlink()
    done = ism(secret, "--output", tmp_path / "out", "--limit", 1)
    assert done.returncode == 0, done.stderr
    assert "nothing can be judged here" in done.stderr
    assert read_predictions(tmp_path / "out" / PREDICTIONS)
    assert not (tmp_path / "out" / "scores.json").exists()


@pytest.mark.parametrize("also_missing", ["scene_gt_info.json", ""])
def test_truth_without_masks_gives_predictions_and_names_what_makes_the_masks(
    ism: Callable[..., Done], tables: Path, tmp_path: Path, also_missing: str
) -> None:
    rendered = tmp_path / "tables"
    shutil.copytree(tables, rendered)
    for scene in (rendered / "test").iterdir():
        shutil.rmtree(scene / "mask")
        shutil.rmtree(scene / "mask_visib")
        if also_missing:
            (scene / also_missing).unlink()
    done = ism(rendered, "--output", tmp_path / "out", "--limit", 1)
    assert done.returncode == 0, done.stderr
    assert "000001 has scene_gt.json but no mask, mask_visib" in done.stderr
    assert "calc_gt_masks.py" in done.stderr
    assert ("calc_gt_info.py" in done.stderr) == bool(also_missing)
    assert read_predictions(tmp_path / "out" / PREDICTIONS)


def change_cameras(dataset: Path, **changes: Any) -> None:
    for path in dataset.glob("test/*/scene_camera.json"):
        cameras = {image: {**camera, **changes} for image, camera in content(path).items()}
        path.write_text(json.dumps(cameras))


def test_depth_in_another_unit_is_told_once_with_the_number_of_images(
    ism: Callable[..., Done], tables: Path, tmp_path: Path
) -> None:
    scaled_tables = tmp_path / "tables"
    shutil.copytree(tables, scaled_tables)
    change_cameras(scaled_tables, depth_scale=0.0001)
    done = ism(scaled_tables, "--output", tmp_path / "out", "--limit", 2, "--worst", 0)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("warning: ") == 1
    assert "with depth_scale 0.0001, which no camera sees" in done.stderr
    assert "(2 of 2 images)" in done.stderr
    (told,) = content(tmp_path / "out" / "scores.json")["warnings"]
    assert (told["reason"], told["images"]) == ("depth_unit", 2)
    assert "which no camera sees" in (tmp_path / "out" / "report.html").read_text()
    again = ism(scaled_tables, "--output", tmp_path / "out", "--limit", 2, "--worst", 0)
    assert "(2 of 2 images)" in again.stderr


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cam_model": {"projection_model_type": "CameraModelType.FISHEYE624"}}, "image 0 is of a FISHEYE624 camera"),
        ({"cam_K": [0.96, 0, 0.5, 0, 1.28, 0.5, 0, 0, 1]}, "image 0: the camera matrix cannot be that of an image"),
    ],
)
def test_a_camera_that_cannot_be_used_is_refused_before_anything_is_done(
    ism: Callable[..., Done], tables: Path, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    other = tmp_path / "tables"
    shutil.copytree(tables, other)
    change_cameras(other, **changes)
    done = ism(other, "--output", tmp_path / "out")
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_cut_by_score_is_said_to_cost_precision(ism: Callable[..., Done], tables: Path, tmp_path: Path) -> None:
    done = ism(tables, "--output", tmp_path / "out", "--limit", 1, "--score-threshold", 0.6, "--worst", 0)
    assert "average precision will be lower" in done.stderr
    assert all(entry["score"] >= 0.6 for entry in read_predictions(tmp_path / "out" / PREDICTIONS))


def test_a_broken_dataset_ends_in_one_line(ism: Callable[..., Done], tmp_path: Path) -> None:
    done = ism(tmp_path / "nowhere")
    assert (done.returncode, done.stderr.startswith("ism: ")) == (2, True)
    assert len(done.stderr.strip().splitlines()) == 1
