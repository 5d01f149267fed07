"""The one place where noteworthy events are counted, logged at a limited rate and kept for /diagnostics."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

RECENT_S = 5.0
"""How long a rejected frame, a failed inference or a warning is shown in /diagnostics."""
OBJECT_FAILURE_S = 60.0
"""How long an object that could not be added is shown: somebody is waiting for it."""
LOG_PERIOD_S = 10.0
"""Shortest time between two log lines of one reason."""
ONCE_S = float("inf")
"""Log period of a line that is written once in the life of the node."""

Severity = Literal["info", "warning", "error"]

_NEVER = (-float("inf"), "")


class Logger(Protocol):
    """The part of rclpy's logger that is used here."""

    def info(self, message: str) -> object:
        """Log at level INFO."""

    def warning(self, message: str) -> object:
        """Log at level WARN."""

    def error(self, message: str) -> object:
        """Log at level ERROR."""


@dataclass(frozen=True)
class DiagnosticEvent:
    """Something noteworthy that a person can act on.

    Attributes:
        reason: Short stable word, the key under which /diagnostics counts it (`noticed.<reason>`).
        text: One sentence that says what is wrong and what to do.
        count: How often it happened.
    """

    reason: str
    text: str
    count: int = 1


@dataclass(frozen=True)
class EventSnapshot:
    """Everything an `EventLog` knows at one moment.

    Attributes:
        noticed: Number of events by reason, since the start of the node.
        rejected: Number of rejected frames by reason, since the start of the node.
        failures: Number of failed inferences, since the start of the node.
        recent_rejection: Why the last frame was rejected, empty if that was more than RECENT_S ago.
        recent_failure: Why the last inference failed, likewise.
        recent_warning: Text of the last event that was warned about, likewise.
        recent_object_failure: Why the last object could not be added, empty if that was more than OBJECT_FAILURE_S ago
            or another object was added or removed since.
    """

    noticed: Mapping[str, int] = field(default_factory=dict)
    rejected: Mapping[str, int] = field(default_factory=dict)
    failures: int = 0
    recent_rejection: str = ""
    recent_failure: str = ""
    recent_warning: str = ""
    recent_object_failure: str = ""


class EventLog:
    """Counts, logs and remembers events; may be called from any thread."""

    def __init__(self, logger: Logger, clock: Callable[[], float] = time.monotonic) -> None:
        """Start with nothing counted.

        Args:
            logger: Receives the log lines.
            clock: Returns seconds that never run backwards.
        """
        self._logger = logger
        self._clock = clock
        self._lock = threading.Lock()
        self._noticed: Counter[str] = Counter()
        self._rejected: Counter[str] = Counter()
        self._failures = 0
        self._logged_s: dict[str, float] = {}
        self._last_text: dict[str, tuple[float, str]] = {}
        self._rejection = self._failure = self._warning = self._object_failure = _NEVER

    @property
    def now_s(self) -> float:
        """Time on the clock of this log, for `text_since`."""
        return self._clock()

    def warn(self, event: DiagnosticEvent) -> None:
        """Count an event, log it as a warning and show it in the status of the camera."""
        with self._lock:
            self._noticed[event.reason] += event.count
            self._warning = (self._clock(), event.text)
        self.log(event.reason, event.text)

    def count_event(self, reason: str, text: str = "") -> None:
        """Count an event without logging or showing it; `text_since` finds its text."""
        with self._lock:
            self._noticed[reason] += 1
            self._last_text[reason] = (self._clock(), text)

    def reject_frame(self, reason: str, text: str) -> None:
        """Count a frame that cannot be used, log it as a warning and show it in the status of the camera."""
        with self._lock:
            self._rejected[reason] += 1
            self._rejection = (self._clock(), text)
        self.log(reason, f"frame rejected: {text}")

    def fail_inference(self, text: str) -> None:
        """Count a frame for which the model raised, log it as an error and show it in the segmentation's status."""
        with self._lock:
            self._failures += 1
            self._failure = (self._clock(), text)
        self.log(text, text, "error")

    def fail_object(self, text: str) -> None:
        """Show in the status of the objects why one could not be added."""
        with self._lock:
            self._object_failure = (self._clock(), text)

    def clear_object_failure(self) -> None:
        """Stop showing why an object could not be added."""
        with self._lock:
            self._object_failure = _NEVER

    def log(self, key: str, text: str, severity: Severity = "warning", period_s: float = LOG_PERIOD_S) -> None:
        """Log a line, unless one of the same key was logged within the last `period_s`."""
        if not self._is_due(key, period_s):
            return
        # a line for each: rclpy raises where one line logs with different severities
        if severity == "info":
            self._logger.info(text)
        elif severity == "warning":
            self._logger.warning(text)
        else:
            self._logger.error(text)

    def is_first(self, key: str) -> bool:
        """Return whether this is the first call with `key`, for what is reported once in the life of the node."""
        return self._is_due(key, ONCE_S)

    def text_since(self, reason: str, since_s: float) -> str:
        """Return the text of the last `count_event` of a reason, empty where there was none since `since_s`."""
        with self._lock:
            counted_s, text = self._last_text.get(reason, _NEVER)
        return text if counted_s >= since_s else ""

    def snapshot(self) -> EventSnapshot:
        """Return all counts, and the texts that are recent now."""
        with self._lock:
            return EventSnapshot(
                noticed=dict(self._noticed),
                rejected=dict(self._rejected),
                failures=self._failures,
                recent_rejection=self._recent(self._rejection),
                recent_failure=self._recent(self._failure),
                recent_warning=self._recent(self._warning),
                recent_object_failure=self._recent(self._object_failure, OBJECT_FAILURE_S),
            )

    def _is_due(self, key: str, period_s: float) -> bool:
        with self._lock:
            now_s = self._clock()
            if now_s - self._logged_s.get(key, -float("inf")) < period_s:
                return False
            self._logged_s[key] = now_s
            return True

    def _recent(self, event: tuple[float, str], for_s: float = RECENT_S) -> str:
        return event[1] if self._clock() - event[0] <= for_s else ""
