"""Synchronisation of rgb and depth by their stamps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import message_filters


class ImageSynchronizer:
    """Puts together the images of one time; a single topic passes through."""

    def __init__(self, names: Sequence[str], queue_size: int, slop_s: float, on_images: Callable[..., None]) -> None:
        """Start without messages.

        Args:
            names: Names of the image inputs.
            queue_size: Number of messages of each that wait for the others.
            slop_s: Largest difference of stamps of one time, seconds; 0 = none.
            on_images: Receives one message of each, in the order of `names`.
        """
        self._names = tuple(names)
        self._queue_size = queue_size
        self._slop_s = slop_s
        self._on_images = on_images
        self.reset()

    def reset(self) -> None:
        """Drop all messages that wait."""
        self._filters = {name: message_filters.SimpleFilter() for name in self._names}
        filters = list(self._filters.values())
        if len(filters) == 1:
            filters[0].registerCallback(self._on_images)
            return
        self._synchronizer = (
            message_filters.ApproximateTimeSynchronizer(filters, self._queue_size, self._slop_s)
            if self._slop_s > 0  # the approximate one takes only what is closer than slop
            else message_filters.TimeSynchronizer(filters, self._queue_size)
        )
        self._synchronizer.registerCallback(self._on_images)

    def add(self, name: str, message: Any) -> None:
        """Add a message of one input."""
        self._filters[name].signalMessage(message)
