"""The node over real DDS, from the camera's stamp to the published result.

    python benchmarks/interfaces/bench_node.py                  # a minute after the first start
    python benchmarks/interfaces/bench_node.py --frames 1000    # memory over 1,000 frames as well

A fake camera (its own process, 640 x 480 at 30 Hz, simulated table) and the node with five objects. Measures: seconds
from start to active with everything cached; processor share of an idle node, active and with a silent camera; frames
a second and latency under load; memory from the first tenth of the frames to the last. It does not measure whether
the results are right: detection_ap.py does. The first start renders the objects. Prints a table, with the targets, and
writes out/bench/node.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for common

import psutil
import rclpy
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
from rich.progress import Progress
from rich.table import Table

from ism_ros.sim.benchmark_scenes.known_objects import DEMO_OBJECT_SET
from ism_ros.sim.demo.camera_and_node import Session, run_session, write_objects
from ism_ros.sim.demo.ros_isolation import keep_traffic_local
from ism_ros.sim.demo.subprocesses import installed_program
from ism_ros.sim.demo.subscriber_probe import SubscriberProbe

IDLE_S = 30.0
"""How long an idle node is watched, seconds."""


@dataclass(frozen=True)
class Measure:
    """One line of the table.

    Attributes:
        name: What was measured.
        value: The number.
        unit: Its unit.
        target: What it must reach, as text.
        met: Whether it does, None without a target.
    """

    name: str
    value: float
    unit: str
    target: str = ""
    met: bool | None = None


def main() -> int:
    """Print and write all measures.

    Returns:
        0 where every target is met, else 1.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=100, help="frames to process under load (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=30.0, help="the camera's frames a second (default: %(default)s)")
    add_output_option(parser)
    options = parser.parse_args()
    keep_traffic_local()
    settings = demo_session(options.output, options.rate)
    with Progress(transient=True) as progress:
        step = progress.add_task("rendering objects and scene, once", total=None)
        with run_session(settings) as session:
            session.wait_for_first(START_TIMEOUT_S, lambda text: progress.update(step, description=text))
            progress.update(step, description="frames under load", total=options.frames)
            measures = under_load(
                session,
                options.frames,
                lambda done: progress.update(step, completed=done),
                with_memory=options.frames >= 500,
            )
        progress.update(step, description="restart and idle", total=None)
        measures += restarted_and_idle(write_objects(settings.out / "cad", DEMO_OBJECT_SET), settings.cache)

    Console().print(table_of(measures))
    record = {"machine": machine(), "frames": options.frames, "measures": [asdict(measure) for measure in measures]}
    (settings.out / "node.json").write_text(json.dumps(record, indent=2), encoding="utf-8")
    return 0 if all(measure.met is not False for measure in measures) else 1


def under_load(session: Session, frames: int, report: Callable[[int], None], with_memory: bool) -> list[Measure]:
    """Measure rate, latencies and memory while the camera is faster than the model.

    Args:
        session: Camera and node.
        frames: How many results to wait for.
        report: Called with the number of results so far.
        with_memory: Measure the growth of memory, too.

    Returns:
        The measures.
    """
    probe = session.probe
    node = node_process()
    probe.frames.clear()
    processed, removed, began_s, began_cpu_s, memory_mb = 0, 0, time.monotonic(), processor_s(node), []
    while processed < frames:
        session.spin(1.0)
        # the newest frames may still be on their way, topic by topic
        for stamp in sorted(probe.frames)[:-5]:
            removed += probe.frames.pop(stamp).complete
        processed = removed + probe.complete_frames
        memory_mb.append(float(probe.diagnostics.values.get("memory_mb.process", "nan")))
        report(processed)
    rate_hz = processed / (time.monotonic() - began_s)
    cpu_ms = 1000 * (processor_s(node) - began_cpu_s) / processed
    values = probe.diagnostics.values
    median_ms = float(values["latency_ms.stamp_to_publish.median"])
    overhead_ms, _ = node_overhead_ms(stage_latencies_ms(values))
    measures = [
        Measure("frames a second", rate_hz, "Hz", ">= 10", rate_hz >= 10),
        Measure("stamp to publish, median", median_ms, "ms", "< 150", median_ms < 150),
        Measure("stamp to publish, 95th percentile", float(values["latency_ms.stamp_to_publish.percentile_95"]), "ms"),
        Measure("processor time a frame, receiving all others included", cpu_ms, "ms"),
        *(
            Measure(f"{key.split('.')[1]}, median", float(value), "ms")
            for key, value in values.items()
            if key.startswith("latency_ms.") and key.endswith(".median") and "stamp_to_publish" not in key
        ),
        Measure(" + ".join(NODE_STAGES) + ", all outputs subscribed", overhead_ms, "ms", "< 8", overhead_ms < 8),
        Measure("memory of the node", memory_mb[-1], "MiB", "< 1000", memory_mb[-1] < 1000),
        Measure("dropped by design", float(values["frames_dropped"]), "frames"),
    ]
    if with_memory:
        tenth = max(1, len(memory_mb) // 10)
        growth = sum(memory_mb[-tenth:]) / tenth - sum(memory_mb[tenth : 2 * tenth]) / tenth
        measures.append(Measure(f"growth of memory over {frames} frames", growth, "MiB", "< 10", growth < 10))
    return measures


def node_process() -> psutil.Process:
    """Find the node that `run_session` has started.

    Returns:
        Its process.
    """
    return next(child for child in psutil.Process().children() if any("ism_node" in word for word in child.cmdline()))


def processor_s(process: psutil.Process) -> float:
    """Read the processor time of a process.

    Args:
        process: The process.

    Returns:
        Seconds in user and system mode.
    """
    used = process.cpu_times()
    return used.user + used.system


def restarted_and_idle(objects_file: Path, cache: Path) -> list[Measure]:
    """Measure the start with a full cache, then the processor share without a camera.

    Args:
        objects_file: The objects.
        cache: The cache folder.

    Returns:
        The measures.
    """
    command = installed_program("ism_node", "ism_ros.node.main")
    given = ["--ros-args", "-p", f"objects_file:='{objects_file}'", "-p", f"cache_dir:='{cache}'"]
    rclpy.init(args=[])
    probe = SubscriberProbe()
    began_s = time.monotonic()
    log = (cache.parent / "restarted.log").open("wb")
    node = subprocess.Popen([*command, *given], stdout=log, stderr=log)
    try:
        # the log tells the moment; diagnostics come once a second
        while b"active" not in Path(log.name).read_bytes():
            if node.poll() is not None or time.monotonic() - began_s > START_TIMEOUT_S:
                raise RuntimeError(f"the node did not become active; see {log.name}")
            rclpy.spin_once(probe, timeout_sec=0.02)
        active_s = time.monotonic() - began_s
        process = psutil.Process(node.pid)
        time.sleep(2.0)
        used_s, idle_since_s = processor_s(process), time.monotonic()
        time.sleep(IDLE_S)
        idle_percent = 100 * (processor_s(process) - used_s) / (time.monotonic() - idle_since_s)
    finally:
        node.terminate()
        node.wait()
        log.close()
        probe.destroy_node()
        rclpy.try_shutdown()
    return [
        Measure("restart to active, five objects cached", active_s, "s", "< 5", active_s < 5),
        Measure("idle, of one core", idle_percent, "%", "< 1", idle_percent < 1),
    ]


def table_of(measures: list[Measure]) -> Table:
    """Lay out the measures.

    Args:
        measures: The measures.

    Returns:
        The table.
    """
    table = Table(title=f"Node, 640 x 480, five objects; {machine()}")
    for column, side in (("measure", "left"), ("value", "right"), ("target", "right"), ("met", "left")):
        table.add_column(column, justify=side)  # type: ignore[arg-type]
    for m in measures:
        table.add_row(m.name, f"{m.value:.1f} {m.unit}", m.target, {True: "yes", False: "NO", None: ""}[m.met])
    return table


if __name__ == "__main__":
    sys.exit(main())
