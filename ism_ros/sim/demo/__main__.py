"""The demo: a fake RealSense and the node, each a process of its own, over real DDS; what was found, against the truth.

    python -m ism_ros.sim.demo --output out/demo

Writes into the output folder: overlay.png (what rviz2 would show), detections.json, truth.json with truth_N.png,
cad/ (the CAD files the node was given, with objects.yaml), camera.log and node.log.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence

from rich.console import Console

from ism_ros.sim.benchmark_scenes.known_objects import DEMO_OBJECT_SET
from ism_ros.sim.benchmark_scenes.table_scene import DEMO_SCENE
from ism_ros.sim.demo.ros_isolation import keep_traffic_local
from ism_ros.sim.demo.subprocesses import SubprocessError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo.

    Args:
        arguments: Those after the program's name; None = those of the process.

    Returns:
        0 where objects were found; 1, after one clear message, where not.
    """
    options = _options(arguments)
    console = Console()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    keep_traffic_local()
    try:
        from ism_ros.sim.demo.run_demo import run  # needs ROS 2

        return run(options, console)
    except ImportError as error:
        console.print(f"ROS 2 is not there ({error}): run `make demo`, or source a distribution first.")
    except (SubprocessError, TimeoutError) as error:
        console.print(f"The demo stopped: {error}", markup=False, highlight=False, soft_wrap=True)
    except KeyboardInterrupt:
        console.print("stopped")
    return 1


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


if __name__ == "__main__":
    sys.exit(main())
