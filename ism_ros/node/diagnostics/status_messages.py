"""The message on /diagnostics: three statuses, each with a level, a sentence and values."""

from __future__ import annotations

import os
import resource
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from ism_ros.node.camera_monitoring.camera_status import CameraStatus
from ism_ros.node.diagnostics.counters import FrameSnapshot
from ism_ros.node.diagnostics.summaries import ObjectsStatus, Summary
from ism_ros.node.event_log import EventSnapshot

PAGE_BYTES = resource.getpagesize()
"""Size of a memory page, bytes."""
MEBIBYTE = 1024 * 1024
"""Bytes in the unit of the memory values."""

Values = list[tuple[str, str]]


@dataclass(frozen=True)
class Status:
    """One line of rqt_robot_monitor.

    Attributes:
        name: Stable; what comes before ": " groups the statuses of one node.
        hardware_id: Topic or computer that the status is about.
        summary: Level and message.
        values: Keys and values; keys are stable.
    """

    name: str
    hardware_id: str
    summary: Summary
    values: Sequence[tuple[str, str]]


def diagnostic_array(stamp: object, statuses: Sequence[Status]) -> DiagnosticArray:
    """Return the message.

    Args:
        stamp: A builtin_interfaces/Time.
        statuses: Its statuses, in order.
    """
    message = DiagnosticArray(status=[_status(status) for status in statuses])
    message.header.stamp = stamp
    return message


def camera_values(camera: CameraStatus, events: EventSnapshot) -> Values:
    """Return what came in as keys and values; keys are stable."""
    return [
        ("camera_rate_hz", f"{camera.rate_hz:.2f}"),
        ("last_frame_age_s", _seconds(camera.last_frame_age_s)),
        ("silent_after_s", f"{camera.timeout_s:.1f}"),
        ("stamp_age_s", _seconds(camera.stamp_age_s)),
        ("frames_rejected", str(sum(events.rejected.values()))),
        *((f"rejected.{reason}", str(count)) for reason, count in sorted(events.rejected.items())),
        *((f"noticed.{reason}", str(count)) for reason, count in sorted(events.noticed.items())),
    ]


def segmentation_values(frames: FrameSnapshot, failures: int, dropped: int) -> Values:
    """Return what came out as keys and values; keys are stable.

    Args:
        frames: Counts and latencies.
        failures: Number of failed inferences.
        dropped: Number of frames that were replaced by newer ones before they were processed.
    """
    return [
        ("rate_hz", f"{frames.rate_hz:.2f}"),
        ("frames_processed", str(frames.processed)),
        ("frames_dropped", str(dropped)),
        ("inference_failures", str(failures)),
        ("out_of_memory_recoveries", str(frames.recoveries)),
        ("last_result_age_s", _seconds(frames.last_frame_age_s)),
        ("detections", str(frames.detections)),
        *_latency_values(frames, "latency_ms"),
    ]


def search_values(searches: FrameSnapshot) -> Values:
    """Return what was searched beside the following; nothing without `tracking: pose`.

    Args:
        searches: Counts and latencies.
    """
    if not searches.processed:
        return []
    return [
        ("search_rate_hz", f"{searches.rate_hz:.2f}"),
        ("frames_searched", str(searches.processed)),
        *_latency_values(searches, "search_latency_ms"),
    ]


def _latency_values(frames: FrameSnapshot, prefix: str) -> Values:
    return [
        pair
        for stage, latency in frames.latencies.items()
        for pair in (
            (f"{prefix}.{stage}.median", f"{latency.median_ms:.1f}"),
            (f"{prefix}.{stage}.percentile_95", f"{latency.percentile_95_ms:.1f}"),
        )
    ]


def objects_values(objects: ObjectsStatus) -> Values:
    """Return the objects as keys and values; keys are stable."""
    return [
        ("objects", str(len(objects.ids))),
        ("version", str(objects.version)),
        ("objects_problem", objects.problem),
        ("objects_doubts", str(len(objects.warnings))),
    ]


def process_values(device: str) -> Values:
    """Return what the process uses: memory, threads, open files and, on a GPU, its memory there.

    Args:
        device: PyTorch device of the model, such as `cpu` or `cuda:0`.
    """
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


def _status(status: Status) -> DiagnosticStatus:
    return DiagnosticStatus(
        level=status.summary.level,
        name=status.name,
        message=status.summary.text,
        hardware_id=status.hardware_id,
        values=[KeyValue(key=key, value=value) for key, value in status.values],
    )


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.1f}"
