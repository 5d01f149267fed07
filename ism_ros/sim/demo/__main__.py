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
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from ism_ros.sim import truth_files
from ism_ros.sim.demo.subprocesses import ChildError, keep_traffic_local
from ism_ros.sim.demo.truth_comparison import ObjectSummary, compare, summarise
from ism_ros.sim.benchmark_scenes.table_scene import DEMO_OBJECT_SET, DEMO_SCENE

if TYPE_CHECKING:
    from ism_ros.sim.demo.subscriber_probe import Heard

STAGE_PREFIX, STAGE_SUFFIX = "latency_ms.", ".median"
LEAST_RESULTS = 5


def main(arguments: Sequence[str] | None = None) -> int:
    """0 where objects were found; 1, with one clear message, where not."""
    options = _options(arguments)
    console = Console()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    keep_traffic_local()
    try:
        return run(options, console)
    except ImportError as error:
        console.print(f"ROS 2 is not there ({error}): run `make demo`, or source a distribution first.")
    except (ChildError, TimeoutError) as error:
        console.print(f"The demo stopped: {error}", markup=False, highlight=False, soft_wrap=True)
    except KeyboardInterrupt:
        console.print("stopped")
    return 1


def run(options: argparse.Namespace, console: Console) -> int:
    """Runs camera and node, listens, compares, writes and prints."""
    from ism_ros.sim.demo.camera_and_node import Setting, running

    out = Path(options.output).resolve()
    out.mkdir(parents=True, exist_ok=True)
    cache = Path(options.cache).resolve() if options.cache else out / "cache"
    with (
        running(Setting(out, cache, options.scene, options.object_set, options.rate)) as session,
        _progress(console) as progress,
    ):
        task = progress.add_task("starting", total=None)
        session.wait_for_first(options.timeout, lambda doing: progress.update(task, description=doing))
        progress.update(task, total=options.seconds)
        listener = session.listener
        start = time.monotonic()
        # On a slow machine a few results more, so that there is something to average.
        while (elapsed := time.monotonic() - start) < options.seconds or (
            listener.complete_frames < LEAST_RESULTS and elapsed < 4 * options.seconds
        ):
            session.listen(0.5)
            told = f"listening: {listener.complete_frames} results"
            progress.update(task, completed=min(elapsed, options.seconds), description=told)
        diagnostics = dict(listener.report.values)

    views, stamps = truth_files.read_views(out), truth_files.read_stamps(out)
    shown = _newest_with_overlay(listener.heard, stamps)
    if shown is None:
        raise TimeoutError(f"detections came, but no overlay with them; see {out / 'node.log'}")
    matches = {
        stamp: compare(frame.detections, frame.labels, views[stamps[stamp]])
        for stamp, frame in listener.heard.items()
        if frame.detections is not None and frame.labels is not None and stamps.get(stamp) in views
    }
    summary = summarise(matches, {stamp: views[stamps[stamp]] for stamp in matches}, shown)
    rate = _rate_hz(listener.heard)
    picture = listener.heard[shown].overlay
    cv2.imwrite(str(out / "overlay.png"), cv2.cvtColor(np.asarray(picture), cv2.COLOR_RGB2BGR))
    content = {
        "stamp_ns": shown,
        "truth_view": stamps[shown],
        "detections": _rows(listener.heard[shown]),
        "objects": [vars(row) for row in summary],
        "rate_hz": round(rate, 2),
        "diagnostics": diagnostics,
    }
    (out / "detections.json").write_text(json.dumps(_finite(content), indent=1))
    _print_objects(console, summary, len(matches))
    print_speed(console, diagnostics)
    skipped = diagnostics.get("frames_dropped", "?")
    console.print(f"frame rate: {rate:.1f} results a second; {skipped} frames skipped for newer ones")
    console.print(f"picture: {_short(out / 'overlay.png')}")
    console.print(f"numbers: {_short(out / 'detections.json')}; truth: {_short(out / truth_files.TRUTH)}")
    return 0 if any(row.found for row in summary) else 1


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m ism_ros.sim.demo",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--output", default="out/demo", help="folder of results (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=15.0, help="how long to listen (default: %(default)s)")
    parser.add_argument("--timeout", type=float, default=420.0, help="longest wait for the first result, seconds")
    parser.add_argument("--scene", type=int, default=DEMO_SCENE, help="number of the simulated table")
    parser.add_argument(
        "--object-set", type=int, default=DEMO_OBJECT_SET, help="number of the set of five known objects"
    )
    parser.add_argument("--rate", type=float, default=10.0, help="the camera's frames a second")
    parser.add_argument("--cache", default="", help="folder kept from run to run (default: OUTPUT/cache)")
    return parser.parse_args(arguments)


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=30), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True)


def _newest_with_overlay(heard: Mapping[int, Heard], stamps: Mapping[int, int]) -> int | None:
    """Stamp of the newest frame of which everything came."""
    ready = [stamp for stamp, frame in heard.items() if frame.complete and frame.overlay is not None]
    return max((stamp for stamp in ready if stamp in stamps), default=None)


def _rate_hz(heard: Mapping[int, Heard]) -> float:
    """Results a second, between the first and the last."""
    times = sorted(frame.heard_s for frame in heard.values() if frame.complete)
    return (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else 0.0


def _rows(frame: Heard) -> list[dict[str, Any]]:
    if frame.detections is None or frame.labels is None:
        return []
    rows = []
    for number, detection in enumerate(frame.detections.detections, start=1):
        hypothesis = detection.results[0]
        centre, size = detection.bbox.center.position, (detection.bbox.size_x, detection.bbox.size_y)
        position, turn = hypothesis.pose.pose.position, hypothesis.pose.pose.orientation
        rows.append(
            {
                "id": detection.id,
                "object": hypothesis.hypothesis.class_id,
                "score": round(hypothesis.hypothesis.score, 4),
                "bbox_xywh": [centre.x - size[0] / 2, centre.y - size[1] / 2, *size],
                "pixels": int(np.count_nonzero(frame.labels == number)),
                "position_m": [position.x, position.y, position.z],
                "orientation_xyzw": [turn.x, turn.y, turn.z, turn.w],
            }
        )
    return rows


def _finite(value: Any) -> Any:
    """The same with null for NaN, which JSON has not: a pose that is not known."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _print_objects(console: Console, summary: list[ObjectSummary], frames: int) -> None:
    table = Table(title=f"Score and IoU in the picture; mean IoU, found and false over {frames} frames")
    table.add_column("object")
    for column in ("score", "IoU with truth", "mean IoU", "found", "false"):
        table.add_column(column, justify="right")
    for row in summary:
        table.add_row(
            row.name,
            "-" if row.score is None else f"{row.score:.3f}",
            "-" if row.iou is None else f"{row.iou:.3f}",
            "-" if row.mean_iou is None else f"{row.mean_iou:.3f}",
            f"{row.found} of {row.visible}",
            str(row.false),
        )
    console.print(table)


def print_speed(console: Console, diagnostics: Mapping[str, str]) -> None:
    """The node's own stages, as /diagnostics has them."""
    table = Table(title="Speed of the node")
    table.add_column("stage")
    for column in ("median, ms", "95 %, ms"):
        table.add_column(column, justify="right")
    for key, median in diagnostics.items():
        if key.startswith(STAGE_PREFIX) and key.endswith(STAGE_SUFFIX):
            stage = key[len(STAGE_PREFIX) : -len(STAGE_SUFFIX)]
            percentile = diagnostics.get(f"{STAGE_PREFIX}{stage}.percentile_95", "")
            table.add_row(stage.replace("_", " "), median, percentile)
    console.print(table)


def _short(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


if __name__ == "__main__":
    sys.exit(main())
