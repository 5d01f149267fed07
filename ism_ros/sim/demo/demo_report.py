"""What the demo prints and writes: tables of objects and of the node's speed, the detections of a frame as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from ism_ros.sim.demo.subscriber_probe import ReceivedFrame
from ism_ros.sim.demo.truth_comparison import ObjectSummary

STAGE_PREFIX, STAGE_SUFFIX = "latency_ms.", ".median"
"""Start and end of the keys of stages in the node's diagnostics."""


def newest_with_overlay(frames: Mapping[int, ReceivedFrame], stamps: Mapping[int, int]) -> int | None:
    """Find the newest frame of which everything was received.

    Args:
        frames: Received frames by stamp, nanoseconds.
        stamps: Published views by stamp.

    Returns:
        Its stamp, or None where there is none.
    """
    ready = [stamp for stamp, frame in frames.items() if frame.complete and frame.overlay is not None]
    return max((stamp for stamp in ready if stamp in stamps), default=None)


def result_rate_hz(frames: Mapping[int, ReceivedFrame]) -> float:
    """Compute the rate of results between the first and the last.

    Args:
        frames: Received frames by stamp.

    Returns:
        Results a second, 0 for fewer than two.
    """
    times = sorted(frame.received_s for frame in frames.values() if frame.complete)
    return (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else 0.0


def detection_rows(frame: ReceivedFrame) -> list[dict[str, Any]]:
    """List the detections of a frame.

    Args:
        frame: What was received.

    Returns:
        One JSON object a detection: id, object, score, box, number of pixels and pose in the camera frame.
    """
    if frame.detections is None or frame.labels is None:
        return []
    rows = []
    for number, detection in enumerate(frame.detections.detections, start=1):
        hypothesis = detection.results[0]
        centre, size = detection.bbox.center.position, (detection.bbox.size_x, detection.bbox.size_y)
        position, orientation = hypothesis.pose.pose.position, hypothesis.pose.pose.orientation
        rows.append(
            {
                "id": detection.id,
                "object": hypothesis.hypothesis.class_id,
                "score": round(hypothesis.hypothesis.score, 4),
                "bbox_xywh": [centre.x - size[0] / 2, centre.y - size[1] / 2, *size],
                "pixels": int(np.count_nonzero(frame.labels == number)),
                "position_m": [position.x, position.y, position.z],
                "orientation_xyzw": [orientation.x, orientation.y, orientation.z, orientation.w],
            }
        )
    return rows


def without_nan(value: Any) -> Any:
    """Replace NaN by null, which JSON has instead: an unknown pose.

    Args:
        value: JSON-like value.

    Returns:
        The same with None for every float that is not finite.
    """
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def print_objects(console: Console, summary: Sequence[ObjectSummary], frames: int) -> None:
    """Print one row an object.

    Args:
        console: Where to.
        summary: The rows.
        frames: Number of frames that were compared.
    """
    table = Table(title=f"Score and IoU in the picture; mean IoU, found and false over {frames} frames")
    table.add_column("object")
    for column in ("score", "IoU with truth", "mean IoU", "found", "false"):
        table.add_column(column, justify="right")
    for row in summary:
        table.add_row(
            row.name,
            "-" if row.score is None else f"{row.score:.3f}",
            "-" if row.iou is None else f"{row.iou:.3f}",
            "-" if row.mean_iou is None else f"{row.mean_iou:.3f}",
            f"{row.found} of {row.visible}",
            str(row.false),
        )
    console.print(table)


def print_speed(console: Console, diagnostics: Mapping[str, str]) -> None:
    """Print the duration of the node's stages.

    Args:
        console: Where to.
        diagnostics: Keys and values of /diagnostics.
    """
    table = Table(title="Speed of the node")
    table.add_column("stage")
    for column in ("median, ms", "95 %, ms"):
        table.add_column(column, justify="right")
    for key, median in diagnostics.items():
        if key.startswith(STAGE_PREFIX) and key.endswith(STAGE_SUFFIX):
            stage = key[len(STAGE_PREFIX) : -len(STAGE_SUFFIX)]
            percentile = diagnostics.get(f"{STAGE_PREFIX}{stage}.percentile_95", "")
            table.add_row(stage.replace("_", " "), median, percentile)
    console.print(table)
