"""Detection of messages that were published and did not arrive, from the stamps of those that did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ism_ros.node.event_log import DiagnosticEvent

WINDOWS_S = (5.0, 10.0, 20.0, 40.0)
"""Times to look back, seconds: the first that holds enough messages; the later ones are for slow cameras."""
MIN_MESSAGES = 20
"""Number of messages within the window below which nothing is concluded."""
MAX_DROPPED_FRACTION = 0.2
"""Fraction of missing messages up to which there is no warning."""
MIN_GAPS = 4
"""Number of gaps below which they are pauses of the camera: a transport drops messages again and again."""
PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
"""Environment variables that name a Fast DDS profile."""


def drop_remedy(middleware: str, environment: Mapping[str, str]) -> str:
    """Return what to do where the transport drops images.

    Args:
        middleware: RMW identifier, such as `rmw_fastrtps_cpp`.
        environment: Environment variables of the process.
    """
    if "cyclonedds" in middleware:
        return "run camera and node with config/cyclonedds.xml as CYCLONEDDS_URI (docs/transport.md)"
    if "zenoh" in middleware:
        return "switch on Zenoh's shared memory for camera and node (docs/transport.md)"
    if any(environment.get(name) for name in PROFILE_VARIABLES):
        return "run the camera, too, with a Fast DDS profile like config/fastdds.xml (docs/transport.md)"
    return "run camera and node with the Fast DDS profile config/fastdds.xml (docs/transport.md)"


def lookback_s(arrivals_s: Sequence[Sequence[float]], now_s: float) -> float:
    """Return how many seconds to look back: until one topic has enough messages, or the longest of WINDOWS_S.

    Args:
        arrivals_s: Arrival times of the messages of each topic, on the clock of `now_s`.
        now_s: The time now.
    """
    for seconds in WINDOWS_S:
        if any(sum(now_s - arrival_s <= seconds for arrival_s in arrived) >= MIN_MESSAGES for arrived in arrivals_s):
            return seconds
    return WINDOWS_S[-1]


def dropped_fraction(stamps_s: Sequence[float]) -> float:
    """Return the fraction of messages that are missing in a sequence of stamps.

    A gap of n periods, n >= 2, counts as n - 1 missing messages.
    """
    steps_s = np.diff(np.unique(np.array(stamps_s)))
    if steps_s.size + 1 < MIN_MESSAGES:
        return 0.0
    # the lower quartile: with every second message lost, the median would be a gap itself
    period_s = float(np.percentile(steps_s, 25))
    gaps = np.maximum(np.round(steps_s / period_s) - 1, 0)
    if np.count_nonzero(gaps) < MIN_GAPS:
        return 0.0
    missing = float(gaps.sum())
    return missing / (missing + steps_s.size + 1)


def dropped_message_events(
    stamps_s: Mapping[str, Sequence[float]], frames: int, slop_s: float, remedy: str, seconds: float = WINDOWS_S[0]
) -> list[DiagnosticEvent]:
    """Return what is wrong with a stream that runs.

    Args:
        stamps_s: Stamps that arrived on each topic within the last `seconds`, by its name; rgb first.
        frames: Number of synchronised frames in that time.
        slop_s: Largest difference of stamps of one frame.
        remedy: What to do where the transport drops messages.
        seconds: How far back is looked.
    """
    events = []
    for topic, stamps in stamps_s.items():
        fraction = dropped_fraction(stamps)
        if fraction > MAX_DROPPED_FRACTION:
            events.append(
                DiagnosticEvent(
                    "frames_lost",
                    f"{fraction:.0%} of the messages on {topic} do not arrive: lost in the transport, or more than "
                    f"this machine can take (gaps in their stamps); {remedy}",
                )
            )
    counts = {topic: len(stamps) for topic, stamps in stamps_s.items()}
    images = next(iter(counts.values()))
    if not events and images >= MIN_MESSAGES and frames < (1 - MAX_DROPPED_FRACTION) * images:
        events.append(_incomplete_frames_event(counts, frames, slop_s, seconds))
    return events


def _incomplete_frames_event(counts: Mapping[str, int], frames: int, slop_s: float, seconds: float) -> DiagnosticEvent:
    rgb, images = next(iter(counts.items()))
    rarest = min(counts, key=lambda topic: counts[topic])
    if counts[rarest] < (1 - MAX_DROPPED_FRACTION) * images:
        cause = (
            f"{rarest} came only {counts[rarest]} times; give both streams one rate in the camera driver, or leave it "
            "so if these frames are enough"
        )
    else:
        cause = (
            f"all topics came often enough, but not with stamps within slop ({slop_s:g} s); switch synchronisation on "
            "in the camera driver, or raise slop"
        )
    return DiagnosticEvent(
        "frames_incomplete", f"of {images} images on {rgb} in {seconds:g} s only {frames} found partners: {cause}"
    )
