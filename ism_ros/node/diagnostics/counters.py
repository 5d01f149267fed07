"""What the node counts and times about its frames."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ism_ros.data.detections import NearMiss

WINDOW_FRAMES = 200
RATE_WINDOW_S = 10.0
OBJECT_FAILURE_S = 60.0
"""Somebody waits for that object: it is said for a minute, or until another one is added or removed."""
NEVER = (-float("inf"), "")


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one stage over the last frames."""

    median_ms: float
    percentile_95_ms: float


@dataclass(frozen=True)
class Snapshot:
    """All numbers at one moment. Counters run from the node's start, recent_* tell of the last seconds.

    recoveries: how often work went on in smaller pieces after memory had run out. all_rejected: no frame of the last
    seconds could be used. near_miss: where the last frame had no detection, what came nearest to one.
    """

    processed: int = 0
    rate_hz: float = 0.0
    last_frame_age_s: float | None = None
    latencies: Mapping[str, Latency] = field(default_factory=dict)
    rejected: Mapping[str, int] = field(default_factory=dict)
    noticed: Mapping[str, int] = field(default_factory=dict)
    failures: int = 0
    recoveries: int = 0
    recent_rejection: str = ""
    all_rejected: bool = False
    recent_failure: str = ""
    recent_notice: str = ""
    recent_recovery: bool = False
    recent_object_failure: str = ""
    detections: int = 0
    near_miss: NearMiss | None = None


class Statistics:
    """Counts from any thread. `recent_s`: for how long a rejection, failure, notice or recovery counts as recent."""

    def __init__(self, recent_s: float = 5.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.Lock()
        self._clock = clock
        self._recent_s = recent_s
        self._stage_s: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=WINDOW_FRAMES))
        self._finished: deque[float] = deque(maxlen=4096)
        self._processed = 0
        self._detections = 0
        self._near_miss: NearMiss | None = None
        self._rejected: Counter[str] = Counter()
        self._noticed: Counter[str] = Counter()
        self._failures = 0
        self._recoveries = 0
        self._last_rejection = self._last_failure = self._last_notice = self._last_object_failure = NEVER
        self._last_recovery_s = -float("inf")

    def frame_done(self, stage_s: Mapping[str, float], detections: int, near_miss: NearMiss | None = None) -> None:
        """One frame was processed and published."""
        with self._lock:
            self._processed += 1
            self._detections = detections
            self._near_miss = near_miss
            self._finished.append(self._clock())
            for stage, seconds in stage_s.items():
                self._stage_s[stage].append(seconds)

    def took(self, stage: str, seconds: float) -> None:
        """Something beside the frames took so long."""
        with self._lock:
            self._stage_s[stage].append(seconds)

    def frame_rejected(self, reason: str, text: str) -> None:
        """One frame could not be used."""
        with self._lock:
            self._rejected[reason] += 1
            self._last_rejection = (self._clock(), text)

    def noticed(self, reason: str, text: str = "", count: int = 1) -> None:
        """Something odd that stopped no frame. text: what to say of it to whoever looks after the camera."""
        with self._lock:
            self._noticed[reason] += count
            if text:
                self._last_notice = (self._clock(), text)

    def recovered(self, count: int) -> None:
        """So often, all in all, did work go on in smaller pieces after memory had run out."""
        with self._lock:
            if count > self._recoveries:
                self._last_recovery_s = self._clock()
            self._recoveries = count

    def object_failed(self, text: str) -> None:
        """An object could not be added; "" takes that back."""
        with self._lock:
            self._last_object_failure = (self._clock(), text)

    def inference_failed(self, text: str) -> None:
        """The model raised."""
        with self._lock:
            self._failures += 1
            self._last_failure = (self._clock(), text)

    def snapshot(self) -> Snapshot:
        with self._lock:
            now = self._clock()
            return Snapshot(
                processed=self._processed,
                rate_hz=_rate_hz(self._finished, now),
                last_frame_age_s=now - self._finished[-1] if self._finished else None,
                latencies={stage: _latency(list(seconds)) for stage, seconds in self._stage_s.items()},
                rejected=dict(self._rejected),
                noticed=dict(self._noticed),
                failures=self._failures,
                recoveries=self._recoveries,
                recent_rejection=self._recent(self._last_rejection, now),
                all_rejected=not self._finished or now - self._finished[-1] > self._recent_s,
                recent_failure=self._recent(self._last_failure, now),
                recent_notice=self._recent(self._last_notice, now),
                recent_recovery=now - self._last_recovery_s <= self._recent_s,
                recent_object_failure=self._recent(self._last_object_failure, now, OBJECT_FAILURE_S),
                detections=self._detections,
                near_miss=self._near_miss,
            )

    def _recent(self, event: tuple[float, str], now: float, for_s: float | None = None) -> str:
        return event[1] if now - event[0] <= (self._recent_s if for_s is None else for_s) else ""


def _rate_hz(finished: deque[float], now: float) -> float:
    if not finished or now <= finished[0]:
        return 0.0
    return sum(now - done <= RATE_WINDOW_S for done in finished) / min(RATE_WINDOW_S, now - finished[0])


def _latency(seconds: list[float]) -> Latency:
    # np.percentile takes ten times as long for so few numbers, and twice a second the frames would wait for it
    in_order_ms = [1000.0 * second for second in sorted(seconds)]
    return Latency(_quantile(in_order_ms, 0.5), _quantile(in_order_ms, 0.95))


def _quantile(in_order: Sequence[float], share: float) -> float:
    """Between the two values next to `share` of the way, as np.quantile does."""
    place = share * (len(in_order) - 1)
    below = int(place)
    above = min(below + 1, len(in_order) - 1)
    return in_order[below] + (place - below) * (in_order[above] - in_order[below])
