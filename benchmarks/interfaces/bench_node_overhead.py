"""What the node adds to the model: synchronisation, conversion, publishing and /diagnostics, over real DDS.

    python benchmarks/interfaces/bench_node_overhead.py --frames 60

A fake camera (640 x 480 at 30 Hz, simulated table) and the node with five objects, each a process of its own; one run
for each set of subscribers, from nobody to all. The numbers are the node's own, from /diagnostics: median and 95th
percentile of each stage in milliseconds. Prints a table for each run and their sums beside the target of 8 ms, and
writes out/bench/node_overhead.json.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ism_ros.sim.benchmark_scenes.known_objects import DEMO_OBJECT_SET
from ism_ros.sim.benchmark_scenes.table_scene import DEMO_SCENE
from ism_ros.sim.demo.camera_and_node import Session, SessionSettings, run_session
from ism_ros.sim.demo.ros_isolation import keep_traffic_local

TARGET_MS = 8.0
PORCH_STAGES = ("synchronisation", "conversion", "publishing")
SUBSCRIBERS = {
    "nobody": (),
    "detections": ("detections",),
    "detections, mask_image": ("detections", "mask_image"),
    "detections, mask_image, masks": ("detections", "mask_image", "masks"),
    "all with overlay": ("detections", "mask_image", "masks", "overlay"),
}
START_TIMEOUT_S = 600.0

Latencies = dict[str, tuple[float, float]]


def main() -> int:
    """0 where synchronisation, conversion and publishing stay below the target with all but the overlay."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=60, help="frames for each set of subscribers")
    parser.add_argument("--rate", type=float, default=30.0, help="the camera's frames a second")
    parser.add_argument("--output", type=Path, default=Path("out/bench"), help="folder of logs and numbers")
    options = parser.parse_args()
    keep_traffic_local()
    out = options.output.resolve()
    out.mkdir(parents=True, exist_ok=True)
    setting = SessionSettings(out, out / "cache", scene=DEMO_SCENE, object_set=DEMO_OBJECT_SET, rate_hz=options.rate)
    console = Console()
    measured: dict[str, Latencies] = {}
    for name, topics in SUBSCRIBERS.items():
        with run_session(replace(setting, topics=topics)) as session, console.status(name):
            measured[name] = latencies(session, options.frames)
        console.print(table_of(name, measured[name]))
    sums = {name: porch_ms(latency) for name, latency in measured.items()}
    for name, (median_ms, percentile_95_ms) in sums.items():
        console.print(f"{' + '.join(PORCH_STAGES)}, subscribed {name}: {median_ms:.1f} / {percentile_95_ms:.1f} ms")
    console.print(f"target: below {TARGET_MS:g} ms; {machine()}")
    record = {"machine": machine(), "frames": options.frames, "milliseconds": measured, "porch": sums}
    (out / "node_overhead.json").write_text(json.dumps(record, indent=2), encoding="utf-8")
    return 0 if all(median_ms < TARGET_MS for name, (median_ms, _) in sums.items() if "overlay" not in name) else 1


def latencies(session: Session, frames: int) -> Latencies:
    """Median and 95th percentile of each stage in milliseconds, once the node has answered so many frames."""
    waited_s = 0.0
    while int(session.listener.report.values.get("frames_processed", "0")) < frames:
        if waited_s > START_TIMEOUT_S:
            raise TimeoutError(f"no {frames} frames in {START_TIMEOUT_S:g} s: {session.listener.report.message}")
        session.listen(1.0)
        session.listener.heard.clear()
        waited_s += 1.0
    values = session.listener.report.values
    stages = [key.split(".")[1] for key in values if key.startswith("latency_ms.") and key.endswith(".median")]
    return {
        stage: (float(values[f"latency_ms.{stage}.median"]), float(values[f"latency_ms.{stage}.percentile_95"]))
        for stage in stages
    }


def porch_ms(latency: Latencies) -> tuple[float, float]:
    """What the node itself takes of a frame: sums of medians and of 95th percentiles."""
    return tuple(sum(latency[stage][column] for stage in PORCH_STAGES) for column in (0, 1))  # type: ignore[return-value]


def table_of(name: str, latency: Latencies) -> Table:
    table = Table(title=f"subscribed: {name}; {machine()}")
    for column, side in (("stage", "left"), ("median, ms", "right"), ("95 %, ms", "right")):
        table.add_column(column, justify=side)  # type: ignore[arg-type]
    for stage, (median_ms, percentile_95_ms) in latency.items():
        table.add_row(stage.replace("_", " "), f"{median_ms:.1f}", f"{percentile_95_ms:.1f}")
    return table


def machine() -> str:
    """Cores, and how busy others keep them."""
    return f"{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}"


if __name__ == "__main__":
    sys.exit(main())
