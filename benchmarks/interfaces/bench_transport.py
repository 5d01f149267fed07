"""Do images arrive? The share of RGB-D frames that cross from process to process, with config/fastdds.xml and without.

    python benchmarks/interfaces/bench_transport.py                      # VGA to 4K at 30 Hz, best effort and reliable
    python benchmarks/interfaces/bench_transport.py --sizes VGA --frames 300

For each image size, reliability and profile a camera process and a subscriber process of their own: rgb8 and 16UC1
depth of one stamp, sensor-like (best effort) or reliable, kept newest five. Counts a frame where both images arrived.
Measures the transport and what rclpy needs to receive, not the node. `sent` is what the camera process could
publish of the rate that was asked for: on a busy machine less than that. Under another middleware (RMW_IMPLEMENTATION)
the profile changes nothing, and CYCLONEDDS_URI or Zenoh's settings of the shell count for both halves of the table.
Prints a table and writes out/bench/transport.json.
"""

from __future__ import annotations

import argparse
import array
import json
import os
import struct
import subprocess
import sys
import time
from pathlib import Path

from ism_ros.runtime.threads import configure_thread_env

configure_thread_env()

from rich.console import Console
from rich.table import Table

from ism_ros.sim.demo.ros_isolation import keep_traffic_local

SIZES = {"VGA": (640, 480), "720p": (1280, 720), "1080p": (1920, 1080), "4K": (3840, 2160)}
VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
DEPTH_QUEUE = 5
MATCH_TIMEOUT_S = 30.0
STAMP_OFFSET = 4
"""Of header.stamp in a serialized Image: after the four bytes of the encoding (little endian)."""
QUIET_S = 2.0
"""After the last message for so long, nothing more comes."""


def main() -> int:
    """0 where with the profile at least 99 of 100 frames arrive at every size, else 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES), help="default: all")
    parser.add_argument("--frames", type=int, default=150, help="frames a run (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=30.0, help="frames a second, Hz (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=Path("out/bench"), help="folder of transport.json")
    parser.add_argument("--role", choices=("camera", "subscriber"), help=argparse.SUPPRESS)
    parser.add_argument("--reliable", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role:
        result = {"camera": camera, "subscriber": subscriber}[options.role](options)
        print(json.dumps(result), flush=True)
        return 0
    keep_traffic_local()
    runs = []
    console = Console()
    for size in options.sizes:
        for reliable in (False, True):
            for with_profile in (False, True):
                console.print(f"{size}, {'reliable' if reliable else 'best effort'}, profile {with_profile} ...")
                runs.append(run(size, reliable, with_profile, options))
    console.print(table_of(runs, options.rate))
    options.output.mkdir(parents=True, exist_ok=True)
    record = {"cores": len(os.sched_getaffinity(0)), "load": os.getloadavg()[0], "runs": runs}
    (options.output / "transport.json").write_text(json.dumps(record, indent=2), encoding="utf-8")
    return 0 if all(r["arrived"] >= 0.99 * r["frames"] for r in runs if r["profile"]) else 1


def run(size: str, reliable: bool, with_profile: bool, options: argparse.Namespace) -> dict[str, object]:
    """Run one camera and one subscriber.

    Args:
        size: Key of SIZES.
        reliable: Reliable, else best effort.
        with_profile: With the Fast DDS profile of the package.
        options: Options of the command line.

    Returns:
        What was sent and what arrived.
    """
    environment = dict(os.environ)
    if not with_profile:
        for name in VARIABLES:
            environment.pop(name, None)
    command = [sys.executable, __file__, "--sizes", size, "--frames", str(options.frames), "--rate", str(options.rate)]
    command += ["--reliable"] * reliable
    ends = {
        role: subprocess.Popen([*command, "--role", role], env=environment, stdout=subprocess.PIPE, text=True)
        for role in ("subscriber", "camera")
    }
    output = {role: json.loads(end.communicate()[0].strip().splitlines()[-1]) for role, end in ends.items()}
    return {
        "size": size,
        "reliable": reliable,
        "profile": with_profile,
        "frames": options.frames,
        **output["subscriber"],
        **output["camera"],
    }


def quality(reliable: bool) -> object:
    """Create the QoS of both images.

    Args:
        reliable: Reliable, else best effort.

    Returns:
        The profile.
    """
    from rclpy.qos import QoSProfile, ReliabilityPolicy

    return QoSProfile(
        depth=DEPTH_QUEUE, reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
    )


def camera(options: argparse.Namespace) -> dict[str, float]:
    """Publish both images.

    Args:
        options: Options of the command line.

    Returns:
        sent_hz, the rate that was reached.
    """
    import rclpy
    from rclpy.node import Node
    from rclpy.serialization import serialize_message
    from sensor_msgs.msg import Image

    rclpy.init(args=[])
    node = Node("bench_camera")
    width, height = SIZES[options.sizes[0]]
    messages = {
        name: Image(
            width=width, height=height, encoding=encoding, step=width * size,
            data=array.array("B", os.urandom(width * size) * height),
        )
        for name, encoding, size in (("rgb", "rgb8", 3), ("depth", "16UC1", 2))
    }  # fmt: skip
    # a driver in C++ does not spend its time on converting arrays of Python: nor does this camera
    serialized = {name: bytearray(serialize_message(message)) for name, message in messages.items()}
    publishers = {name: node.create_publisher(Image, name, quality(options.reliable)) for name in messages}
    deadline_s = time.monotonic() + MATCH_TIMEOUT_S
    while time.monotonic() < deadline_s and not all(p.get_subscription_count() for p in publishers.values()):
        time.sleep(0.05)
    began_s = time.monotonic()
    for number in range(options.frames):
        time.sleep(max(0.0, began_s + number / options.rate - time.monotonic()))
        stamp = node.get_clock().now().to_msg()
        for name, publisher in publishers.items():
            struct.pack_into("<iI", serialized[name], STAMP_OFFSET, stamp.sec, stamp.nanosec)
            publisher.publish(bytes(serialized[name]))
    seconds = time.monotonic() - began_s
    time.sleep(QUIET_S)  # a reliable writer must live until the last message is taken
    return {"sent_hz": (options.frames - 1) / seconds}


def subscriber(options: argparse.Namespace) -> dict[str, object]:
    """Count frames of which both images arrived.

    Args:
        options: Options of the command line.

    Returns:
        How many, the median of their age in milliseconds, and the middleware.
    """
    import rclpy
    from rclpy.node import Node
    from rclpy.utilities import get_rmw_implementation_identifier
    from sensor_msgs.msg import Image

    rclpy.init(args=[])
    node = Node("bench_subscriber")
    received: dict[int, set[str]] = {}
    ages_ms = []
    last_s = float("inf")

    def take(name: str, message: Image) -> None:
        nonlocal last_s
        last_s = time.monotonic()
        stamp_ns = message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec
        assert len(message.data) == message.height * message.step
        received.setdefault(stamp_ns, set()).add(name)
        if len(received[stamp_ns]) == 2:
            ages_ms.append((node.get_clock().now().nanoseconds - stamp_ns) / 1e6)

    for name in ("rgb", "depth"):
        node.create_subscription(Image, name, lambda m, name=name: take(name, m), quality(options.reliable))
    began_s = time.monotonic()
    longest_s = MATCH_TIMEOUT_S + 4 * options.frames / options.rate
    while time.monotonic() - began_s < longest_s and time.monotonic() - last_s < QUIET_S:
        rclpy.spin_once(node, timeout_sec=0.1)
        # nothing at all came: the camera has gone again
        if last_s == float("inf") and time.monotonic() - began_s > 10 and not node.count_publishers("rgb"):
            break
    return {
        "arrived": len(ages_ms),
        "age_ms": sorted(ages_ms)[len(ages_ms) // 2] if ages_ms else None,
        "middleware": get_rmw_implementation_identifier(),
    }


def table_of(runs: list[dict[str, object]], rate_hz: float) -> Table:
    """Lay out all runs.

    Args:
        runs: The runs.
        rate_hz: Rate that the camera was asked for.

    Returns:
        The table.
    """
    cores = len(os.sched_getaffinity(0))
    table = Table(title=f"Frames (rgb and depth) that arrive at {rate_hz:g} Hz; {runs[0]['middleware']}, {cores} cores")
    for column in ("size", "QoS", "profile", "arrived", "age, ms", "sent, Hz"):
        table.add_column(column, justify="left" if column in ("size", "QoS", "profile") else "right")
    for r in runs:
        share = 100 * r["arrived"] / r["frames"]  # type: ignore[operator]
        age = "" if r["age_ms"] is None else f"{r['age_ms']:.1f}"
        table.add_row(
            str(r["size"]),
            "reliable" if r["reliable"] else "best effort",
            "fastdds.xml" if r["profile"] else "default",
            f"{share:.0f} %",
            age,
            f"{r['sent_hz']:.1f}",
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
