"""The fake camera and the node for as long as you like, while people change things: does it stay as it was?

    python -m soak_node --minutes 10

Time is compressed: frames are small (`--shrink`) and come faster than the node answers them, until it has answered as
many as in `--hours` at 640 x 480, or `--minutes` are over. Meanwhile objects are added and removed, parameters set and
refused, frames segmented on demand, the stream stopped and started, subscribers come and go, and the camera is
restarted or killed. Prints a line a minute and fails if memory, threads or file descriptors of the node grow after the
first quarter, or if the node answers anything but what it should.
"""

from __future__ import annotations

import argparse
import resource
import signal
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from ism_ros.sim.benchmark_scenes.known_objects import DEMO_OBJECT_SET
from ism_ros.sim.benchmark_scenes.table_scene import DEMO_SCENE
from ism_ros.sim.demo import print_speed
from ism_ros.sim.demo.ros_isolation import keep_traffic_local, return_shared_memory
from ism_ros.sim.demo.subprocesses import SubprocessError

if TYPE_CHECKING:
    from ism_ros.sim.demo.camera_and_node import Session

FRAMES_AN_HOUR = 12_600
"""3.5 frames a second, which the hand-made pair reaches at 640 x 480 on two cores."""
ALLOWED_THREADS = 2
"""Threads of the executor are started when they are first needed."""
ALLOWED_FILE_DESCRIPTORS = 4
MEBIBYTE = 1024 * 1024


@dataclass(frozen=True)
class Sample:
    """What the node's process has at one moment. minutes: since the first result."""

    minutes: float
    frames: int
    memory_mb: float
    threads: int
    file_descriptors: int


def main(arguments: Sequence[str] | None = None) -> int:
    """0 where everything stayed flat, else 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="at most so long (default: %(default)s)")
    parser.add_argument("--hours", type=float, default=1.0, help="of frames to answer (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=60.0, help="the camera's frames a second")
    parser.add_argument("--shrink", type=int, default=4, help="every so many-th row and column (default: %(default)s)")
    parser.add_argument("--pause", type=float, default=1.0, help="seconds between two events (default: %(default)s)")
    parser.add_argument("--allowed-mb", type=float, default=50.0, help="most growth of memory, MiB")
    parser.add_argument("--output", default="out/soak", help="folder of logs (default: %(default)s)")
    parser.add_argument("--cache", default="out/demo/cache", help="folder kept from run to run")
    parser.add_argument("--folder", type=Path, help="of frames to show instead of the simulated table")
    parser.add_argument("--objects", type=Path, help="objects file to use instead of the simulated objects")
    options = parser.parse_args(arguments)
    console = Console()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    keep_traffic_local()
    try:
        return _run(options, console)
    except ImportError as error:
        console.print(f"ROS 2 is not there ({error}): run `make soak`, or source a distribution first.")
    except (SubprocessError, TimeoutError, RuntimeError) as error:
        console.print(f"The run stopped: {error}", markup=False, highlight=False, soft_wrap=True)
    except KeyboardInterrupt:
        console.print("stopped")
    finally:
        return_shared_memory()
    return 1


def _run(options: argparse.Namespace, console: Console) -> int:
    from stress_events import Churn

    from ism_ros.sim.demo.camera_and_node import SessionSettings, run_session

    out = Path(options.output).resolve()
    out.mkdir(parents=True, exist_ok=True)
    setting = SessionSettings(
        out,
        Path(options.cache).resolve(),
        scene=DEMO_SCENE,
        object_set=DEMO_OBJECT_SET,
        rate_hz=options.rate,
        folder=options.folder,
        objects_file=options.objects,
        camera={"shrink": options.shrink},
        topics=("detections", "mask_image"),
    )
    with run_session(setting) as session, console.status("starting") as status:
        session.wait_for_first(420.0, status.update)
        churn = Churn(session, out / "cad_of_churn")
        for _ in range(churn.events_a_round):  # what is taken only once is taken now
            status.update(f"first round: {churn.step()}")
        samples, answered = [_sample(session, time.monotonic(), 0)], 0
        began_s, frames_before = time.monotonic(), _frames(session)
        while time.monotonic() - began_s < 60.0 * options.minutes and answered < options.hours * FRAMES_AN_HOUR:
            event = churn.step()
            session.listen(options.pause)
            # pictures of a long run would fill this process instead
            session.listener.heard.clear()
            answered = _frames(session) - frames_before
            samples.append(_sample(session, began_s, answered))
            status.update(f"{samples[-1].minutes:.1f} min, {answered} frames, {event}")
        values = dict(session.listener.report.values)
    console.print(_table(samples))
    print_speed(console, values)
    console.print(", ".join(f"{name} {count} times" for name, count in churn.counts.items()))
    console.print(
        f"{answered} frames in {samples[-1].minutes:.1f} min: {answered / FRAMES_AN_HOUR:.2f} hours of a camera at "
        f"640 x 480; dropped {values['frames_dropped']}, rejected {values['frames_rejected']}, "
        f"inference failures {values['inference_failures']}"
    )
    return verdict_of(samples, options.allowed_mb, int(values["inference_failures"]), console)


def verdict_of(samples: Sequence[Sample], allowed_mb: float, failures: int, console: Console) -> int:
    """0 where nothing grew from the second quarter of the run to the last by more than is allowed."""
    limits: dict[str, tuple[Callable[[Sample], float], float]] = {
        "memory, MiB": (lambda sample: sample.memory_mb, allowed_mb),
        "threads": (lambda sample: float(sample.threads), ALLOWED_THREADS),
        "file descriptors": (lambda sample: float(sample.file_descriptors), ALLOWED_FILE_DESCRIPTORS),
    }
    flat = failures == 0
    for name, (value, allowed) in limits.items():
        early, late = quarters([value(sample) for sample in samples])
        flat &= late - early <= allowed
        console.print(f"{name}: {early:.0f} early, {late:.0f} late, {late - early:+.0f} ({allowed:.0f} allowed)")
    return 0 if flat else 1


def quarters(values: Sequence[float]) -> tuple[float, float]:
    """Medians of the second and of the last quarter; of all where there are too few to tell."""
    quarter = max(1, len(values) // 4)
    return statistics.median(values[quarter : 2 * quarter] or values), statistics.median(values[-quarter:])


def _sample(session: Session, began_s: float, frames: int) -> Sample:
    process = Path("/proc") / str(session.node.pid)
    resident_pages = int((process / "statm").read_text(encoding="ascii").split()[1])
    return Sample(
        minutes=(time.monotonic() - began_s) / 60,
        frames=frames,
        memory_mb=resident_pages * resource.getpagesize() / MEBIBYTE,
        threads=len(list((process / "task").iterdir())),
        file_descriptors=len(list((process / "fd").iterdir())),
    )


def _frames(session: Session) -> int:
    return int(session.listener.report.values.get("frames_processed", "0"))


def _table(samples: Sequence[Sample]) -> Table:
    table = Table(title="Node over time")
    for column in ("minute", "frames", "memory, MiB", "threads", "file descriptors"):
        table.add_column(column, justify="right")
    shown = -1
    for sample in samples:
        if int(sample.minutes) > shown or sample is samples[-1]:
            shown = int(sample.minutes)
            table.add_row(
                f"{sample.minutes:.1f}",
                str(sample.frames),
                f"{sample.memory_mb:.0f}",
                str(sample.threads),
                str(sample.file_descriptors),
            )
    return table


if __name__ == "__main__":
    sys.exit(main())
