"""How long parameters and services take to respond while the stream runs.

    python benchmarks/interfaces/bench_node_latency_services.py                # a minute after the first start
    python benchmarks/interfaces/bench_node_latency_services.py --calls 1000

A fake camera (its own process, 640 x 480 at 30 Hz, simulated table) keeps the node with five objects busy without a
pause, overlay and masks subscribed. This process gets parameters, sets one that is live, lists the objects and gets
the lifecycle state, one call after the other at random moments of a frame. It measures from the request to the
response, this process's own share included, and not the service ~/segment, which takes as long as a frame. Prints a
table and writes out/bench/node_latency_services.json; fails where the 95th percentile of a service is over 100 ms.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for common

import numpy as np
from common.measuring import machine
from common.node_session import START_TIMEOUT_S, add_output_option, demo_session
from ism_ros.srv import ListObjects
from lifecycle_msgs.srv import GetState
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from ism_ros.sim.demo.camera_and_node import run_session
from ism_ros.sim.demo.ros_isolation import keep_traffic_local

CALL_TIMEOUT_S = 10.0
PAUSE_S = 0.1
TARGET_MS = 100.0


def requests() -> dict[str, tuple[Any, Callable[[int], Any]]]:
    """Service type and request number i, by the service's name."""

    def set_threshold(number: int) -> SetParameters.Request:
        value = Parameter("nms_threshold", value=0.25 if number % 2 else 0.26)
        return SetParameters.Request(parameters=[value.to_parameter_msg()])

    return {
        "get_parameters": (GetParameters, lambda _: GetParameters.Request(names=["score_threshold", "scoring"])),
        "set_parameters": (SetParameters, set_threshold),
        "list_objects": (ListObjects, lambda _: ListObjects.Request()),
        "get_state": (GetState, lambda _: GetState.Request()),
    }


def main() -> int:
    """Print and write the latency of each service.

    Returns:
        0 where every service meets the target, else 1.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=200, help="calls of each service (default: %(default)s)")
    add_output_option(parser)
    options = parser.parse_args()
    keep_traffic_local()
    settings = demo_session(options.output, 30.0)
    with Progress(transient=True) as progress:
        step = progress.add_task("rendering objects and scene, once", total=None)
        with run_session(settings) as session:
            session.wait_for_first(START_TIMEOUT_S, lambda text: progress.update(step, description=text))
            progress.update(step, description="calls", total=4 * options.calls)
            latency_ms = measured(options.calls, lambda: progress.advance(step))
            session.spin(2.0)
            rate_hz = session.probe.diagnostics.values["rate_hz"]
    rows = {name: summary(values) for name, values in latency_ms.items()}
    table = Table(title=f"Milliseconds to a response, the node at {rate_hz} frames a second; {machine()}")
    for column in ("service", "median", "95th percentile", "longest", f"95th < {TARGET_MS:.0f}"):
        table.add_column(column)
    for name, row in rows.items():
        table.add_row(name, *(f"{value:.1f}" for value in row.values()), "yes" if met(row) else "NO")
    Console().print(table)
    record = {"machine": machine(), "rate_hz": float(rate_hz), "calls": options.calls, "latency_ms": rows}
    (settings.out / "node_latency_services.json").write_text(json.dumps(record, indent=2), encoding="utf-8")
    return 0 if all(met(row) for row in rows.values()) else 1


def measured(calls: int, report: Callable[[], None]) -> dict[str, list[float]]:
    """Call each service many times.

    Args:
        calls: How many times.
        report: Called after each call.

    Returns:
        Milliseconds of each call, by service.
    """
    node = Node("ism_bench_services")
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    clients = {name: node.create_client(kind, f"/ism/{name}") for name, (kind, _) in requests().items()}
    latency_ms: dict[str, list[float]] = {name: [] for name in clients}
    for client in clients.values():
        if not client.wait_for_service(CALL_TIMEOUT_S):
            raise RuntimeError(f"{client.srv_name} is not there")
    for number in range(calls):
        for name, (_, request) in requests().items():
            time.sleep(random.uniform(0.0, PAUSE_S))
            began_s = time.perf_counter()
            future = clients[name].call_async(request(number))
            executor.spin_until_future_complete(future, CALL_TIMEOUT_S)
            if not future.done():
                raise RuntimeError(f"{name} did not answer within {CALL_TIMEOUT_S:g} s")
            latency_ms[name].append(1000 * (time.perf_counter() - began_s))
            report()
    executor.shutdown()
    node.destroy_node()
    return latency_ms


def summary(values_ms: list[float]) -> dict[str, float]:
    """Summarise latencies.

    Args:
        values_ms: Milliseconds of each call.

    Returns:
        Median, 95th percentile and longest.
    """
    median, percentile_95 = np.percentile(values_ms, [50, 95])
    return {"median": float(median), "percentile_95": float(percentile_95), "longest": max(values_ms)}


def met(row: dict[str, float]) -> bool:
    """Say whether a service meets the target.

    Args:
        row: Its summary.

    Returns:
        True where the 95th percentile does.
    """
    return row["percentile_95"] < TARGET_MS


if __name__ == "__main__":
    sys.exit(main())
