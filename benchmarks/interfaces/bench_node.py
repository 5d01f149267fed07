"""The node over real DDS, from the camera's stamp to the published answer.

    python benchmarks/interfaces/bench_node.py                  # a minute after the first start, which renders the objects
    python benchmarks/interfaces/bench_node.py --frames 1000    # memory over 1,000 frames as well

A fake camera (its own process, 640 x 480 at 30 Hz, simulated table) and the node with five objects. Measures: seconds
from start to active with everything cached; processor share of an idle node, active and with a silent camera; frames
a second and latency under load; memory from the first tenth of the frames to the last. It does not measure whether
the answers are right: detection_ap.py does. Prints a table, with the targets, and writes out/bench/node.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
import rclpy
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from ism_ros.sim.benchmark_scenes.known_objects import DEMO_OBJECT_SET
from ism_ros.sim.benchmark_scenes.table_scene import DEMO_SCENE
from ism_ros.sim.demo.camera_and_node import Session, SessionSettings, run_session, write_objects
from ism_ros.sim.demo.ros_isolation import keep_traffic_local
from ism_ros.sim.demo.subprocesses import installed_program
from ism_ros.sim.demo.subscriber_probe import SubscriberProbe

IDLE_S = 10.0
START_TIMEOUT_S = 600.0
PORCH_STAGES = ("synchronisation", "conversion", "publishing")


@dataclass(frozen=True)
class Measure:
    """One line of the table. target: what it must reach, as text; met: whether it does, None without a target."""

    name: str
    value: float
    unit: str
    target: str = ""
    met: bool | None = None


def main() -> int:
    """0 where every target is met, else 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=100, help="frames to answer under load (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=30.0, help="the camera's frames a second (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=Path("out/bench"), help="folder of logs and node.json")
    options = parser.parse_args()
    keep_traffic_local()
    out = options.output.resolve()
    out.mkdir(parents=True, exist_ok=True)
    setting = SessionSettings(out, out / "cache", scene=DEMO_SCENE, object_set=DEMO_OBJECT_SET, rate_hz=options.rate)

    with Progress(transient=True) as progress:
        step = progress.add_task("rendering objects and scene, once", total=None)
        with run_session(setting) as session:
            session.wait_for_first(START_TIMEOUT_S, lambda text: progress.update(step, description=text))
            progress.update(step, description="frames under load", total=options.frames)
            measures = under_load(
                session,
                options.frames,
                lambda done: progress.update(step, completed=done),
                with_memory=options.frames >= 500,
            )
        progress.update(step, description="restart and idle", total=None)
        measures += restarted_and_idle(write_objects(out / "cad", DEMO_OBJECT_SET), setting.cache)

    Console().print(table_of(measures))
    record = {"machine": machine(), "frames": options.frames, "measures": [asdict(measure) for measure in measures]}
    (out / "node.json").write_text(json.dumps(record, indent=2), encoding="utf-8")
    return 0 if all(measure.met is not False for measure in measures) else 1


def under_load(session: Session, frames: int, tell: Callable[[int], None], with_memory: bool) -> list[Measure]:
    """Rate, latencies and memory while the camera is faster than the model."""
    listener = session.listener
    node = node_process()
    listener.heard.clear()
    answered, forgotten, began_s, began_cpu_s, memory_mb = 0, 0, time.monotonic(), processor_s(node), []
    while answered < frames:
        session.listen(1.0)
        # the newest frames may still be on their way, topic by topic
        for stamp in sorted(listener.heard)[:-5]:
            forgotten += listener.heard.pop(stamp).complete
        answered = forgotten + listener.complete_frames
        memory_mb.append(float(listener.report.values.get("memory_mb.process", "nan")))
        tell(answered)
    rate_hz = answered / (time.monotonic() - began_s)
    cpu_ms = 1000 * (processor_s(node) - began_cpu_s) / answered
    values = listener.report.values
    median_ms = float(values["latency_ms.stamp_to_publish.median"])
    porch_ms = sum(float(values[f"latency_ms.{stage}.median"]) for stage in PORCH_STAGES)
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
        Measure(" + ".join(PORCH_STAGES) + ", all outputs subscribed", porch_ms, "ms", "< 8", porch_ms < 8),
        Measure("memory of the node", memory_mb[-1], "MiB", "< 1000", memory_mb[-1] < 1000),
        Measure("dropped by design", float(values["frames_dropped"]), "frames"),
    ]
    if with_memory:
        tenth = max(1, len(memory_mb) // 10)
        growth = sum(memory_mb[-tenth:]) / tenth - sum(memory_mb[tenth : 2 * tenth]) / tenth
        measures.append(Measure(f"growth of memory over {frames} frames", growth, "MiB", "< 10", growth < 10))
    return measures


def node_process() -> psutil.Process:
    """The node that `run_session` has started."""
    return next(child for child in psutil.Process().children() if any("ism_node" in word for word in child.cmdline()))


def processor_s(process: psutil.Process) -> float:
    used = process.cpu_times()
    return used.user + used.system


def restarted_and_idle(objects_file: Path, cache: Path) -> list[Measure]:
    """Seconds to active with a full cache, then the processor share without a camera."""
    command = installed_program("ism_node", "ism_ros.node.main")
    given = ["--ros-args", "-p", f"objects_file:='{objects_file}'", "-p", f"cache_dir:='{cache}'"]
    rclpy.init(args=[])
    listener = SubscriberProbe()
    began_s = time.monotonic()
    log = (cache.parent / "restarted.log").open("wb")
    node = subprocess.Popen([*command, *given], stdout=log, stderr=log)
    try:
        # the log tells the moment; diagnostics come once a second
        while b"active" not in Path(log.name).read_bytes():
            if node.poll() is not None or time.monotonic() - began_s > START_TIMEOUT_S:
                raise RuntimeError(f"the node did not become active; see {log.name}")
            rclpy.spin_once(listener, timeout_sec=0.02)
        active_s = time.monotonic() - began_s
        process = psutil.Process(node.pid)
        time.sleep(2.0)
        process.cpu_percent()
        time.sleep(IDLE_S)
        idle_percent = process.cpu_percent()
    finally:
        node.terminate()
        node.wait()
        log.close()
        listener.destroy_node()
        rclpy.try_shutdown()
    return [
        Measure("restart to active, five objects cached", active_s, "s", "< 5", active_s < 5),
        Measure("idle, of one core", idle_percent, "%", "< 5", idle_percent < 5),
    ]


def table_of(measures: list[Measure]) -> Table:
    table = Table(title=f"Node, 640 x 480, five objects; {machine()}")
    for column, side in (("measure", "left"), ("value", "right"), ("target", "right"), ("met", "left")):
        table.add_column(column, justify=side)  # type: ignore[arg-type]
    for m in measures:
        table.add_row(m.name, f"{m.value:.1f} {m.unit}", m.target, {True: "yes", False: "NO", None: ""}[m.met])
    return table


def machine() -> str:
    """Cores, and how busy others keep them."""
    return f"{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}"


if __name__ == "__main__":
    sys.exit(main())
