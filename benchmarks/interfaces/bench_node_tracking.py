"""The node over DDS with `tracking: pose`: a film of five known objects at 640 x 480 and 30 Hz, all outputs subscribed.

    python benchmarks/interfaces/bench_node_tracking.py                       # a camera in the hand
    python benchmarks/interfaces/bench_node_tracking.py --film pushed_0 --seconds 60
    python benchmarks/interfaces/bench_node_tracking.py --max-cpu 0.5         # and that limit

The film (films/moving_tables.py, rendered once into --films) is played forwards and backwards, so that nothing jumps.
Measured quietly, and beside other programs that keep half of the cores busy: results a second, stamp to publish,
searches a second, cores that the node uses, pose errors while followed of instances that are at least 30 % visible, and
the share of these that is followed. Others on the machine make it all worse: cores that all use are printed, too.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for common and films

import numpy as np
import psutil
from common.measuring import machine, print_table, write_json
from common.node_session import START_TIMEOUT_S, stage_latencies_ms
from common.symmetries import symmetries_of
from films.film_files import RATE_HZ, FilmFrame, read_film, render_film
from films.moving_tables import HAND, films
from films.pose_errors import fine_symmetries, pose_error, rows_of_bodies
from ism_ros.msg import InstanceMaskArray
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import Image, PointCloud2
from tf2_msgs.msg import TFMessage
from vision_msgs.msg import Detection3DArray
from visualization_msgs.msg import MarkerArray

from ism_ros.runtime.machine import processor
from ism_ros.sim.benchmark_scenes.known_objects import (
    DEMO_OBJECT_SET,
    known_objects,
    make_scene_object,
    write_objects_file,
)
from ism_ros.sim.demo.camera_and_node import Session, SessionSettings, run_session
from ism_ros.sim.demo.ros_isolation import keep_traffic_local
from ism_ros.sim.truth_files import STAMPS

OTHERS: dict[str, type] = {
    "/ism/mask_image": Image,
    "/ism/masks": InstanceMaskArray,
    "/ism/overlay": Image,
    "/ism/points": PointCloud2,
    "/ism/markers": MarkerArray,
    "/tf": TFMessage,
}
"""Outputs that are only received."""
MIN_VISIBLE = 0.3
"""Visible share from which on an instance should be followed."""
WARM_UP_S = 5.0
"""Time before each measurement, seconds."""
Array = NDArray[np.float64]


@dataclass
class Received:
    """Poses that were published.

    Attributes:
        messages: Of ~/detections_3d, by stamp, nanoseconds.
    """

    messages: dict[int, Detection3DArray] = field(default_factory=dict)

    def take(self, message: Detection3DArray) -> None:
        """Keep a message."""
        self.messages[message.header.stamp.sec * 10**9 + message.header.stamp.nanosec] = message


def main() -> None:
    """Print and write the table."""
    options = _options()
    keep_traffic_local()
    out = options.output.resolve()
    out.mkdir(parents=True, exist_ok=True)
    meshes = known_objects(DEMO_OBJECT_SET)
    symmetries = {str(mesh.metadata["name"]): fine_symmetries(symmetries_of(mesh)) for mesh in meshes}
    kind, number = options.film.rsplit("_", 1)
    known = [make_scene_object(mesh) for mesh in meshes]
    render_film([*films(known, {kind: int(number) + 1})][-1], options.films)
    shown = list(read_film(options.films / options.film))
    settings = SessionSettings(
        out,
        out / "cache",
        scene=0,
        object_set=DEMO_OBJECT_SET,
        rate_hz=options.rate,
        folder=there_and_back(options.films / options.film, len(shown), out / "film"),
        objects_file=write_objects_file(meshes, out / "objects"),
        node={"tracking": "pose", "publish_tf": "true", "max_cpu": options.max_cpu},
        topics=("detections",),
    )
    rows = []
    with run_session(settings) as session:
        received = subscribe(session)
        wait_for_film(session, out / STAMPS, 2 * len(shown) - 2)
        for name, others in (("quiet", 0), ("half of the cores busy", max(1, len(os.sched_getaffinity(0)) // 2))):
            with busy_programs(others):
                session.spin(WARM_UP_S)
                measured = measure(session, received, options.seconds)
            rows.append({"": name, **measured, **judged(received, out / STAMPS, shown, symmetries)})
        diagnostics = dict(session.probe.diagnostics.values)
    print_table(f"{options.film}, {processor()}; {machine()}", rows)
    content = {"machine": machine(), "processor": processor(), "rows": rows, "diagnostics": diagnostics}
    write_json("bench_node_tracking", content)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--film", default="camera_0", help="which film: camera_0, pushed_0, ... (default: %(default)s)")
    parser.add_argument("--films", type=Path, default=Path("out/films"), help="folder that keeps the films")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of each measurement (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=RATE_HZ, help="frames a second (default: %(default)s)")
    parser.add_argument("--max-cpu", type=float, default=0.0, help="the node's parameter max_cpu")
    parser.add_argument("--output", type=Path, default=Path("out/bench_tracking"))
    return parser.parse_args()


def there_and_back(film: Path, count: int, folder: Path) -> Path:
    """Make a folder in which the frames of a film go forwards and backwards, for the fake camera.

    Args:
        film: Folder of the film.
        count: Its frames.
        folder: Where to; what was there is replaced.

    Returns:
        The folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    (folder / "camera.json").symlink_to((film / "camera.json").resolve())
    for view in range(2 * count - 2):
        for picture in ("rgb", "depth"):
            source = film / f"{frame_of_view(view, count)}_{picture}.png"
            (folder / f"{view}_{picture}.png").symlink_to(source.resolve())
    return folder


def frame_of_view(view: int, count: int) -> int:
    """Tell which of `count` frames of the film a view is."""
    return min(view, 2 * count - 2 - view)


def subscribe(session: Session) -> Received:
    """Subscribe to all outputs.

    Args:
        session: Camera and node.

    Returns:
        What will have been received.
    """
    received = Received()
    session.probe.create_subscription(Detection3DArray, "/ism/detections_3d", received.take, 10)
    for topic, kind in OTHERS.items():
        session.probe.create_subscription(kind, topic, lambda message: None, 10, raw=True)
    return received


def wait_for_film(session: Session, stamps: Path, views: int) -> None:
    """Wait until the camera has read all views and the node has published a result.

    Args:
        session: Camera and node.
        stamps: File of the camera's stamps.
        views: Their number.

    Raises:
        TimeoutError: That takes too long.
    """
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while not (session.probe.frames and views - 1 in set(views_by_stamp(stamps).values())):
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"no result within {START_TIMEOUT_S:.0f} s; {session.node.tail()}")
        session.spin(1.0)


def views_by_stamp(stamps: Path) -> dict[int, int]:
    """Read which view the camera published at each stamp, nanoseconds."""
    lines = stamps.read_text(encoding="utf-8").splitlines() if stamps.exists() else []
    pairs = [line.split(",") for line in lines if line.count(",") == 1 and not line.endswith(",")]
    return {int(stamp): int(view) for stamp, view in pairs}


@contextmanager
def busy_programs(count: int) -> Iterator[None]:
    """Keep cores busy.

    Args:
        count: How many.
    """
    programs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()


def measure(session: Session, received: Received, seconds: float) -> dict[str, Any]:
    """Measure rates, latencies and processor time.

    Args:
        session: Camera and node.
        received: Emptied first.
        seconds: How long.

    Returns:
        Columns of the table.
    """
    node = next(one for one in psutil.Process().children() if any("ism_node" in word for word in one.cmdline()))
    received.messages.clear()
    before, began_s, used_s, all_s = dict(session.probe.diagnostics.values), time.monotonic(), _used_s(node), _all_s()
    session.spin(seconds)
    after, elapsed_s = dict(session.probe.diagnostics.values), time.monotonic() - began_s
    cores, all_cores = (_used_s(node) - used_s) / elapsed_s, (_all_s() - all_s) / elapsed_s
    stage_ms = stage_latencies_ms(after)
    searched = int(after.get("frames_searched", 0)) - int(before.get("frames_searched", 0))
    return {
        "results/s": round(len(received.messages) / elapsed_s, 1),
        "stamp to publish, ms": stage_ms["stamp_to_publish"][0],
        "95 %": stage_ms["stamp_to_publish"][1],
        "following, ms": stage_ms["following"][0],
        "searches/s": round(searched / elapsed_s, 1),
        "cores": round(cores, 2),
        "ms of a core a frame": round(1e3 * cores / max(len(received.messages) / elapsed_s, 1e-9), 1),
        "of all programs": round(all_cores, 2),
    }


def _used_s(process: psutil.Process) -> float:
    used = process.cpu_times()
    return float(used.user + used.system)


def _all_s() -> float:
    """Seconds in which cores of the machine worked."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - times.iowait - times.guest - times.guest_nice)


def judged(received: Received, stamps: Path, shown: list[FilmFrame], symmetries: dict[str, Array]) -> dict[str, Any]:
    """Compare what was received with the truth.

    Args:
        received: Poses by stamp.
        stamps: File of the camera's stamps.
        shown: The film.
        symmetries: Of each object.

    Returns:
        Columns of the table.
    """
    views, errors, wanted, ids = views_by_stamp(stamps), [], 0, set()
    for stamp, message in received.messages.items():
        truth = shown[frame_of_view(views[stamp], len(shown))]
        poses = [one.results[0].pose.pose for one in message.detections]
        places_m = np.array([[pose.position.x, pose.position.y, pose.position.z] for pose in poses]).reshape(-1, 3)
        names = [one.results[0].hypothesis.class_id for one in message.detections]
        rows = rows_of_bodies(names, places_m, truth)
        for place, name in enumerate(truth.names):
            if name == HAND or truth.visible_share[place] < MIN_VISIBLE:
                continue
            wanted += 1
            if place in rows:
                row = rows[place]
                turn = poses[row].orientation
                rotation = Rotation.from_quat((turn.x, turn.y, turn.z, turn.w)).as_matrix()
                errors.append(pose_error(rotation, places_m[row], truth.object_to_camera[place], symmetries[name]))
                ids.add((name, message.detections[row].id))
    millimetres, degrees = np.array(errors).reshape(-1, 2).T
    return {
        "mm": round(float(np.median(millimetres)), 1),
        "mm, 95 %": round(float(np.percentile(millimetres, 95)), 1),
        "degrees": round(float(np.median(degrees)), 1),
        "followed": f"{100 * len(errors) / max(wanted, 1):.1f} %",
        "ids": len(ids),
    }


if __name__ == "__main__":
    main()
