"""Frames that were published and did not come, or came without their partners: told from the stamps that did come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ism_ros.node.camera_monitoring.missing_frames import Problem

WINDOWS_S = (5.0, 10.0, 20.0, 40.0)
"""Looked back on: the first that holds enough messages; the later ones are for slow cameras."""
FEWEST_MESSAGES = 20
"""Of fewer messages within the window nothing is concluded."""
TOLERATED_SHARE = 0.2
FEWEST_GAPS = 4
"""A transport loses messages again and again; fewer gaps are pauses of the camera."""


def window_s(arrivals_s: Sequence[Sequence[float]], now_s: float) -> float:
    """For how long to look back: until one of the topics has enough messages, or as long as makes sense.

    arrivals_s: when the messages of each topic came, on the clock of `now_s`.
    """
    for seconds in WINDOWS_S:
        if any(sum(now_s - arrival_s <= seconds for arrival_s in arrived) >= FEWEST_MESSAGES for arrived in arrivals_s):
            return seconds
    return WINDOWS_S[-1]


def lost_share(stamps_s: Sequence[float]) -> float:
    """Share of the messages that are missing in a sequence of stamps, as gaps of two or more of its periods show."""
    steps_s = np.diff(np.unique(np.array(stamps_s)))
    if steps_s.size + 1 < FEWEST_MESSAGES:
        return 0.0
    # the lower quartile: with every second message lost, the median would be a gap itself
    period_s = float(np.percentile(steps_s, 25))
    gaps = np.maximum(np.round(steps_s / period_s) - 1, 0)
    if np.count_nonzero(gaps) < FEWEST_GAPS:
        return 0.0
    missing = float(gaps.sum())
    return missing / (missing + steps_s.size + 1)


def losses(
    stamps_s: Mapping[str, Sequence[float]], triples: int, slop_s: float, remedy: str, seconds: float = WINDOWS_S[0]
) -> list[Problem]:
    """What is wrong with a stream that runs.

    stamps_s: for each topic by name, rgb first, the stamps that came within the last `seconds`. triples: complete
    frames in that time. remedy: what to do where the transport loses messages.
    """
    problems = []
    for topic, stamps in stamps_s.items():
        share = lost_share(stamps)
        if share > TOLERATED_SHARE:
            problems.append(
                Problem(
                    "frames_lost",
                    f"{share:.0%} of the messages on {topic} do not arrive: lost in the transport, or more than this "
                    f"machine can take (gaps in their stamps); {remedy}",
                )
            )
    counts = {topic: len(stamps) for topic, stamps in stamps_s.items()}
    images = next(iter(counts.values()))
    if not problems and images >= FEWEST_MESSAGES and triples < (1 - TOLERATED_SHARE) * images:
        problems.append(_incomplete(counts, triples, slop_s, seconds))
    return problems


def _incomplete(counts: Mapping[str, int], triples: int, slop_s: float, seconds: float) -> Problem:
    rgb, images = next(iter(counts.items()))
    rarest = min(counts, key=lambda topic: counts[topic])
    if counts[rarest] < (1 - TOLERATED_SHARE) * images:
        why = (
            f"{rarest} came only {counts[rarest]} times; give both streams one rate in the camera driver, or leave it "
            "so if these frames are enough"
        )
    else:
        why = (
            f"all topics came often enough, but not with stamps within slop ({slop_s:g} s); switch synchronisation on "
            "in the camera driver, or raise slop"
        )
    return Problem(
        "frames_incomplete", f"of {images} images on {rgb} in {seconds:g} s only {triples} found partners: {why}"
    )
