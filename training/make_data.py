"""Makes scenes with exact truth for training.

    python -m training.make_data --scenes 6000 --seed 0 --output DIR

First a bank of random objects, then scenes of them in shards of 50, on all cores. What is there already is kept: start
it again to go on, or with a larger --scenes for more. Everything follows from the seed.

DIR/objects/NNNN.npz           one object each (training_scenes/random_objects.py)
DIR/scenes/NNNN/*.npy          one shard: rgb (S, 240, 320, 3) uint8, depth_mm (S, 240, 320) uint16, instance
                               (S, 240, 320) uint8 (0: surroundings), camera (S, 4) float32 fx fy cx cy; and square
                               crops of single objects with what is around them: crop_rgb (M, 128, 128, 3) uint8,
                               crop_mask (M, 128, 128) bool, crop_depth (M, 128, 128) int16 (stored_depth of
                               datasets/scene_arrays.py), crop_object (M,), crop_rotation (M, 3, 3) object to camera
                               as seen along the ray to the object, crop_visible (M,) visible share, approximately
DIR/data.json                  seeds and counts

Scenes are rendered and sensed at 640 x 480 and kept at half of that; crops come from the full picture.
"""

from __future__ import annotations

import argparse
import os
import shutil
from functools import lru_cache
from pathlib import Path

import numpy as np

from training.datasets.data_folder import SHARD, ObjectBank, object_file, shard_folder, write_description
from training.datasets.parallel_jobs import portions, run_all
from training.datasets.scene_arrays import make_row
from training.training_scenes.random_objects import make_object, write_object

SEED_STRIDE = 1_000_000
"""Seeds of objects and scenes a seed of the data."""


def main() -> None:
    """Make data as asked for on the command line.

    Raises:
        SystemExit: The folder holds data of other seeds.
    """
    options = _options()
    out: Path = options.output
    for folder in ("objects", "scenes"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    about = {"seed": options.seed, "objects": options.objects, "shard": SHARD}
    write_description(out, about, options.scenes)
    missing = [n for n in range(options.objects) if not object_file(out, n).exists()]
    run_all(_write_objects, portions(missing, 25), (out, options.seed), options.jobs, "objects", 25)
    shards = [n for n in range(-(-options.scenes // SHARD)) if not shard_folder(out, n).exists()]
    run_all(_write_shard, shards, (out, options.seed, options.objects), options.jobs, "scenes", SHARD)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=6000, help="how many scenes (default: %(default)s)")
    parser.add_argument("--objects", type=int, default=1200, help="how many objects (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="processes; one a core")
    return parser.parse_args()


def _write_objects(numbers: list[int], out: Path, seed: int) -> None:
    for number in numbers:
        write_object(object_file(out, number), make_object(SEED_STRIDE * seed + number))


@lru_cache(maxsize=1)
def _bank(out: Path, count: int) -> ObjectBank:
    """The same for all shards of a process."""
    return ObjectBank(out, count)


def _write_shard(number: int, out: Path, seed: int, objects: int) -> None:
    bank = _bank(out, objects)
    rows = [make_row(SEED_STRIDE * seed + number * SHARD + k, bank) for k in range(SHARD)]
    unfinished = out / "scenes" / f"{number:04d}.part"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    for name in rows[0]:
        values = [row[name] for row in rows]
        stacked = np.concatenate(values) if name.startswith("crop_") else np.stack(values)
        np.save(unfinished / f"{name}.npy", stacked)
    unfinished.rename(shard_folder(out, number))


if __name__ == "__main__":
    main()
