"""A mailbox with one slot: what comes in replaces what still waits."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Mailbox(Generic[Item]):
    """Hands the newest item from the subscriptions to the worker, so that a slow model never builds a queue."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._item: Item | None = None
        self._woken = False
        self._dropped = 0

    @property
    def dropped(self) -> int:
        """Items that were replaced before anyone took them."""
        with self._changed:
            return self._dropped

    def put(self, item: Item) -> None:
        with self._changed:
            self._dropped += self._item is not None
            self._item = item
            self._changed.notify()

    def take(self, timeout_s: float | None = None) -> Item | None:
        """The newest item, waiting for one; None after `timeout_s` or when woken."""
        with self._changed:
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
