"""/diagnostics: three statuses twice a second, each with a level that a person can act on."""

from __future__ import annotations

import os
import resource
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from ism_ros.node.camera_monitoring.frequency_monitor import Rhythm
from ism_ros.node.diagnostics.counters import Snapshot
from ism_ros.node.diagnostics.summaries import Verdict

PAGE_BYTES = resource.getpagesize()
MEBIBYTE = 1024 * 1024

Values = list[tuple[str, str]]


def camera_values(rhythm: Rhythm, stamp_age_s: float | None, snapshot: Snapshot) -> Values:
    """What came in, as key and value; keys are stable."""
    return [
        ("camera_rate_hz", f"{rhythm.rate_hz:.2f}"),
        ("last_frame_age_s", _seconds(rhythm.age_s)),
        ("silent_after_s", f"{rhythm.patience_s:.1f}"),
        ("stamp_age_s", _seconds(stamp_age_s)),
        ("frames_rejected", str(sum(snapshot.rejected.values()))),
        *((f"rejected.{reason}", str(count)) for reason, count in sorted(snapshot.rejected.items())),
        *((f"noticed.{reason}", str(count)) for reason, count in sorted(snapshot.noticed.items())),
    ]


def segmentation_values(snapshot: Snapshot, dropped: int) -> Values:
    """What came out, as key and value; keys are stable. dropped: frames that gave way to newer ones."""
    return [
        ("rate_hz", f"{snapshot.rate_hz:.2f}"),
        ("frames_processed", str(snapshot.processed)),
        ("frames_dropped", str(dropped)),
        ("inference_failures", str(snapshot.failures)),
        ("out_of_memory_recoveries", str(snapshot.recoveries)),
        ("last_result_age_s", _seconds(snapshot.last_frame_age_s)),
        ("detections", str(snapshot.detections)),
        *(
            pair
            for stage, latency in snapshot.latencies.items()
            for pair in (
                (f"latency_ms.{stage}.median", f"{latency.median_ms:.1f}"),
                (f"latency_ms.{stage}.percentile_95", f"{latency.percentile_95_ms:.1f}"),
            )
        ),
    ]


def process_values(device: str) -> Values:
    """What the process takes: memory, threads, open files and, on a GPU, its memory there and what is free."""
    with open("/proc/self/statm", encoding="ascii") as statm:
        resident_pages = int(statm.read().split()[1])
    values = [
        ("memory_mb.process", f"{resident_pages * PAGE_BYTES / MEBIBYTE:.0f}"),
        ("threads", str(len(os.listdir("/proc/self/task")))),
        ("file_descriptors", str(len(os.listdir("/proc/self/fd")))),
    ]
    if device.startswith("cuda"):
        free, total = torch.cuda.mem_get_info(device)
        values += [
            ("memory_mb.device", f"{torch.cuda.memory_allocated(device) / MEBIBYTE:.0f}"),
            ("memory_mb.device_peak", f"{torch.cuda.max_memory_allocated(device) / MEBIBYTE:.0f}"),
            ("memory_mb.device_free", f"{free / MEBIBYTE:.0f}"),
            ("memory_mb.device_total", f"{total / MEBIBYTE:.0f}"),
        ]
    return values


@dataclass(frozen=True)
class Status:
    """One line of rqt_robot_monitor. name: stable; what comes before ": " groups the statuses of one node."""

    name: str
    hardware_id: str
    verdict: Verdict
    values: Sequence[tuple[str, str]]


def diagnostic_array(stamp: object, statuses: Sequence[Status]) -> DiagnosticArray:
    """The message. stamp: builtin_interfaces Time."""
    message = DiagnosticArray(status=[_status(status) for status in statuses])
    message.header.stamp = stamp
    return message


def _status(status: Status) -> DiagnosticStatus:
    return DiagnosticStatus(
        level=status.verdict.level,
        name=status.name,
        message=status.verdict.text,
        hardware_id=status.hardware_id,
        values=[KeyValue(key=key, value=value) for key, value in status.values],
    )


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.1f}"
