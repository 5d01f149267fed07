"""The node over DDS under a fake camera, as several benchmarks need it: session, stages, machine."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from ism_ros.sim.benchmark_scenes.known_objects import DEMO_OBJECT_SET
from ism_ros.sim.benchmark_scenes.table_scene import DEMO_SCENE
from ism_ros.sim.demo.camera_and_node import SessionSettings

START_TIMEOUT_S = 600.0
"""Longest wait for the first result, seconds: the first run renders objects and scene."""
NODE_STAGES = ("synchronisation", "conversion", "publishing")
"""Stages that the node adds to the model."""


def add_output_option(parser: argparse.ArgumentParser) -> None:
    """Add --output.

    Args:
        parser: Parser of the benchmark.
    """
    parser.add_argument("--output", type=Path, default=Path("out/bench"), help="folder of logs and numbers")


def demo_session(
    output: Path, rate_hz: float, topics: Sequence[str] = ("detections", "mask_image", "overlay")
) -> SessionSettings:
    """Describe a session on the demo's table.

    Args:
        output: Folder of logs and numbers; created if missing.
        rate_hz: Frames a second that the camera publishes.
        topics: Topics of the node that are subscribed to.

    Returns:
        Settings for `run_session`.
    """
    out = output.resolve()
    out.mkdir(parents=True, exist_ok=True)
    return SessionSettings(
        out, out / "cache", scene=DEMO_SCENE, object_set=DEMO_OBJECT_SET, rate_hz=rate_hz, topics=topics
    )


def stage_latencies_ms(diagnostics: Mapping[str, str]) -> dict[str, tuple[float, float]]:
    """Read the stages of the node's diagnostics.

    Args:
        diagnostics: Keys and values of /diagnostics.

    Returns:
        Median and 95th percentile by stage, milliseconds.
    """
    stages = [key.split(".")[1] for key in diagnostics if key.startswith("latency_ms.") and key.endswith(".median")]
    return {
        stage: (
            float(diagnostics[f"latency_ms.{stage}.median"]),
            float(diagnostics[f"latency_ms.{stage}.percentile_95"]),
        )
        for stage in stages
    }


def node_overhead_ms(latencies_ms: Mapping[str, tuple[float, float]]) -> tuple[float, float]:
    """Sum what the node itself adds to a frame.

    Args:
        latencies_ms: Median and 95th percentile by stage.

    Returns:
        Sums of the medians and of the 95th percentiles, milliseconds.
    """
    median_ms, percentile_95_ms = (sum(latencies_ms[stage][column] for stage in NODE_STAGES) for column in (0, 1))
    return median_ms, percentile_95_ms
