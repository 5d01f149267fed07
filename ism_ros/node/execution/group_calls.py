"""Calls that run between two callbacks of a group: for changes that its callbacks must not meet half done."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node

TIMEOUT_S = 1.0
"""How long a call waits for the callback that is running, seconds; each is short."""

Call = Callable[[], None]


class GroupCalls:
    """A mutually exclusive callback group, and calls on the thread that runs its callbacks.

    An executor waits for subscriptions and publishers' events, and then takes what has come. One that another thread
    destroys in the meantime fails with InvalidHandle, and what else was ready is lost with it: so whatever has
    callbacks in the group is destroyed by a call in the group.

    Attributes:
        group: The callback group.
    """

    def __init__(self, node: Node) -> None:
        """Make the group.

        Args:
            node: ROS node that the callbacks belong to.
        """
        self.group = MutuallyExclusiveCallbackGroup()
        self._pending: deque[tuple[Call, threading.Event]] = deque()
        self._is_closed = False
        self._guard = node.create_guard_condition(self._run, self.group)

    def call(self, function: Call) -> None:
        """Run `function` in the group and wait for it, at most TIMEOUT_S; after `close`, run it at once.

        Must not be called in the group itself.
        """
        if self._is_closed:
            function()
            return
        done = threading.Event()
        self._pending.append((function, done))
        self._guard.trigger()
        done.wait(TIMEOUT_S)

    def close(self) -> None:
        """Run the pending calls now: no callback runs any more."""
        self._is_closed = True
        self._run()

    def _run(self) -> None:
        while True:
            try:
                function, done = self._pending.popleft()
            except IndexError:  # not checked beforehand: at the end, two threads may be here
                return
            try:
                function()
            finally:
                done.set()
