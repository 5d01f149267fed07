"""A mailbox with one slot: what comes in replaces what still waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Mailbox(Generic[Item]):
    """Hands the newest item from the subscriptions to the worker, so that a slow model never builds a queue."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._put_s = 0.0
        self._changed = threading.Condition()
        self._item: Item | None = None
        self._woken = False
        self._dropped = 0

    @property
    def dropped(self) -> int:
        """Items that were replaced before anyone took them, or had become too old."""
        with self._changed:
            return self._dropped

    def put(self, item: Item) -> None:
        with self._changed:
            self._dropped += self._item is not None
            self._item, self._put_s = item, self._clock()
            self._changed.notify()

    def take(self, timeout_s: float | None = None, since_s: float = -float("inf")) -> Item | None:
        """The newest item, waiting for one; None after `timeout_s` or when woken.

        since_s: on the mailbox's clock; what was put in before is dropped.
        """
        with self._changed:
            if self._item is not None and self._put_s < since_s:
                self._item = None
                self._dropped += 1
            self._changed.wait_for(lambda: self._item is not None or self._woken, timeout_s)
            item, self._item, self._woken = self._item, None, False
            return item

    def wait_for_wake(self, timeout_s: float) -> None:
        """Waits until woken, at most `timeout_s`, and leaves the item where it is."""
        with self._changed:
            self._changed.wait_for(lambda: self._woken, timeout_s)
            self._woken = False

    def wake(self) -> None:
        """Makes a waiting `take` or `wait_for_wake` return at once."""
        with self._changed:
            self._woken = True
            self._changed.notify()

    def clear(self) -> None:
        """Empties the slot; what was in it does not count as dropped."""
        with self._changed:
            self._item = None
