"""Small things in large frames: recall and time of the proposals, with tiles and without.

    python benchmarks/bench_tiles.py                          2592 x 1944, tiles off, 2, 3, 4 and auto
    python benchmarks/bench_tiles.py --width 1920 --height 1080

Tables (ism_ros/sim/benchmark_scenes) with 14 objects of the catalog, made small: their diagonals are 4 mm to 8 cm, as
of screws, nuts, cubes and mugs. The camera has the field of view of a RealSense at 640 x 480, at more pixels; its depth
is as noisy as there.

Recall: the share of the instances, at least half visible, that some proposal covers at IoU 0.5, by the area that is
visible. Seconds: of the proposals of a frame, all ways in turns; best of all frames.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from ism_ros.runtime.threads import configure_thread_env

configure_thread_env()

import numpy as np
import torch
from common.measuring import machine, print_table, write_json
from numpy.typing import NDArray

from ism_ros.data.camera import Camera
from ism_ros.data.masks import mask_areas
from ism_ros.data.proposals import Proposals
from ism_ros.runtime.machine import processor
from ism_ros.runtime.memory import peak_bytes
from ism_ros.segmentors.base import create_segmentor
from ism_ros.sim.benchmark_scenes.known_objects import make_scene_object
from ism_ros.sim.benchmark_scenes.objects.object_catalog import KINDS, make_object
from ism_ros.sim.benchmark_scenes.observation_cache import Observation, cached, source_fingerprint
from ism_ros.sim.benchmark_scenes.scene_rendering import render_scene
from ism_ros.sim.benchmark_scenes.table_scene import REALSENSE, make_scene
from ism_ros.sim.synthesis.sensor_model import sense

FIRST_SCENE, OBJECTS = 7000, 14
SMALLEST_M, LARGEST_M = 0.004, 0.08
"""Diagonals of objects, metres."""
AREAS_PX = (100, 200, 400, 1000, 4000, 10**9)
"""Ends of the ranges of visible area."""
MIN_VISIBLE_SHARE, MIN_IOU = 0.5, 0.5


def main() -> None:
    """Print and write recall and seconds."""
    options = _options()
    torch.set_num_threads(options.threads)
    ways = {tiles: create_segmentor("tiny", settings={"tiles": tiles}) for tiles in options.tiles}
    best: dict[str, list[tuple[int, float]]] = {tiles: [] for tiles in ways}
    seconds: dict[str, list[float]] = {tiles: [] for tiles in ways}
    counts: dict[str, list[int]] = {tiles: [] for tiles in ways}
    for number in range(FIRST_SCENE, FIRST_SCENE + options.scenes):
        frame, truth = _observe(number, options)
        seen = truth.masks[truth.visible_share >= MIN_VISIBLE_SHARE]
        for tiles, segmentor in ways.items():
            began = time.perf_counter()
            proposals = segmentor.propose(frame)
            seconds[tiles].append(time.perf_counter() - began)
            counts[tiles].append(len(proposals))
            best[tiles] += zip(seen.sum(axis=(1, 2)).tolist(), _best_ious(proposals, seen), strict=True)
    rows = [_row(tiles, best[tiles], counts[tiles], seconds[tiles]) for tiles in ways]
    where = f"{options.width} x {options.height}, {options.scenes} scenes; {processor()}; {machine(options.threads)}"
    print_table(f"recall at IoU 0.5 by visible pixels; {where}", rows)
    print(f"peak memory of the process: {peak_bytes() / 2**20:.0f} MB")
    write_json("bench_tiles", {"where": where, "peak_mb": peak_bytes() / 2**20, "rows": rows}, options.output)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=2592)
    parser.add_argument("--height", type=int, default=1944)
    parser.add_argument("--scenes", type=int, default=8)
    parser.add_argument("--tiles", nargs="+", default=["off", "2", "3", "4", "auto"])
    parser.add_argument("--threads", type=int, default=2, help="of PyTorch (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=Path("out/tiles"))
    return parser.parse_args()


def _observe(number: int, options: argparse.Namespace) -> Observation:
    """Render a table of small things, or read it from the cache."""
    size = f"{options.width}x{options.height}"
    file = options.output / "scenes" / source_fingerprint() / f"small_{number}_{size}.npz"
    return cached(file, lambda: _rendered(number, options.width, options.height))


def _rendered(number: int, width: int, height: int) -> Observation:
    rng = np.random.default_rng([23, number])
    meshes = [make_object(KINDS[int(rng.integers(len(KINDS)))], int(rng.integers(1 << 30))) for _ in range(OBJECTS)]
    for mesh in meshes:
        diagonal_m = np.exp(rng.uniform(np.log(SMALLEST_M), np.log(LARGEST_M)))
        mesh.apply_scale(diagonal_m / float(np.linalg.norm(mesh.extents)))
    intrinsics = REALSENSE.intrinsics * (max(width / REALSENSE.width, height / REALSENSE.height))
    intrinsics[:, 2] = (width - 1) / 2, (height - 1) / 2, 1
    scene = make_scene(
        number,
        [make_scene_object(mesh) for mesh in meshes],
        camera=Camera(intrinsics, width, height),
        objects=(OBJECTS, OBJECTS),
        known_in_scene=(OBJECTS, OBJECTS),
    )
    view, truth = render_scene(scene, samples=1)
    return sense(view.rgb, view.depth_m, scene.camera, number), truth


def _best_ious(proposals: Proposals, masks: NDArray[np.bool_]) -> list[float]:
    """The best IoU of any proposal with each true mask."""
    areas = mask_areas(proposals.masks).numpy()
    best = []
    for mask in masks:
        rows, columns = (slice(int(at.min()), int(at.max()) + 1) for at in np.nonzero(mask))
        shared = (proposals.masks[:, rows, columns].numpy() & mask[rows, columns]).sum(axis=(1, 2))
        best.append(float((shared / (areas + mask.sum() - shared)).max(initial=0.0)))
    return best


def _row(tiles: str, best: list[tuple[int, float]], counts: list[int], seconds: list[float]) -> dict[str, Any]:
    row: dict[str, Any] = {"tiles": tiles}
    for low, high in zip((0, *AREAS_PX), AREAS_PX, strict=False):
        hits = [iou >= MIN_IOU for area, iou in best if low <= area < high]
        name = f"{low} to {high}" if high < AREAS_PX[-1] else f"from {low}"
        row[name] = f"{np.mean(hits):.2f} of {len(hits)}" if hits else "-"
    return {
        **row,
        "all": f"{np.mean([iou >= MIN_IOU for _, iou in best]):.2f}",
        "proposals": round(float(np.mean(counts))),
        "best s": round(min(seconds), 2),
        "median s": round(float(np.median(seconds)), 2),
    }


if __name__ == "__main__":
    main()
