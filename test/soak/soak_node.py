"""Soak test: the fake camera and the node for a long time, while everything around the node changes.

    python test/soak/soak_node.py --minutes 10

Time is compressed: frames are small (`--shrink`) and come faster than the node processes them, until it has processed
as many as in `--hours` at 640 x 480, or `--minutes` are over. Meanwhile objects are added and removed, parameters set
and refused, frames segmented on demand, the stream stopped and started, subscribers come and go, and the camera is
restarted or killed. Prints a line a minute and fails if memory, threads or file descriptors of the node grow after the
first quarter, or if a response of the node is not the expected one.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from resource_growth import exit_status, sample_process, table_of
from rich.console import Console

from ism_ros.sim.benchmark_scenes.known_objects import DEMO_OBJECT_SET
from ism_ros.sim.benchmark_scenes.table_scene import DEMO_SCENE
from ism_ros.sim.demo.ros_isolation import keep_traffic_local, return_shared_memory
from ism_ros.sim.demo.subprocesses import SubprocessError

FRAMES_AN_HOUR = 12_600
"""Frames that count as an hour at 640 x 480: 3.5 a second."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the soak test.

    Args:
        arguments: Those after the program's name; None = those of the process.

    Returns:
        0 where nothing grew, else 1.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="at most so long (default: %(default)s)")
    parser.add_argument("--hours", type=float, default=1.0, help="of frames to process (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=60.0, help="the camera's frames a second")
    parser.add_argument("--shrink", type=int, default=4, help="only every N-th row and column (default: %(default)s)")
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
    from stress_events import StressEvents  # these need ROS 2

    from ism_ros.sim.demo.camera_and_node import Session, SessionSettings, run_session
    from ism_ros.sim.demo.demo_report import print_speed

    def frames(session: Session) -> int:
        return int(session.probe.diagnostics.values.get("frames_processed", "0"))

    out = Path(options.output).resolve()
    out.mkdir(parents=True, exist_ok=True)
    settings = SessionSettings(
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
    with run_session(settings) as session, console.status("starting") as status:
        session.wait_for_first(420.0, status.update)
        events = StressEvents(session, out / "cad")
        for _ in range(events.events_a_round):  # what is allocated only once is allocated now
            status.update(f"first round: {events.step()}")
        samples, processed = [sample_process(session.node.pid, 0.0, 0)], 0
        began_s, frames_before = time.monotonic(), frames(session)
        while time.monotonic() - began_s < 60.0 * options.minutes and processed < options.hours * FRAMES_AN_HOUR:
            event = events.step()
            session.spin(options.pause)
            # pictures of a long run would fill this process instead
            session.probe.frames.clear()
            processed = frames(session) - frames_before
            samples.append(sample_process(session.node.pid, (time.monotonic() - began_s) / 60, processed))
            status.update(f"{samples[-1].minutes:.1f} min, {processed} frames, {event}")
        values = dict(session.probe.diagnostics.values)
    console.print(table_of(samples))
    print_speed(console, values)
    console.print(", ".join(f"{name} {count} times" for name, count in events.counts.items()))
    console.print(
        f"{processed} frames in {samples[-1].minutes:.1f} min: {processed / FRAMES_AN_HOUR:.2f} hours of a camera at "
        f"640 x 480; dropped {values['frames_dropped']}, rejected {values['frames_rejected']}, "
        f"inference failures {values['inference_failures']}"
    )
    return exit_status(samples, options.allowed_mb, int(values["inference_failures"]), console)


if __name__ == "__main__":
    sys.exit(main())
