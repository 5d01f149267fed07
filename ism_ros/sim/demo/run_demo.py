"""One run of the demo: start camera and node, compare results with the ground truth, write pictures and numbers."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from ism_ros.sim import truth_files
from ism_ros.sim.demo.camera_and_node import Session, SessionSettings, run_session
from ism_ros.sim.demo.demo_report import (
    detection_rows,
    newest_with_overlay,
    print_objects,
    print_speed,
    result_rate_hz,
    without_nan,
)
from ism_ros.sim.demo.subscriber_probe import ReceivedFrame
from ism_ros.sim.demo.truth_comparison import ObjectSummary, compare, summarise

MIN_RESULTS = 5
"""Least number of results that are waited for on a slow machine, so that there is something to average."""


def run(options: argparse.Namespace, console: Console) -> int:
    """Run camera and node, compare their results with the ground truth, write and print them.

    Args:
        options: Those of the command line.
        console: Where to print.

    Returns:
        0 where objects were found, else 1.

    Raises:
        SubprocessError: Camera or node has ended.
        TimeoutError: No result came in time.
    """
    out = Path(options.output).resolve()
    out.mkdir(parents=True, exist_ok=True)
    cache = Path(options.cache).resolve() if options.cache else out / "cache"
    settings = SessionSettings(out, cache, options.scene, options.object_set, options.rate)
    with run_session(settings) as session, _progress(console) as progress:
        _receive(session, progress, options)
        frames, diagnostics = session.probe.frames, dict(session.probe.diagnostics.values)
    views, stamps = truth_files.read_views(out), truth_files.read_stamps(out)
    shown = newest_with_overlay(frames, stamps)
    if shown is None:
        raise TimeoutError(f"detections came, but no overlay with them; see {out / 'node.log'}")
    matches = {
        stamp: compare(frame.detections, frame.labels, views[stamps[stamp]])
        for stamp, frame in frames.items()
        if frame.detections is not None and frame.labels is not None and stamps.get(stamp) in views
    }
    summary = summarise(matches, {stamp: views[stamps[stamp]] for stamp in matches}, shown)
    rate_hz = result_rate_hz(frames)
    _write_picture(frames[shown], out / "overlay.png")
    content = {
        "stamp_ns": shown,
        "truth_view": stamps[shown],
        "detections": detection_rows(frames[shown]),
        "objects": [vars(row) for row in summary],
        "rate_hz": round(rate_hz, 2),
        "diagnostics": diagnostics,
    }
    (out / "detections.json").write_text(json.dumps(without_nan(content), indent=1))
    _print(console, summary, len(matches), diagnostics, rate_hz, out)
    return 0 if any(row.found for row in summary) else 1


def _receive(session: Session, progress: Progress, options: argparse.Namespace) -> None:
    """Receive results for as long as asked for, longer where there are few."""
    task = progress.add_task("starting", total=None)
    session.wait_for_first(options.timeout, lambda doing: progress.update(task, description=doing))
    progress.update(task, total=options.seconds)
    start = time.monotonic()
    while (elapsed := time.monotonic() - start) < options.seconds or (
        session.probe.complete_frames < MIN_RESULTS and elapsed < 4 * options.seconds
    ):
        session.spin(0.5)
        description = f"listening: {session.probe.complete_frames} results"
        progress.update(task, completed=min(elapsed, options.seconds), description=description)


def _write_picture(frame: ReceivedFrame, file: Path) -> None:
    cv2.imwrite(str(file), cv2.cvtColor(np.asarray(frame.overlay), cv2.COLOR_RGB2BGR))


def _print(
    console: Console,
    summary: list[ObjectSummary],
    frames: int,
    diagnostics: Mapping[str, str],
    rate_hz: float,
    out: Path,
) -> None:
    print_objects(console, summary, frames)
    print_speed(console, diagnostics)
    skipped = diagnostics.get("frames_dropped", "?")
    console.print(f"frame rate: {rate_hz:.1f} results a second; {skipped} frames skipped for newer ones")
    console.print(f"picture: {_short(out / 'overlay.png')}")
    console.print(f"numbers: {_short(out / 'detections.json')}; truth: {_short(out / truth_files.TRUTH)}")


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=30), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True)


def _short(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
