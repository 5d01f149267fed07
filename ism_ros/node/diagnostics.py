"""/diagnostics: one status a second, with a level that a person can act on."""

from __future__ import annotations

import resource
from collections.abc import Sequence

import torch
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from ism_ros.node.statistics import Snapshot
from ism_ros.node.watch import Problem

PAGE_BYTES = resource.getpagesize()
MEBIBYTE = 1024 * 1024


def judge(
    state: str, progress: str, object_count: int, problem: Problem | None, had_frames: bool, snapshot: Snapshot
) -> tuple[bytes, str]:
    """Level and one line for the person who reads it: the worst thing first.

    state: the lifecycle state. progress: what is being loaded, or why loading failed. problem: why no frame comes.
    """
    if state == "unconfigured":
        if progress:
            return DiagnosticStatus.ERROR, progress
        return DiagnosticStatus.OK, "unconfigured"
    if state != "active":
        return DiagnosticStatus.OK, progress or state
    if snapshot.recent_failure:
        return DiagnosticStatus.ERROR, snapshot.recent_failure
    if problem is not None:
        return (DiagnosticStatus.ERROR if had_frames else DiagnosticStatus.WARN), problem.text
    if snapshot.recent_rejection:
        return DiagnosticStatus.WARN, f"frame rejected: {snapshot.recent_rejection}"
    if object_count == 0:
        return DiagnosticStatus.WARN, "no objects to look for: set objects_file, or call ~/add_object"
    if snapshot.processed == 0:
        return DiagnosticStatus.OK, "waiting for the first frame"
    return DiagnosticStatus.OK, f"{snapshot.rate_hz:.1f} frames a second"


def values_of(snapshot: Snapshot) -> list[tuple[str, str]]:
    """What the statistics say, as key and value; keys are stable."""
    age = "" if snapshot.last_frame_age_s is None else f"{snapshot.last_frame_age_s:.1f}"
    return [
        ("rate_hz", f"{snapshot.rate_hz:.2f}"),
        ("frames_processed", str(snapshot.processed)),
        ("frames_rejected", str(sum(snapshot.rejected.values()))),
        ("inference_failures", str(snapshot.failures)),
        ("last_frame_age_s", age),
        ("detections", str(snapshot.detections)),
        *((f"rejected.{reason}", str(count)) for reason, count in sorted(snapshot.rejected.items())),
        *((f"noticed.{reason}", str(count)) for reason, count in sorted(snapshot.noticed.items())),
        *(
            pair
            for stage, latency in snapshot.latencies.items()
            for pair in (
                (f"latency_ms.{stage}.median", f"{latency.median_ms:.1f}"),
                (f"latency_ms.{stage}.percentile_95", f"{latency.percentile_95_ms:.1f}"),
            )
        ),
    ]


def memory_values(device: str) -> list[tuple[str, str]]:
    """Memory of the process and, on a GPU, what torch has allocated there."""
    with open("/proc/self/statm", encoding="ascii") as statm:
        resident_pages = int(statm.read().split()[1])
    values = [("memory_mb.process", f"{resident_pages * PAGE_BYTES / MEBIBYTE:.0f}")]
    if device.startswith("cuda"):
        values.append(("memory_mb.device", f"{torch.cuda.memory_allocated(device) / MEBIBYTE:.0f}"))
    return values


def diagnostic_array(
    stamp: object, name: str, hardware_id: str, level: bytes, text: str, values: Sequence[tuple[str, str]]
) -> DiagnosticArray:
    """The message. stamp: builtin_interfaces Time."""
    status = DiagnosticStatus(
        level=level,
        name=name,
        message=text,
        hardware_id=hardware_id,
        values=[KeyValue(key=key, value=value) for key, value in values],
    )
    message = DiagnosticArray(status=[status])
    message.header.stamp = stamp
    return message
