"""How often depth that is not registered to color is told, how often depth that is, wrongly, and what it costs a frame.

    python benchmarks/components/bench_depth_registration.py
    python benchmarks/components/bench_depth_registration.py --scenes 20

Simulated tables at 640 x 480, each at three noises of the sensor: with registered depth; with that of a depth camera
beside the color camera (15 mm to either side, of 0.6 to 0.8 times its focal length, its principal point up to 10 pixels
off); and with the registered depth of another table, which has no scale and shift at all. "told" is how often depth is
called unregistered: right in the second case, wrong in the others. Errors of the scale, and of the place of the objects
in pixels, are medians of those that are told and their 95th percentiles; "right depth" is the share of readings within
2 cm of the true registered depth, afterwards and before. Milliseconds are medians of processor time.
Rendering takes some 3 seconds a table. Writes out/bench_depth_registration.json.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ism_ros.runtime.threads import configure_thread_env

configure_thread_env()
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for common

import cv2
import numpy as np
from common.measuring import print_table, write_json
from numpy.typing import NDArray
from rich.progress import track

from ism_ros.data.frame import Frame
from ism_ros.registration.frame_registration import measured_similarity, resampled_depth
from ism_ros.runtime.machine import processor
from ism_ros.sim.benchmark_scenes.depth_camera_beside import DepthCameraBeside, with_depth_of
from ism_ros.sim.benchmark_scenes.known_objects import known_objects, make_scene_object
from ism_ros.sim.benchmark_scenes.scene_rendering import render_scene
from ism_ros.sim.benchmark_scenes.table_scene import Scene, make_scene
from ism_ros.sim.synthesis.sensor_model import SensorModel, sense

NOISES = {"none": 0.0, "as of a D435": 1.0, "2.5 times that": 2.5}
"""Factors of the sensor's disparity noise, strayed borders and speckles."""
SCENES_OF_A_SET = 5
RIGHT_M = 0.02
MAX_PRINCIPAL_POINT_PX = 10.0


@dataclass(frozen=True)
class Table:
    """One table at one noise, with both kinds of depth.

    Attributes:
        registered: Its frame with registered depth.
        beside: Its frame with that of the camera beside.
        true_m: Registered depth without noise, (H, W) float32 metres.
        scale: Of the camera beside.
        shift_px: (2,) of the camera beside, at the distance of the objects.
        objects_px: (2,) middle of the objects relative to that of the image, in the depth camera.
    """

    registered: Frame
    beside: Frame
    true_m: NDArray[np.float32]
    scale: float
    shift_px: NDArray[np.float64]
    objects_px: NDArray[np.float64]


def main() -> None:
    """Print and write a row for each kind of depth and each noise."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=100, help="number of tables (default: %(default)s)")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    rows: list[dict[str, Any]] = []
    of_scenes = [_tables(scene) for scene in track(_scenes(options.scenes), "tables", total=options.scenes)]
    for name, tables in zip(NOISES, zip(*of_scenes, strict=True), strict=True):
        others = [*tables[SCENES_OF_A_SET:], *tables[:SCENES_OF_A_SET]]
        mixed = [(one.registered.rgb, _depth(other.registered)) for one, other in zip(tables, others, strict=True)]
        registered = [(one.registered.rgb, _depth(one.registered)) for one in tables]
        rows += [
            {"depth": "registered", "noise": name, **_told(registered)},
            {"depth": "of a camera beside", "noise": name, **_beside(tables)},
            {"depth": "of another table", "noise": name, **_told(mixed)},
        ]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    title = f"{options.scenes} tables at 640 x 480; {processor()}"
    rows = [{key: row.get(key, "") for key in columns} for row in rows]
    print_table(title, rows)
    write_json("bench_depth_registration", {"title": title, "rows": rows})


def _scenes(count: int) -> Iterator[Scene]:
    for number in range(count):
        if number % SCENES_OF_A_SET == 0:
            known = [make_scene_object(mesh) for mesh in known_objects(number // SCENES_OF_A_SET)]
        yield make_scene(number, known)


def _tables(scene: Scene) -> list[Table]:
    """Render a scene once, and sense it at each noise."""
    rng = np.random.default_rng([17, scene.seed])
    x, y = rng.uniform(-MAX_PRINCIPAL_POINT_PX, MAX_PRINCIPAL_POINT_PX, 2).tolist()
    beside = DepthCameraBeside(rng.uniform(0.6, 0.8), float(rng.choice([-0.015, 0.015])), (x, y))
    own = beside.scene(scene)
    view, own_view = render_scene(scene)[0], render_scene(own, samples=1)[0]
    positions_m = np.array([(scene.world_to_camera @ placed.object_to_world)[:3, 3] for placed in scene.placed])
    scale, shift = beside.similarity(scene.camera, float(np.median(positions_m[:, 2])))
    u, v = scene.camera.project(positions_m)
    width, height = scene.camera.width, scene.camera.height
    objects_px = np.array([np.median(u) - (width - 1) / 2, np.median(v) - (height - 1) / 2])
    tables = []
    for model in map(_sensor, NOISES.values()):
        registered = sense(view.rgb, view.depth_m, scene.camera, scene.seed, model=model)
        depth = sense(own_view.rgb, own_view.depth_m, own.camera, scene.seed, model=model)
        frames = registered, with_depth_of(registered, depth)
        tables.append(Table(*frames, view.depth_m, scale, np.array(shift), (objects_px - shift) / scale))
    return tables


def _sensor(factor: float) -> SensorModel:
    usual = SensorModel()
    return SensorModel(
        disparity_noise_px=factor * usual.disparity_noise_px,
        border_px=factor * usual.border_px,
        speckle=factor * usual.speckle,
    )


def _told(pairs: Sequence[tuple[NDArray[np.uint8], NDArray[np.float32]]]) -> dict[str, Any]:
    told, spent_ms = 0, []
    for rgb, depth_m in pairs:
        found, ms = _timed(rgb, depth_m)
        told += found is not None
        spent_ms.append(ms)
    return {"told": f"{told} of {len(pairs)}", "ms": round(float(np.median(spent_ms)), 1)}


def _beside(tables: Sequence[Table]) -> dict[str, Any]:
    spent_ms, scale_errors, place_errors_px, after, before = [], [], [], [], []
    for table in tables:
        depth_m = _depth(table.beside)
        found, ms = _timed(table.beside.rgb, depth_m)
        spent_ms.append(ms)
        if found is None:
            continue
        scale, shift_px = found
        scale_errors.append(abs(scale / table.scale - 1))
        moved = (scale - table.scale) * table.objects_px + np.array(shift_px) - table.shift_px
        place_errors_px.append(float(np.linalg.norm(moved)))
        after.append(_right(resampled_depth(depth_m, scale, shift_px), table.true_m))
        before.append(_right(depth_m, table.true_m))
    return {
        "told": f"{len(after)} of {len(tables)}",
        "ms": round(float(np.median(spent_ms)), 1),
        "scale error, %": _median_and_95(100 * np.array(scale_errors)),
        "objects off, px": _median_and_95(np.array(place_errors_px)),
        "right depth": f"{np.mean(after):.2f} after {np.mean(before):.2f}",
    }


def _timed(
    rgb: NDArray[np.uint8], depth_m: NDArray[np.float32]
) -> tuple[tuple[float, tuple[float, float]] | None, float]:
    began = time.process_time()
    found = measured_similarity(rgb, depth_m)
    return found, 1e3 * (time.process_time() - began)


def _right(depth_m: NDArray[np.float32], true_m: NDArray[np.float32]) -> float:
    return float((np.abs(depth_m - true_m) < RIGHT_M)[(depth_m > 0) & (true_m > 0)].mean())


def _depth(frame: Frame) -> NDArray[np.float32]:
    assert frame.depth_m is not None
    return frame.depth_m


def _median_and_95(values: NDArray[np.float64]) -> str:
    return f"{np.median(values):.1f}, {np.percentile(values, 95):.1f}"


if __name__ == "__main__":
    main()
