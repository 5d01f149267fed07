"""Scenes with exact truth, for training: python -m training.make_data --scenes 6000 --seed 0 --output DIR

First a bank of random objects, then scenes of them in shards of 50, on all cores. What is there already is kept: start
it again to go on, or with a larger --scenes for more. Everything follows from the seed.

DIR/objects/NNNN.npz           one object each (training/objects.py)
DIR/scenes/NNNN/*.npy          one shard: rgb (S, 240, 320, 3) uint8, depth_mm (S, 240, 320) uint16, instance
                               (S, 240, 320) uint8 (0: surroundings), camera (S, 4) float32 fx fy cx cy; and square
                               crops of single objects with what is around them: crop_rgb (M, 128, 128, 3) uint8,
                               crop_mask (M, 128, 128) bool, crop_object (M,), crop_rotation (M, 3, 3) object to camera
                               as seen along the ray to the object, crop_visible (M,) visible share, about
DIR/data.json                  seeds and counts

Scenes are rendered and sensed at 640 x 480 and kept at half of that; crops come from the full picture.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ism_ros.data.frame import Camera
from training.training_scenes.random_cameras import observe
from training.training_scenes.random_objects import BankObject, make_object, read_object, write_object
from training.training_scenes.random_scenes import TrainingScene, look, make_scene

SHARD = 50
CROP_PX = 128
CROP_ROOM = 1.25
"""Side of a crop, in longer sides of the object's box."""
LEAST_PIXELS = 80
"""Objects with fewer visible pixels at 640 x 480 are surroundings."""
LEAST_CROP_PX = 28

Arrays = dict[str, NDArray[Any]]


def main() -> None:
    options = _options()
    out: Path = options.output
    for folder in ("objects", "scenes"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    about = {"seed": options.seed, "objects": options.objects, "shard": SHARD}
    note = out / "data.json"
    if note.exists() and {**json.loads(note.read_text()), "scenes": 0} != {**about, "scenes": 0}:
        raise SystemExit(f"{note} was written with other seeds or objects: choose another folder")
    note.write_text(json.dumps({**about, "scenes": options.scenes}, indent=1) + "\n")
    missing = [n for n in range(options.objects) if not object_file(out, n).exists()]
    run_all(_write_objects, portions(missing, 25), (out, options.seed), options.jobs, "objects", 25)
    shards = [n for n in range(-(-options.scenes // SHARD)) if not shard_folder(out, n).exists()]
    run_all(_write_shard, shards, (out, options.seed, options.objects), options.jobs, "scenes", SHARD)


def object_file(out: Path, number: int) -> Path:
    return out / "objects" / f"{number:04d}.npz"


def shard_folder(out: Path, number: int) -> Path:
    return out / "scenes" / f"{number:04d}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=6000, help="how many scenes (default: %(default)s)")
    parser.add_argument("--objects", type=int, default=1200, help="how many objects (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="processes; one a core")
    return parser.parse_args()


def portions(numbers: list[int], size: int) -> list[list[int]]:
    """`numbers` in pieces of at most `size`."""
    return [numbers[first : first + size] for first in range(0, len(numbers), size)]


def run_all(
    work: Callable[..., None], tasks: Iterable[Any], arguments: tuple[Any, ...], jobs: int, unit: str, size: int
) -> None:
    """Calls work(task, *arguments) for all tasks in `jobs` processes, with a progress bar."""
    tasks = list(tasks)
    if not tasks:
        return
    with (
        ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_alone) as pool,
        tqdm(total=len(tasks) * size, unit=unit, smoothing=0.05) as bar,
    ):
        for done in as_completed([pool.submit(work, task, *arguments) for task in tasks]):
            done.result()
            bar.update(size)


def _alone() -> None:
    """One thread a process."""
    cv2.setNumThreads(1)


def _write_objects(numbers: list[int], out: Path, seed: int) -> None:
    for number in numbers:
        write_object(object_file(out, number), make_object(1_000_000 * seed + number))


class Bank(Sequence[BankObject]):
    """The first `count` objects of a folder of data, each read when it is asked for and then kept."""

    def __init__(self, out: Path, count: int) -> None:
        self._out = out
        self._objects: list[BankObject | None] = [None] * count

    def __len__(self) -> int:
        return len(self._objects)

    def __getitem__(self, number: int) -> BankObject:  # type: ignore[override]
        found = self._objects[number]
        if found is None:
            found = self._objects[number] = read_object(object_file(self._out, number))
        return found


@lru_cache(maxsize=1)
def _bank(out: Path, count: int) -> Bank:
    """The same for all shards of a process."""
    return Bank(out, count)


def _write_shard(number: int, out: Path, seed: int, objects: int) -> None:
    bank = _bank(out, objects)
    rows = [make_row(1_000_000 * seed + number * SHARD + k, bank) for k in range(SHARD)]
    unfinished = out / "scenes" / f"{number:04d}.part"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    for name in rows[0]:
        values = [row[name] for row in rows]
        stacked = np.concatenate(values) if name.startswith("crop_") else np.stack(values)
        np.save(unfinished / f"{name}.npy", stacked)
    unfinished.rename(shard_folder(out, number))


def make_row(seed: int, bank: Sequence[BankObject]) -> Arrays:
    """Scene number `seed` as arrays; see the top of this file."""
    scene = make_scene(seed, bank)
    view, shine = look(scene, bank, seed)
    frame = observe(view.rgb, view.depth_m, shine, scene.camera, seed)
    instance = np.where(view.instance < len(scene.placed), view.instance + 1, 0).astype(np.uint8)
    counts = np.bincount(instance.reshape(-1), minlength=len(scene.placed) + 1)
    instance[counts[instance] < LEAST_PIXELS] = 0
    assert frame.depth_m is not None
    camera = scene.camera
    half = cv2.resize(frame.rgb, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    return {
        "rgb": np.asarray(half, np.uint8),
        "depth_mm": np.clip(frame.depth_m[::2, ::2] * 1000, 0, 65535).round().astype(np.uint16),
        "instance": instance[::2, ::2],
        "camera": np.array((camera.fx / 2, camera.fy / 2, camera.cx / 2, camera.cy / 2), np.float32),
        **_crops(frame.rgb, instance, scene, bank, counts),
    }


def _crops(
    rgb: NDArray[np.uint8], instance: NDArray[np.uint8], scene: TrainingScene, bank: Sequence[BankObject], counts: Any
) -> Arrays:
    """Crops of all objects that are seen well enough."""
    out: dict[str, list[Any]] = {"rgb": [], "mask": [], "object": [], "rotation": [], "visible": []}
    for label, placed in enumerate(scene.placed, start=1):
        mask = instance == label
        if not mask.any():
            continue
        pose = scene.world_to_camera @ placed.object_to_world
        visible = min(1.0, counts[label] / max(_covered(bank[placed.index], placed.scale, pose, scene.camera), 1.0))
        x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
        if max(width, height) < LEAST_CROP_PX or visible < 0.2:
            continue
        side = CROP_ROOM * max(width, height)
        corner = np.array((x + width / 2, y + height / 2)) - side / 2
        to_crop = np.array(((CROP_PX / side, 0, 0), (0, CROP_PX / side, 0)))
        to_crop[:, 2] = -corner * CROP_PX / side
        size = (CROP_PX, CROP_PX)
        how = cv2.INTER_AREA if side > 2 * CROP_PX else cv2.INTER_LINEAR
        out["rgb"].append(cv2.warpAffine(rgb, to_crop, size, flags=how, borderMode=cv2.BORDER_REPLICATE))
        out["mask"].append(cv2.warpAffine(mask.astype(np.uint8), to_crop, size, flags=cv2.INTER_NEAREST) > 0)
        out["object"].append(placed.index)
        out["rotation"].append(along_ray(pose))
        out["visible"].append(visible)
    count = len(out["object"])
    return {
        "crop_rgb": np.array(out["rgb"], np.uint8).reshape(count, CROP_PX, CROP_PX, 3),
        "crop_mask": np.array(out["mask"], bool).reshape(count, CROP_PX, CROP_PX),
        "crop_object": np.array(out["object"], np.int32),
        "crop_rotation": np.array(out["rotation"], np.float32).reshape(count, 3, 3),
        "crop_visible": np.array(out["visible"], np.float32),
    }


def along_ray(pose: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotation (3, 3) that an object at `pose` (4, 4) would need in the middle of the picture to look as it does."""
    direction = pose[:3, 3] / np.linalg.norm(pose[:3, 3])
    axis = np.cross(direction, (0, 0, 1.0))
    vector = axis / max(float(np.linalg.norm(axis)), 1e-12) * np.arccos(np.clip(direction[2], -1, 1))
    return cv2.Rodrigues(vector)[0] @ pose[:3, :3]


def _covered(made: BankObject, scale: float, pose: NDArray[np.float64], camera: Camera) -> float:
    """Pixels that the whole object would cover, about: those of its surface points on a grid of 4 pixels."""
    points = made.points * scale @ pose[:3, :3].T + pose[:3, 3]
    ahead = points[points[:, 2] > 0.05]
    u = ahead[:, 0] / ahead[:, 2] * camera.fx / 4
    v = ahead[:, 1] / ahead[:, 2] * camera.fy / 4
    cells = np.unique(np.floor(np.stack([u, v], 1)).astype(np.int64), axis=0)
    return 16.0 * 0.85 * len(cells)


if __name__ == "__main__":
    main()
