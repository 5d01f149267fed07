"""The demo: a fake RealSense and the node, each a process of its own, over real DDS; what was found, against the truth.

    python -m ism_ros.sim.demo --output out/demo

Writes into the output folder: overlay.png (what rviz2 would show), detections.json, truth.json with truth_N.png,
cad/ (the CAD files the node was given, with objects.yaml), camera.log and node.log.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from ism_ros.sim import truth_files
from ism_ros.sim.children import Child, ChildError, installed_program, keep_traffic_local
from ism_ros.sim.comparison import ObjectSummary, compare, summarise
from ism_ros.sim.scenes import known_objects
from ism_ros.sim.shapes import export_cad

TOPICS = {
    "rgb": "/camera/camera/color/image_raw",
    "depth": "/camera/camera/aligned_depth_to_color/image_raw",
    "camera_info": "/camera/camera/color/camera_info",
}
STAGE_PREFIX, STAGE_SUFFIX = "latency_ms.", ".median"


def main(arguments: Sequence[str] | None = None) -> int:
    """0 where objects were found; 1, with one clear message, where not."""
    options = _options(arguments)
    console = Console()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return run(options, console)
    except ImportError as error:
        console.print(
            f"[red]ROS 2 is not there ({error}): run `make demo`, or source a distribution first.[/red]"
        )
    except (ChildError, TimeoutError) as error:
        console.print(f"[red]The demo stopped:[/red] {error}", highlight=False, markup=True)
    except KeyboardInterrupt:
        console.print("stopped")
    return 1


def run(options: argparse.Namespace, console: Console) -> int:
    """Starts everything, listens, compares, prints; everything started is ended."""
    out = Path(options.output).resolve()
    out.mkdir(parents=True, exist_ok=True)
    keep_traffic_local()
    import rclpy

    from ism_ros.sim.listener import Listener

    objects_file = write_objects(out / "cad", options.object_set)
    cache = Path(options.cache).resolve() if options.cache else out / "cache"
    with ExitStack() as stack:
        camera = stack.enter_context(
            Child("the fake camera", _camera_command(options, out, cache), out / "camera.log")
        )
        node = stack.enter_context(Child("the node", _node_command(objects_file, cache), out / "node.log"))
        rclpy.init(args=[])
        stack.callback(rclpy.try_shutdown)
        listener = Listener()
        stack.callback(listener.destroy_node)
        with _progress(console) as progress:
            _wait_for_first(listener, (camera, node), progress, options.timeout)
            _listen(listener, (camera, node), progress, options.seconds)
        views, stamps = truth_files.read_views(out), truth_files.read_stamps(out)

    shown = _newest_with_overlay(listener, stamps)
    if shown is None:
        raise TimeoutError(f"detections came, but no overlay with them; see {out / 'node.log'}")
    matches = {
        stamp: compare(frame.detections, frame.labels, views[stamps[stamp]])
        for stamp, frame in listener.heard.items()
        if frame.detections is not None and frame.labels is not None and stamps.get(stamp) in views
    }
    summary = summarise(matches, {stamp: views[stamps[stamp]] for stamp in matches}, shown)
    _write_picture(out / "overlay.png", listener.heard[shown].overlay)
    rate = _rate_hz(listener)
    _write_detections(out / "detections.json", listener, shown, stamps[shown], summary, rate)
    _print_objects(console, summary, len(matches))
    _print_speed(console, listener.report.values, rate)
    console.print(f"picture: [bold]{_short(out / 'overlay.png')}[/bold]   numbers: {_short(out / 'detections.json')}, "
                  f"truth: {_short(out / 'truth.json')}")  # fmt: skip
    return 0 if any(row.found for row in summary) else 1


def write_objects(folder: Path, object_set: int) -> Path:
    """The CAD files of the known objects and the objects.yaml that names them."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in [*folder.glob("*.glb"), *folder.glob("*.ply")]:
        old.unlink()
    entries = [
        {"id": mesh.metadata["name"], "cad": export_cad(mesh, folder).name, "units": "m"}
        for mesh in known_objects(object_set)
    ]
    objects_file = folder / "objects.yaml"
    objects_file.write_text(yaml.safe_dump({"objects": entries}, sort_keys=False))
    return objects_file


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m ism_ros.sim.demo",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--output", default="out/demo", help="folder of results (default: %(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=15.0, help="how long to listen (default: %(default)s)"
    )
    parser.add_argument(
        "--timeout", type=float, default=420.0, help="longest wait for the first result, seconds"
    )
    parser.add_argument("--scene", type=int, default=1, help="number of the simulated table")
    parser.add_argument("--object-set", type=int, default=1, help="number of the set of five known objects")
    parser.add_argument("--rate", type=float, default=10.0, help="the camera's frames a second")
    parser.add_argument("--cache", default="", help="folder kept from run to run (default: OUTPUT/cache)")
    return parser.parse_args(arguments)


def _camera_command(options: argparse.Namespace, out: Path, cache: Path) -> list[str]:
    parameters = {
        "scene": options.scene,
        "object_set": options.object_set,
        "rate": float(options.rate),
        "truth_dir": f"'{out}'",
        "cache_dir": f"'{cache}'",
    }
    given = [word for name, value in parameters.items() for word in ("-p", f"{name}:={value}")]
    return [*installed_program("fake_camera", "ism_ros.sim.camera_node"), "--ros-args", *given]


def _node_command(objects_file: Path, cache: Path) -> list[str]:
    renamed = [word for name, topic in TOPICS.items() for word in ("-r", f"{name}:={topic}")]
    given = ["-p", f"objects_file:='{objects_file}'", "-p", f"cache_dir:='{cache}'"]
    return [*installed_program("ism_node", "ism_ros.node.main"), "--ros-args", *renamed, *given]


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=30), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True)


def _wait_for_first(
    listener: Any, children: tuple[Child, Child], progress: Progress, timeout_s: float
) -> None:
    """Until the node has answered a first frame. TimeoutError says what it was doing last."""
    import rclpy

    camera, node = children
    task = progress.add_task("starting the camera and the node", total=None)
    deadline = time.monotonic() + timeout_s
    while not listener.complete_frames:
        if time.monotonic() > deadline:
            raise TimeoutError(
                f"no result within {timeout_s:.0f} s; the node's last word: {listener.report.message or 'none'}; "
                f"the end of {node.log}:\n{node.tail()}"
            )
        for child in children:
            child.check()
        rclpy.spin_once(listener, timeout_sec=0.2)
        state = listener.report.values.get("state", "")
        if state == "active" and "publishing" not in camera.tail():
            doing = "the camera is rendering its first view"
        elif state == "active":
            doing = "active, waiting for the first result"
        else:
            doing = listener.report.values.get("progress") or "starting the camera and the node"
        progress.update(task, description=doing)
    progress.remove_task(task)


def _listen(listener: Any, children: tuple[Child, Child], progress: Progress, seconds: float) -> None:
    import rclpy

    task = progress.add_task("listening", total=seconds)
    start = time.monotonic()
    while (elapsed := time.monotonic() - start) < seconds:
        rclpy.spin_once(listener, timeout_sec=0.1)
        for child in children:
            child.check()
        progress.update(task, completed=elapsed, description=f"listening: {listener.complete_frames} results")
    # Parts of the last frame may still be on their way.
    end = time.monotonic() + 2.0
    while time.monotonic() < end and not all(frame.complete for frame in list(listener.heard.values())[1:]):
        rclpy.spin_once(listener, timeout_sec=0.1)
    progress.remove_task(task)


def _newest_with_overlay(listener: Any, stamps: dict[int, int]) -> int | None:
    """Stamp of the newest frame of which everything came."""
    ready = [
        s
        for s, frame in listener.heard.items()
        if frame.complete and frame.overlay is not None and s in stamps
    ]
    return max(ready, default=None)


def _rate_hz(listener: Any) -> float:
    """Results a second, between the first and the last."""
    times = sorted(frame.heard_s for frame in listener.heard.values() if frame.complete)
    return (len(times) - 1) / (times[-1] - times[0]) if len(times) > 2 else 0.0


def _write_picture(path: Path, rgb: Any) -> None:
    cv2.imwrite(str(path), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))


def _write_detections(
    path: Path, listener: Any, shown: int, view: int, summary: list[ObjectSummary], rate_hz: float
) -> None:
    frame = listener.heard[shown]
    rows = []
    for number, detection in enumerate(frame.detections.detections, start=1):
        hypothesis = detection.results[0]
        centre, size = detection.bbox.center.position, detection.bbox
        position, turn = hypothesis.pose.pose.position, hypothesis.pose.pose.orientation
        rows.append(
            {
                "id": detection.id,
                "object": hypothesis.hypothesis.class_id,
                "score": round(hypothesis.hypothesis.score, 4),
                "bbox_xywh": [
                    centre.x - size.size_x / 2,
                    centre.y - size.size_y / 2,
                    size.size_x,
                    size.size_y,
                ],
                "pixels": int((frame.labels == number).sum()),
                "position_m": [position.x, position.y, position.z],
                "orientation_xyzw": [turn.x, turn.y, turn.z, turn.w],
            }
        )
    content = {
        "stamp_ns": shown,
        "truth_view": view,
        "detections": rows,
        "objects": [vars(row) for row in summary],
        "rate_hz": round(rate_hz, 2),
        "diagnostics": listener.report.values,
    }
    # JSON has no NaN: a pose that is not known is null.
    path.write_text(json.dumps(_finite(content), indent=1))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _print_objects(console: Console, summary: list[ObjectSummary], frames: int) -> None:
    table = Table(title="Objects in the picture, and over all frames")
    table.add_column("object")
    for column in ("score", "IoU with truth", "mean IoU", f"found in of {frames} frames"):
        table.add_column(column, justify="right")
    for row in summary:
        table.add_row(
            row.name,
            "-" if row.score is None else f"{row.score:.3f}",
            "-" if row.iou is None else f"{row.iou:.3f}",
            "-" if row.mean_iou is None else f"{row.mean_iou:.3f}",
            f"{row.found} of {row.visible}" if row.visible else f"{row.found}, not there",
        )
    console.print(table)


def _print_speed(console: Console, values: dict[str, str], rate_hz: float) -> None:
    table = Table(title="Speed")
    table.add_column("stage")
    for column in ("median, ms", "95 %, ms"):
        table.add_column(column, justify="right")
    for key, median in values.items():
        if key.startswith(STAGE_PREFIX) and key.endswith(STAGE_SUFFIX):
            stage = key[len(STAGE_PREFIX) : -len(STAGE_SUFFIX)]
            table.add_row(
                stage.replace("_", " "), median, values.get(f"{STAGE_PREFIX}{stage}.percentile_95", "")
            )
    console.print(table)
    dropped = values.get("frames_dropped", "?")
    console.print(f"frame rate: [bold]{rate_hz:.1f}[/bold] results a second, {dropped} older frames skipped")


def _short(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


if __name__ == "__main__":
    sys.exit(main())
