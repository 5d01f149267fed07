"""What several unit tests share."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ism_ros.bop.dataset import ImageKey
from ism_ros.bop.ground_truth import GroundTruth, TrueInstance
from ism_ros.data.rle import encode_rle

HEIGHT, WIDTH = 24, 32


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def write_image(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def square(x: int, y: int, width: int = 8, height: int = 8) -> np.ndarray:
    """A mask (HEIGHT, WIDTH) with one rectangle."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[y : y + height, x : x + width] = True
    return mask


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A BOP dataset of two objects and three tiny images: object 1 in each, half hidden behind object 2."""
    folder = tmp_path / "tiny"
    write_json(folder / "models" / "models_info.json", {"1": {"diameter": 10.0}, "2": {"diameter": 20.0}})
    for number in (1, 2):
        (folder / "models" / f"obj_{number:06d}.ply").write_text("ply\n")
    for scene_id, images in ((1, (0, 7)), (2, (3,))):
        scene = folder / "test" / f"{scene_id:06d}"
        cameras, poses, infos = {}, {}, {}
        for image_id in images:
            cameras[str(image_id)] = {"cam_K": [30, 0, 16, 0, 30, 12, 0, 0, 1], "depth_scale": 0.1}
            poses[str(image_id)] = [{"obj_id": 1}, {"obj_id": 2}]
            infos[str(image_id)] = [{"visib_fract": 0.5}, {"visib_fract": 1.0}]
            write_image(scene / "rgb" / f"{image_id:06d}.png", np.full((HEIGHT, WIDTH, 3), (10, 20, 30), np.uint8))
            write_image(scene / "depth" / f"{image_id:06d}.png", np.full((HEIGHT, WIDTH), 7500, np.uint16))
            whole, front = square(2, 3), square(6, 3)
            for index, (mask, visible) in enumerate(((whole, whole & ~front), (front, front))):
                name = f"{image_id:06d}_{index:06d}.png"
                write_image(scene / "mask" / name, 255 * mask.astype(np.uint8))
                write_image(scene / "mask_visib" / name, 255 * visible.astype(np.uint8))
        write_json(scene / "scene_camera.json", cameras)
        write_json(scene / "scene_gt.json", poses)
        write_json(scene / "scene_gt_info.json", infos)
    targets = [
        {"scene_id": scene_id, "im_id": image_id, "obj_id": 1, "inst_count": 1}
        for scene_id, image_id in ((2, 3), (1, 7), (1, 0))
    ]
    write_json(folder / "test_targets_bop19.json", targets)
    return folder


@pytest.fixture
def truth_of() -> Callable[..., GroundTruth]:
    """Truth of one image: truth_of((object, mask), (object, mask, ignored), ...)."""

    def make(*rows: Any) -> GroundTruth:
        image = ImageKey(1, 0)
        instances = []
        for object_id, mask, *ignored in rows:
            v, u = np.nonzero(mask)
            box = (float(u.min()), float(v.min()), float(np.ptp(u) + 1), float(np.ptp(v) + 1))
            area = int(mask.sum())
            instances.append(TrueInstance(image, object_id, encode_rle(mask), area, box, bool(ignored), 1.0))
        return GroundTruth((image,), {image: (HEIGHT, WIDTH)}, tuple(instances))

    return make


@pytest.fixture
def found() -> Callable[..., dict[str, Any]]:
    """A prediction in that image: found(object, mask, score)."""

    def make(object_id: int, mask: np.ndarray, score: float, image_id: int = 0) -> dict[str, Any]:
        v, u = np.nonzero(mask)
        return {
            "scene_id": 1,
            "image_id": image_id,
            "category_id": object_id,
            "score": score,
            "bbox": [int(u.min()), int(v.min()), int(np.ptp(u)) + 1, int(np.ptp(v)) + 1],
            "time": 0.5,
            "segmentation": encode_rle(mask),
        }

    return make


@pytest.fixture
def rectangle() -> Callable[..., np.ndarray]:
    return square
