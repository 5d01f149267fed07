"""`ism segment`, `ism eval` and `ism doctor` as a user runs them, with neural pairs found in a checkpoints folder.

The networks are small, in the layouts of the official checkpoints (test/shared/models/dummy_networks.py).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from dummy_networks import ANYTHING, DINOV2, PAIRS, install, install_pair
from same_detections import assert_same, boxed_by_masks, instances_of, instances_of_records

from ism_ros.bop.dataset import open_dataset
from ism_ros.bop.predictions import read_predictions
from ism_ros.config.settings import Settings
from ism_ros.config.sources import load_settings
from ism_ros.loading import load_model
from ism_ros.selftest.sample_files import SCENE
from ism_ros.sim.benchmark_scenes.table_scene import REALSENSE
from ism_ros.sim.bop_dataset import scale_camera, write_dataset

TIMEOUT_S = 600
pytestmark = pytest.mark.timeout(1200)  # several programs a test, on a machine that may be busy
FRAME = [f"--rgb={SCENE / 'rgb.jpg'}", f"--depth={SCENE / 'depth.png'}", f"--camera={SCENE / 'camera.json'}"]
OBJECTS = f"--objects={SCENE / 'objects.yaml'}"

Ism = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def ism(tmp_path: Path, sample_cache: Path) -> Ism:
    """The command line in a process of its own, in an empty folder, with checkpoints in `checkpoints`."""
    folder = tmp_path / "work"
    folder.mkdir()

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        own = {"ISM_CACHE_DIR": str(sample_cache), "ISM_CHECKPOINTS_DIR": str(tmp_path / "checkpoints")}
        own |= {"ISM_DEVICE": "cpu", "COLUMNS": "250", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        return subprocess.run(
            [sys.executable, "-m", "ism_ros.cli.main", *map(str, arguments)], cwd=folder, capture_output=True,
            text=True, timeout=TIMEOUT_S, env={**os.environ, **own},
        )  # fmt: skip

    return run


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rendered dataset of two tables, seen once each."""
    folder = tmp_path_factory.mktemp("bop") / "tables"
    write_dataset(folder, scenes=2, images=1, objects=2, object_set=4, camera=scale_camera(REALSENSE, 320))
    return folder


def settings(tmp_path: Path, sample_cache: Path, pair: str, **more: object) -> Settings:
    folders = {"cache_dir": str(sample_cache), "checkpoints_dir": str(tmp_path / "checkpoints")}
    return load_settings(None, {**PAIRS[pair], **ANYTHING, **folders, "device": "cpu", **more}, environment={})


def config(tmp_path: Path, pair: str) -> str:
    """--config with the pair, whose checkpoints are in the folder."""
    install_pair(tmp_path / "checkpoints", pair)
    (tmp_path / "ism.yaml").write_text(json.dumps({**PAIRS[pair], **ANYTHING}))
    return f"--config={tmp_path / 'ism.yaml'}"


@pytest.mark.parametrize(
    "pair",
    [pytest.param(pair, marks=pytest.mark.slow if pair == "fastsam" else pytest.mark.soak) for pair in PAIRS],
)
def test_ism_eval_and_ism_segment_find_what_the_engine_finds_in_the_same_image(
    pair: str, ism: Ism, tables: Path, sample_cache: Path, tmp_path: Path
) -> None:
    chosen = config(tmp_path, pair)
    done = ism("eval", tables, chosen, "--output=eval", "--worst=1")
    assert done.returncode == 0, done.stderr
    assert "Loading weights" not in done.stderr
    names = PAIRS[pair]["segmentor"], PAIRS[pair]["descriptor"]
    predictions = read_predictions(tmp_path / "work" / "eval" / f"ism-{names[0]}-{names[1]}_tables-test.json")
    dataset = open_dataset(tables)
    model = load_model(settings(tmp_path, sample_cache, pair))
    for spec in dataset.object_specs():
        model.add(spec)
    for image in dataset.images:
        expected = instances_of(model.segment(dataset.scene(image.scene_id).frame(image.image_id)))
        of_image = [entry for entry in predictions if (entry["scene_id"], entry["image_id"]) == tuple(image)[:2]]
        assert_same(instances_of_records(of_image, bop_boxes=True), boxed_by_masks(expected))

    first = dataset.images[0]
    scene = dataset.scene(first.scene_id).folder
    cameras = json.loads((scene / "scene_camera.json").read_text())
    (tmp_path / "camera.json").write_text(json.dumps(cameras[str(first.image_id)]))
    files = [f"--{kind}={scene / kind / f'{first.image_id:06d}.png'}" for kind in ("rgb", "depth")]
    models = [f"--cad={path}" for path in sorted((tables / "models").glob("*.ply"))]
    done = ism("segment", *files, f"--camera={tmp_path / 'camera.json'}", *models, chosen, "--output=segment")
    assert done.returncode == 0, done.stderr
    records = json.loads((tmp_path / "work" / "segment" / "detection_ism.json").read_text())
    of_first = [entry for entry in predictions if (entry["scene_id"], entry["image_id"]) == tuple(first)[:2]]
    segmented = boxed_by_masks(instances_of_records(records, bop_boxes=False))
    assert_same(segmented, instances_of_records(of_first, bop_boxes=True))


@pytest.mark.soak
def test_ism_doctor_says_that_random_networks_do_not_know_the_answer(ism: Ism, tmp_path: Path) -> None:
    install_pair(tmp_path / "checkpoints", "sam")
    done = ism("doctor", "--profile=accurate")
    assert done.returncode == 1, done.stderr
    line = next(line for line in done.stdout.splitlines() if " self-test " in line)
    assert line.startswith("failed")
    assert "sam + dinov2: " in line
    assert "Traceback" not in done.stdout + done.stderr


def truncated(file: Path) -> None:
    content = file.read_bytes()
    file.unlink()
    file.write_bytes(content[: len(content) // 2])


def another_model(file: Path) -> None:
    file.unlink()
    file.symlink_to(DINOV2)


def no_checkpoint(file: Path) -> None:
    file.unlink()
    file.write_text("<html>404</html>")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (Path.unlink, ["checkpoint sam/vit_h is not in", "ism weights download sam/vit_h"]),
        pytest.param(
            truncated,
            ["sam_vit_h_4b8939.pth is damaged or half downloaded", "ism weights verify"],
            marks=pytest.mark.slow,
        ),
        pytest.param(
            another_model,
            ["sam_vit_h_4b8939.pth is not an official SAM", "image_encoder.pos_embed"],
            marks=pytest.mark.slow,
        ),
        pytest.param(
            no_checkpoint,
            ["sam_vit_h_4b8939.pth is no file of PyTorch, it begins with b'<html>404</html>'"],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_missing_or_wrong_checkpoint_is_one_line(
    spoil: Callable[[Path], None], said: list[str], ism: Ism, tmp_path: Path
) -> None:
    install_pair(tmp_path / "checkpoints", "sam")
    spoil(tmp_path / "checkpoints" / "segment-anything" / "sam_vit_h_4b8939.pth")
    done = ism("segment", *FRAME, OBJECTS, "--profile=accurate", "--output=out")
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("ism: ")
    assert all(words in line for words in said), line


@pytest.mark.slow
def test_a_missing_checkpoint_is_one_line_in_ism_eval_and_a_failed_line_of_ism_doctor(
    ism: Ism, tables: Path, tmp_path: Path
) -> None:
    install(tmp_path / "checkpoints", "dinov2/vitl14")
    missing = "checkpoint sam/vit_h is not in"
    evaluated = ism("eval", tables, "--profile=accurate", "--output=eval")
    assert evaluated.returncode == 2
    line = evaluated.stderr.strip().splitlines()[-1]
    assert line.startswith(f"ism: {missing}")
    assert "Traceback" not in evaluated.stderr
    doctor = ism("doctor", "--profile=accurate")
    assert doctor.returncode == 1
    (line,) = (line for line in doctor.stdout.splitlines() if " self-test " in line)
    assert line.startswith("failed")
    assert missing in line
    assert "Traceback" not in doctor.stdout + doctor.stderr
