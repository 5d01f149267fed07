"""A mailbox with one slot: a new item replaces one that still waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Mailbox(Generic[Item]):
    """Hands the newest item from the subscriptions to the worker, so that a slow model never builds a queue."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Make an empty mailbox.

        Args:
            clock: Returns seconds that never run backwards.
        """
        self._clock = clock
        self._put_s = 0.0
        self._changed = threading.Condition()
        self._item: Item | None = None
        self._is_woken = False
        self._dropped = 0

    @property
    def dropped(self) -> int:
        """Number of items that were replaced before anyone took them, or had become too old."""
        with self._changed:
            return self._dropped

    def put(self, item: Item) -> None:
        """Replace the item in the slot."""
        with self._changed:
            self._dropped += self._item is not None
            self._item, self._put_s = item, self._clock()
            self._changed.notify()

    def take(self, timeout_s: float | None = None, since_s: float = -float("inf")) -> Item | None:
        """Take the item out of the slot, waiting for one.

        Args:
            timeout_s: How long to wait; None = without limit.
            since_s: Time on the mailbox's clock; an item that was put in before it is dropped.

        Returns:
            The item; None after the timeout or when woken.
        """
        with self._changed:
            if self._item is not None and self._put_s < since_s:
                self._item = None
                self._dropped += 1
            self._changed.wait_for(lambda: self._item is not None or self._is_woken, timeout_s)
            item, self._item, self._is_woken = self._item, None, False
            return item

    def wait_for_wake(self, timeout_s: float) -> None:
        """Wait until woken, at most `timeout_s`, and leave the item where it is."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_woken, timeout_s)
            self._is_woken = False

    def wake(self) -> None:
        """Make a waiting `take` or `wait_for_wake` return at once."""
        with self._changed:
            self._is_woken = True
            self._changed.notify()

    def clear(self) -> None:
        """Empty the slot; the item in it does not count as dropped."""
        with self._changed:
            self._item = None
