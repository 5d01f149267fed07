"""What the node adds to the model: synchronisation, conversion, publishing and /diagnostics, over real DDS.

    python benchmarks/interfaces/bench_node_overhead.py --frames 60

A fake camera (640 x 480 at 30 Hz, simulated table) and the node with five objects, each a process of its own; one run
for each set of subscribers, from nobody to all. The numbers are the node's own, from /diagnostics: median and 95th
percentile of each stage in milliseconds. Prints a table for each run and their sums with the target of 8 ms, and
writes out/bench/node_overhead.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for common

from common.measuring import machine
from common.node_session import (
    NODE_STAGES,
    START_TIMEOUT_S,
    add_output_option,
    demo_session,
    node_overhead_ms,
    stage_latencies_ms,
)
from rich.console import Console
from rich.table import Table

from ism_ros.sim.demo.camera_and_node import Session, run_session
from ism_ros.sim.demo.ros_isolation import keep_traffic_local

TARGET_MS = 8.0
"""What the node may add to a frame, milliseconds."""
SUBSCRIBERS: dict[str, tuple[str, ...]] = {
    "nobody": (),
    "detections": ("detections",),
    "detections, mask_image": ("detections", "mask_image"),
    "detections, mask_image, masks": ("detections", "mask_image", "masks"),
    "all with overlay": ("detections", "mask_image", "masks", "overlay"),
}
"""Topics that are subscribed to in each run."""

Latencies = dict[str, tuple[float, float]]


def main() -> int:
    """Print and write the stages of each run.

    Returns:
        0 where synchronisation, conversion and publishing stay below the target with all but the overlay, else 1.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=60, help="frames for each set of subscribers")
    parser.add_argument("--rate", type=float, default=30.0, help="the camera's frames a second")
    add_output_option(parser)
    options = parser.parse_args()
    keep_traffic_local()
    settings = demo_session(options.output, options.rate)
    console = Console()
    measured: dict[str, Latencies] = {}
    for name, topics in SUBSCRIBERS.items():
        with run_session(replace(settings, topics=topics)) as session, console.status(name):
            measured[name] = latencies(session, options.frames)
        console.print(table_of(name, measured[name]))
    sums = {name: node_overhead_ms(latency) for name, latency in measured.items()}
    for name, (median_ms, percentile_95_ms) in sums.items():
        console.print(f"{' + '.join(NODE_STAGES)}, subscribed {name}: {median_ms:.1f} / {percentile_95_ms:.1f} ms")
    console.print(f"target: below {TARGET_MS:g} ms; {machine()}")
    record = {"machine": machine(), "frames": options.frames, "milliseconds": measured, "node overhead": sums}
    (settings.out / "node_overhead.json").write_text(json.dumps(record, indent=2), encoding="utf-8")
    return 0 if all(median_ms < TARGET_MS for name, (median_ms, _) in sums.items() if "overlay" not in name) else 1


def latencies(session: Session, frames: int) -> Latencies:
    """Wait for a number of results.

    Args:
        session: Camera and node.
        frames: How many results.

    Returns:
        Median and 95th percentile of each stage, milliseconds.

    Raises:
        TimeoutError: They do not come in time.
    """
    waited_s = 0.0
    probe = session.probe
    while int(probe.diagnostics.values.get("frames_processed", "0")) < frames:
        if waited_s > START_TIMEOUT_S:
            raise TimeoutError(f"no {frames} frames in {START_TIMEOUT_S:g} s: {probe.diagnostics.message}")
        session.spin(1.0)
        probe.frames.clear()
        waited_s += 1.0
    return stage_latencies_ms(probe.diagnostics.values)


def table_of(name: str, latency: Latencies) -> Table:
    """Lay out the stages of one run.

    Args:
        name: What is subscribed to.
        latency: Median and 95th percentile of each stage.

    Returns:
        The table.
    """
    table = Table(title=f"subscribed: {name}; {machine()}")
    for column, side in (("stage", "left"), ("median, ms", "right"), ("95 %, ms", "right")):
        table.add_column(column, justify=side)  # type: ignore[arg-type]
    for stage, (median_ms, percentile_95_ms) in latency.items():
        table.add_row(stage.replace("_", " "), f"{median_ms:.1f}", f"{percentile_95_ms:.1f}")
    return table


if __name__ == "__main__":
    sys.exit(main())
