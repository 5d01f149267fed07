"""The fake camera and the node for as long as you like: do memory and latency stay where they are?

    python -m ism_ros.sim.soak --minutes 10

Prints a line a minute and fails if the node's memory grows by more than `--allowed-mb` after its first minute.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ism_ros.sim.children import ChildError, keep_traffic_local
from ism_ros.sim.demo import print_speed
from ism_ros.sim.scenes import DEMO_OBJECT_SET, DEMO_SCENE


def main(arguments: Sequence[str] | None = None) -> int:
    """0 where memory stayed flat, else 1."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="how long (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=10.0, help="the camera's frames a second")
    parser.add_argument("--allowed-mb", type=float, default=50.0, help="most growth of memory, MiB")
    parser.add_argument("--output", default="out/soak", help="folder of logs (default: %(default)s)")
    parser.add_argument("--cache", default="out/demo/cache", help="folder kept from run to run")
    options = parser.parse_args(arguments)
    console = Console()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    keep_traffic_local()
    try:
        return _run(options, console)
    except ImportError as error:
        console.print(f"ROS 2 is not there ({error}): run `make soak`, or source a distribution first.")
    except (ChildError, TimeoutError) as error:
        console.print(f"The run stopped: {error}", markup=False, highlight=False, soft_wrap=True)
    except KeyboardInterrupt:
        console.print("stopped")
    return 1


def _run(options: argparse.Namespace, console: Console) -> int:
    from ism_ros.sim.session import Setting, running

    out = Path(options.output).resolve()
    out.mkdir(parents=True, exist_ok=True)
    setting = Setting(
        out, Path(options.cache).resolve(), scene=DEMO_SCENE, object_set=DEMO_OBJECT_SET, rate_hz=options.rate
    )
    table = Table(title="Node over time")
    columns = ("minute", "results", "dropped", "rejected", "memory, MiB", "latency, ms")
    for column in columns:
        table.add_column(column, justify="right")
    memory: list[float] = []
    with running(setting) as session, console.status("starting") as status:
        session.wait_for_first(420.0, status.update)
        for minute in range(1, max(2, round(options.minutes)) + 1):
            session.listen(60.0)
            values = session.listener.report.values
            memory.append(float(values.get("memory_mb.process", "nan")))
            row = (
                str(minute),
                values.get("frames_processed", ""),
                values.get("frames_dropped", ""),
                values.get("frames_rejected", ""),
                f"{memory[-1]:.0f}",
                values.get("latency_ms.stamp_to_publish.median", ""),
            )
            table.add_row(*row)
            status.update(", ".join(f"{name} {value}" for name, value in zip(columns, row, strict=True)))
            # Pictures of a long run would fill this process instead.
            session.listener.heard.clear()
    console.print(table)
    print_speed(console, values)
    growth = memory[-1] - memory[0]
    console.print(
        f"memory grew by {growth:.0f} MiB after the first minute ({options.allowed_mb:.0f} allowed)"
    )
    return 0 if growth <= options.allowed_mb else 1


if __name__ == "__main__":
    sys.exit(main())
