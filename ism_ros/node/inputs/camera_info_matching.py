"""Which camera_info goes with which images: that of their moment, or the last where it comes once or now and then."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

REMEMBERED = 30
MOST_WAITING = 3
"""So many images wait for a camera_info of their moment before they get the last one."""
UNMATCHED_IN_A_ROW = 3
"""So many images without a camera_info of their moment, and the last one is taken without waiting."""
MATCHED_IN_A_ROW = 5
"""So many with one again, and each waits for its own."""
JUDGED, RARE = 20, 8
"""So many of the last images without one of their own are more than a start in another order."""


@dataclass(eq=False)
class _Images:
    messages: Any
    stamp_s: float
    is_sent: bool = False


class CameraInfos:
    """Adds a camera_info to synchronised images.

    A camera_info is a calibration: it may be latched once, or come at a lower rate than the images, and still holds. As
    long as one comes with each image, the image waits for it.

    on_complete: told the images, as given, and their camera_info, in the order of the images. fits: whether a
    camera_info can be that of the images. slop_s: largest difference of stamps of the same moment, 0 = none.
    """

    def __init__(
        self,
        on_complete: Callable[[Any, Any], None],
        fits: Callable[[Any, Any], bool],
        slop_s: float,
        most_waiting: int,
    ) -> None:
        self._on_complete = on_complete
        self._fits = fits
        self._slop_s = slop_s
        self._most_waiting = min(most_waiting, MOST_WAITING)
        self._infos: deque[tuple[float, Any]] = deque(maxlen=REMEMBERED)
        self._waiting: deque[_Images] = deque()
        self._holds = False
        self._in_a_row = 0
        self._judged: deque[bool] = deque(maxlen=JUDGED)

    @property
    def are_rare(self) -> bool:
        """Whether they come more rarely than images."""
        return self._judged.count(False) >= RARE

    def forget_images(self) -> None:
        """Time has jumped; a calibration holds all the same."""
        self._waiting.clear()

    def add_info(self, message: Any, stamp_s: float) -> None:
        """A camera_info has come."""
        self._infos.append((stamp_s, message))
        for images in self._waiting:
            if self._is_same_moment(images.stamp_s, stamp_s):
                self._settle(images, message)
                return
        self._send_held()

    def add_images(self, messages: Any, stamp_s: float) -> None:
        """Synchronised images have come."""
        images = _Images(messages, stamp_s)
        self._waiting.append(images)
        of_moment = [info for info_s, info in self._infos if self._is_same_moment(stamp_s, info_s)]
        if of_moment:
            self._settle(images, of_moment[-1])
            return
        while len(self._waiting) > self._most_waiting:
            self._give_up(self._waiting.popleft())
        self._send_held()

    def _settle(self, images: _Images, info: Any) -> None:
        """The camera_info of these images is there; those of older ones will not come any more."""
        while (first := self._waiting.popleft()) is not images:
            self._give_up(first)
        self._count(matched=True)
        self._send(images, info)

    def _give_up(self, images: _Images) -> None:
        self._count(matched=False)
        if self._infos:
            self._send(images, self._last_that_fits(images.messages))

    def _send_held(self) -> None:
        if self._holds and self._infos:
            for images in tuple(self._waiting):
                self._send(images, self._last_that_fits(images.messages))

    def _send(self, images: _Images, info: Any) -> None:
        if not images.is_sent:
            images.is_sent = True
            self._on_complete(images.messages, info)

    def _count(self, matched: bool) -> None:
        """Hold after some in a row without a camera_info of their own, wait again after some with one."""
        self._judged.append(matched)
        self._in_a_row = self._in_a_row + 1 if matched == self._holds else 0
        if self._in_a_row >= (MATCHED_IN_A_ROW if matched else UNMATCHED_IN_A_ROW):
            self._holds, self._in_a_row = not matched, 0

    def _last_that_fits(self, messages: Any) -> Any:
        newest_first = [info for _, info in reversed(self._infos)]
        return next((info for info in newest_first if self._fits(messages, info)), newest_first[0])

    def _is_same_moment(self, first_s: float, second_s: float) -> bool:
        return abs(first_s - second_s) < self._slop_s or first_s == second_s
