"""The base of all filters: a list of callbacks."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any


class SimpleFilter:
    """Something with an output: every message it signals goes to every registered callback."""

    def __init__(self) -> None:
        self.callbacks: dict[int, tuple[Callable[..., Any], tuple[Any, ...]]] = {}
        self._connections = itertools.count()

    def registerCallback(self, cb: Callable[..., Any], *args: Any) -> int:  # noqa: N802
        """Call `cb(*messages, *args)` for every output; returns the number of the connection."""
        # Counted, not len(self.callbacks): after a disconnection that would reuse a living number.
        connection = next(self._connections)
        self.callbacks[connection] = (cb, args)
        return connection

    def unregisterCallback(self, connection: int) -> None:  # noqa: N802
        """Forget a connection; an unknown number is ignored."""
        self.callbacks.pop(connection, None)

    def signalMessage(self, *messages: Any) -> None:  # noqa: N802
        """Hand one output to all callbacks, in the order of their registration."""
        for callback, args in list(self.callbacks.values()):
            callback(*messages, *args)
