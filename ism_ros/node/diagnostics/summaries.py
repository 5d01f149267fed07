"""From what is known of the node to three statuses of /diagnostics: a level, what is wrong and what to do.

docs/diagnostics.md lists the sentences; test/ros/test_diagnostics_docs.py holds it to this file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from diagnostic_msgs.msg import DiagnosticStatus

from ism_ros.node.camera_monitoring.missing_frames import Problem
from ism_ros.node.diagnostics.counters import Snapshot
from ism_ros.runtime.batches import is_out_of_memory

OK, WARN, ERROR, STALE = (
    DiagnosticStatus.OK,
    DiagnosticStatus.WARN,
    DiagnosticStatus.ERROR,
    DiagnosticStatus.STALE,
)
LONG_S = 30.0
"""A frame that takes longer is worth a warning: the model may hang."""
CLOCK_TOLERANCE_S = 60.0
"""Stamps further from the node's clock are of another clock, not late."""
MAY_COME = ("no_publishers", "topic_missing", "nothing_arrives", "clock_stands")
"""Before the first frame these are a camera that is not there yet."""
SHOWN_IDS = 10


@dataclass(frozen=True)
class Verdict:
    """`level` as in DiagnosticStatus; `text` for the person who reads it."""

    level: bytes
    text: str


def camera_verdict(
    state: str,
    problem: Problem | None,
    had_frames: bool,
    is_gone: bool,
    rate_hz: float,
    stamp_age_s: float | None,
    snapshot: Snapshot,
) -> Verdict:
    """What comes in: the worst thing first.

    problem: why no frame comes. is_gone: nothing at all comes any more. rate_hz: frames a second.
    stamp_age_s: the node's clock less the last stamp, None before the first frame.
    """
    if state != "active":
        return Verdict(OK, f"not listened to: the node is {state or 'starting'}")
    if problem is not None:
        if had_frames and is_gone:
            return Verdict(STALE, problem.text)
        return Verdict(WARN if not had_frames and problem.reason in MAY_COME else ERROR, problem.text)
    if snapshot.recent_rejection:
        return Verdict(ERROR if snapshot.all_rejected else WARN, f"frame rejected: {snapshot.recent_rejection}")
    if snapshot.recent_notice:
        return Verdict(WARN, snapshot.recent_notice)
    if stamp_age_s is not None and abs(stamp_age_s) > CLOCK_TOLERANCE_S:
        return Verdict(
            WARN,
            f"stamps are {abs(stamp_age_s):.0f} s {'behind' if stamp_age_s > 0 else 'ahead of'} this node's clock: "
            "keep the computers' clocks together by chrony or PTP, or set use_sim_time where a bag is played (--clock)",
        )
    if not had_frames:
        return Verdict(OK, "waiting for the first frame")
    return Verdict(OK, f"{rate_hz:.1f} frames a second arrive")


def segmentation_verdict(
    state: str,
    progress: str,
    load_error: str,
    no_frames: bool,
    busy_s: float,
    snapshot: Snapshot,
    namesake: str = "",
) -> Verdict:
    """Models and results: the worst thing first.

    progress: what is being loaded. load_error: why the node could not be configured. no_frames: the camera gives none.
    busy_s: for how long the frame at hand has been worked on. namesake: that there is another node of this name.
    """
    if load_error:
        return Verdict(ERROR, f"not configured: {load_error}; mend that and configure the node again")
    if namesake:
        return Verdict(WARN, namesake)
    if state == "unconfigured":
        return Verdict(OK, "unconfigured: configure and activate it, or set autostart")
    if state == "inactive":
        return Verdict(OK, "inactive: activate it to answer frames")
    if state != "active":
        return Verdict(OK, progress or state or "starting")
    if snapshot.recent_failure:
        return Verdict(ERROR, snapshot.recent_failure)
    if busy_s > LONG_S:
        return Verdict(
            WARN,
            f"one frame has taken {busy_s:.0f} s so far: set profile to a faster one or device to a GPU; "
            "if it never ends, restart the node",
        )
    if snapshot.recent_recovery:
        return Verdict(
            WARN,
            "memory ran out and frames are worked on in smaller pieces, which is slower: close other programs that use "
            "the device, or set profile to a smaller one",
        )
    if no_frames:
        return Verdict(OK, "waiting for frames: see the status of the camera")
    if snapshot.processed == 0:
        return Verdict(OK, "waiting for the first frame")
    rate = f"{snapshot.rate_hz:.1f} frames a second"
    miss = snapshot.near_miss
    if miss is not None:
        return Verdict(
            OK,
            f"{rate}, and nothing found in the last: nearest to it came {miss.class_id} with {miss.score:.2f}; if that "
            "is there, lower score_threshold, which may change while the node runs",
        )
    return Verdict(OK, rate)


def objects_verdict(
    state: str, ids: Sequence[str], progress: str, problem: str, snapshot: Snapshot, doubts: Sequence[str] = ()
) -> Verdict:
    """What is looked for. progress: what is being added. problem: with the objects file or the cache. doubts: about the
    objects' own files, a sentence each."""
    if state not in ("active", "inactive"):
        return Verdict(OK, f"none yet: the node is {state or 'starting'}")
    wrong = "; ".join(text for text in (snapshot.recent_object_failure, problem) if text)
    if wrong:
        return Verdict(WARN, wrong)
    if progress:
        return Verdict(OK, progress)
    if not ids:
        return Verdict(WARN, "no objects to look for: set objects_file, or call ~/add_object")
    if doubts:
        more = f" (and {len(doubts) - 1} more such, see ~/list_objects)" if len(doubts) > 1 else ""
        return Verdict(WARN, f"{doubts[0]}{more}")
    more = f" and {len(ids) - SHOWN_IDS} more" if len(ids) > SHOWN_IDS else ""
    return Verdict(OK, f"{len(ids)} known: {', '.join(ids[:SHOWN_IDS])}{more}")


def failure_text(error: Exception) -> str:
    """One sentence about what a model raised."""
    lines = str(error).strip().splitlines()
    said = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    if is_out_of_memory(error):
        return (
            f"inference failed, out of memory ({said}): close other programs that use the device, set profile to a "
            "smaller one, or lower points_per_side"
        )
    return (
        f"inference failed: {said}: the frame is skipped; if it happens again, restart the node, run ism doctor and "
        "report it with the log"
    )
