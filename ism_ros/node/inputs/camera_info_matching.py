"""Matching of camera_info to images: that of the same time, or the last one where it comes once or rarely."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

MAX_INFOS = 30
"""Number of camera_info messages that are kept."""
MAX_WAITING = 3
"""Number of images that wait for a camera_info of their time before they get the last one."""
UNMATCHED_IN_A_ROW = 3
"""Number of images in a row without a camera_info of their time, after which images stop waiting for one."""
MATCHED_IN_A_ROW = 5
"""Number of images in a row with a camera_info of their time, after which images wait for theirs again."""
RATED_IMAGES, MIN_UNMATCHED = 20, 8
"""Number of unmatched images among the last rated ones that is more than a start in another order."""


@dataclass(eq=False)
class _Images:
    messages: Any
    stamp_s: float
    is_sent: bool = False


class CameraInfoMatcher:
    """Adds a camera_info to synchronised images.

    A camera_info is a calibration: it may be latched once, or come at a lower rate than the images, and still holds. As
    long as one comes with each image, the image waits for it.
    """

    def __init__(
        self,
        on_complete: Callable[[Any, Any], None],
        fits: Callable[[Any, Any], bool],
        slop_s: float,
        max_waiting: int,
    ) -> None:
        """Start without messages.

        Args:
            on_complete: Receives images, as given, and their camera_info, in the order of the images.
            fits: Returns whether a camera_info can be that of the images.
            slop_s: Largest difference of stamps of the same time; 0 = none.
            max_waiting: Number of images that may wait, at most MAX_WAITING.
        """
        self._on_complete = on_complete
        self._fits = fits
        self._slop_s = slop_s
        self._max_waiting = min(max_waiting, MAX_WAITING)
        self._infos: deque[tuple[float, Any]] = deque(maxlen=MAX_INFOS)
        self._waiting: deque[_Images] = deque()
        self._uses_last = False
        self._in_a_row = 0
        self._was_matched: deque[bool] = deque(maxlen=RATED_IMAGES)

    @property
    def are_rare(self) -> bool:
        """Whether camera_info comes more rarely than images."""
        return self._was_matched.count(False) >= MIN_UNMATCHED

    def clear_images(self) -> None:
        """Drop the images that wait: time has jumped, but a calibration holds all the same."""
        self._waiting.clear()

    def add_info(self, message: Any, stamp_s: float) -> None:
        """Add a camera_info."""
        self._infos.append((stamp_s, message))
        for images in self._waiting:
            if self._is_same_time(images.stamp_s, stamp_s):
                self._match(images, message)
                return
        self._send_with_last()

    def add_images(self, messages: Any, stamp_s: float) -> None:
        """Add synchronised images."""
        images = _Images(messages, stamp_s)
        self._waiting.append(images)
        same_time = [info for info_s, info in self._infos if self._is_same_time(stamp_s, info_s)]
        if same_time:
            self._match(images, same_time[-1])
            return
        while len(self._waiting) > self._max_waiting:
            self._stop_waiting(self._waiting.popleft())
        self._send_with_last()

    def _match(self, images: _Images, info: Any) -> None:
        """Send images with their own camera_info; those of older images will not come any more."""
        while (first := self._waiting.popleft()) is not images:
            self._stop_waiting(first)
        self._count(matched=True)
        self._send(images, info)

    def _stop_waiting(self, images: _Images) -> None:
        self._count(matched=False)
        if self._infos:
            self._send(images, self._last_that_fits(images.messages))

    def _send_with_last(self) -> None:
        if self._uses_last and self._infos:
            for images in tuple(self._waiting):
                self._send(images, self._last_that_fits(images.messages))

    def _send(self, images: _Images, info: Any) -> None:
        if not images.is_sent:
            images.is_sent = True
            self._on_complete(images.messages, info)

    def _count(self, matched: bool) -> None:
        """Switch to the last camera_info after some images without their own, and back after some with one."""
        self._was_matched.append(matched)
        self._in_a_row = self._in_a_row + 1 if matched == self._uses_last else 0
        if self._in_a_row >= (MATCHED_IN_A_ROW if matched else UNMATCHED_IN_A_ROW):
            self._uses_last, self._in_a_row = not matched, 0

    def _last_that_fits(self, messages: Any) -> Any:
        newest_first = [info for _, info in reversed(self._infos)]
        return next((info for info in newest_first if self._fits(messages, info)), newest_first[0])

    def _is_same_time(self, first_s: float, second_s: float) -> bool:
        return abs(first_s - second_s) < self._slop_s or first_s == second_s
