"""Calls made between two callbacks of a group: the place for changes that its callbacks must not meet half-way."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node

PATIENCE_S = 1.0
"""A callback of the group may be at work; each is short."""

Call = Callable[[], None]


class GroupCalls:
    """A mutually exclusive group of callbacks, and calls in between, on the thread that runs them.

    An executor waits for subscriptions and publishers' events, and then takes what has come. One that another thread
    destroys in the meantime fails with InvalidHandle, and what else was ready is lost with it: so whatever has
    callbacks in the group is destroyed by a call in the group.
    """

    def __init__(self, node: Node) -> None:
        self.group = MutuallyExclusiveCallbackGroup()
        self._waiting: deque[tuple[Call, threading.Event]] = deque()
        self._is_over = False
        self._guard = node.create_guard_condition(self._run, self.group)

    def call(self, function: Call) -> None:
        """Has `function` called in the group, and waits until it was, but no longer than PATIENCE_S.

        Do not call in the group itself. After `end` it is called at once.
        """
        if self._is_over:
            function()
            return
        done = threading.Event()
        self._waiting.append((function, done))
        self._guard.trigger()
        done.wait(PATIENCE_S)

    def end(self) -> None:
        """Callbacks run no more: makes the calls that still wait for their turn."""
        self._is_over = True
        self._run()

    def _run(self) -> None:
        while True:
            try:
                function, done = self._waiting.popleft()
            except IndexError:  # not asked beforehand: at the end, two threads may be here
                return
            try:
                function()
            finally:
                done.set()
