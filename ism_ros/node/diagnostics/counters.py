"""Counts and latencies of the frames that were processed."""

from __future__ import annotations

import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ism_ros.data.detections import RejectedDetection
from ism_ros.node.event_log import RECENT_S

WINDOW_FRAMES = 200
"""Number of frames over which latencies are summarised."""
RATE_WINDOW_S = 10.0
"""Time over which the rate of results is averaged, seconds."""


@dataclass(frozen=True)
class Latency:
    """Duration of one stage over the last frames.

    Attributes:
        median_ms: Median, milliseconds.
        percentile_95_ms: 95th percentile, milliseconds.
    """

    median_ms: float
    percentile_95_ms: float


@dataclass(frozen=True)
class FrameSnapshot:
    """All numbers of `FrameCounters` at one moment.

    Attributes:
        processed: Number of frames with a published result, since the start of the node.
        rate_hz: Results a second over the last RATE_WINDOW_S.
        last_frame_age_s: Seconds since the last result, None before the first.
        latencies: Duration of each stage by name, in the order of the stages.
        recoveries: How often inference went on in smaller batches after memory had run out, since the start.
        recent_recovery: Whether that happened within RECENT_S.
        detections: Number of detections in the last frame.
        best_rejected: Best rejected detection of the last frame where it has none, else None.
    """

    processed: int = 0
    rate_hz: float = 0.0
    last_frame_age_s: float | None = None
    latencies: Mapping[str, Latency] = field(default_factory=dict)
    recoveries: int = 0
    recent_recovery: bool = False
    detections: int = 0
    best_rejected: RejectedDetection | None = None

    @property
    def is_idle(self) -> bool:
        """Whether there was no result within RECENT_S."""
        return self.last_frame_age_s is None or self.last_frame_age_s > RECENT_S


class FrameCounters:
    """Counts and times frames; may be called from any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start with nothing counted.

        Args:
            clock: Returns seconds that never run backwards.
        """
        self._lock = threading.Lock()
        self._clock = clock
        self._stage_s: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=WINDOW_FRAMES))
        self._finished: deque[float] = deque(maxlen=4096)
        self._processed = 0
        self._detections = 0
        self._best_rejected: RejectedDetection | None = None
        self._recoveries = 0
        self._last_recovery_s = -float("inf")

    def frame_done(
        self, stage_s: Mapping[str, float], detections: int, best_rejected: RejectedDetection | None = None
    ) -> None:
        """Count one frame that was processed and published.

        Args:
            stage_s: Duration of each stage by name, seconds.
            detections: Number of detections in it.
            best_rejected: Best rejected detection where there are none.
        """
        with self._lock:
            self._processed += 1
            self._detections = detections
            self._best_rejected = best_rejected
            self._finished.append(self._clock())
            for stage, seconds in stage_s.items():
                self._stage_s[stage].append(seconds)

    def add_duration(self, stage: str, seconds: float) -> None:
        """Add the duration of something that is no part of a frame to the latencies."""
        with self._lock:
            self._stage_s[stage].append(seconds)

    def update_recoveries(self, count: int) -> None:
        """Set how often, since the start, inference went on in smaller batches after memory had run out."""
        with self._lock:
            if count > self._recoveries:
                self._last_recovery_s = self._clock()
            self._recoveries = count

    def snapshot(self) -> FrameSnapshot:
        """Return all numbers as they are now."""
        with self._lock:
            now_s = self._clock()
            return FrameSnapshot(
                processed=self._processed,
                rate_hz=_rate_hz(self._finished, now_s),
                last_frame_age_s=now_s - self._finished[-1] if self._finished else None,
                latencies={stage: _latency(list(seconds)) for stage, seconds in self._stage_s.items()},
                recoveries=self._recoveries,
                recent_recovery=now_s - self._last_recovery_s <= RECENT_S,
                detections=self._detections,
                best_rejected=self._best_rejected,
            )


def _rate_hz(finished: deque[float], now_s: float) -> float:
    if not finished or now_s <= finished[0]:
        return 0.0
    return sum(now_s - done_s <= RATE_WINDOW_S for done_s in finished) / min(RATE_WINDOW_S, now_s - finished[0])


def _latency(seconds: list[float]) -> Latency:
    # np.percentile takes ten times as long for so few numbers, and twice a second the frames would wait for it
    sorted_ms = [1000.0 * second for second in sorted(seconds)]
    return Latency(_quantile(sorted_ms, 0.5), _quantile(sorted_ms, 0.95))


def _quantile(sorted_values: Sequence[float], fraction: float) -> float:
    """Interpolate linearly between the two nearest values, as np.quantile does."""
    position = fraction * (len(sorted_values) - 1)
    below = int(position)
    above = min(below + 1, len(sorted_values) - 1)
    return sorted_values[below] + (position - below) * (sorted_values[above] - sorted_values[below])
