"""A camera, the node and a listener in one namespace."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from dds import Listener
from lifecycle_msgs.srv import GetState
from processes import TIMEOUT_S, CameraProcess, Faults, NodeProcess


class Cell:
    """A camera, the node and a listener in one namespace."""

    def __init__(
        self,
        node: NodeProcess,
        listener: Listener,
        start_camera: Callable[..., CameraProcess],
        faults: Faults | None = None,
    ) -> None:
        self.node = node
        self.listener = listener
        self.faults = faults
        self._start_camera = start_camera
        self.camera: CameraProcess | None = None

    def wait_until(self, state: str, timeout_s: float = 2 * TIMEOUT_S) -> None:
        self.listener.wait_for(lambda: self.listener.values().get("state") == state, f"state {state}", timeout_s)

    def start_camera(self, *options: str) -> CameraProcess:
        """One more camera in this namespace; close it with CameraProcess.close."""
        return self._start_camera(*options)

    def connect(self, *options: str) -> CameraProcess:
        """Starts a camera, in the place of the one before, and waits until the node listens to it."""
        if self.camera is not None:
            self.camera.close()
        self.camera = self._start_camera(*options)
        self.camera.wait_for_subscribers()
        return self.camera

    def result(self, topic: str = "detections", timeout_s: float = TIMEOUT_S, **how: Any) -> Any:
        """The node's answer to a frame that is published, again and again until it comes."""
        stamps: list[tuple[int, int]] = []
        deadline_s = time.monotonic() + timeout_s

        def answer() -> Any:
            return next((m for s in stamps if (m := self.listener.with_stamp(topic, s)) is not None), None)

        while time.monotonic() < deadline_s:
            stamps += self.camera.publish(**how)
            try:
                return self.listener.wait_for(answer, f"{topic} of a published frame", 3.0)
            except AssertionError:
                continue
        return self.listener.wait_for(answer, f"{topic} of a published frame", 0.0)

    def publish_until(self, condition: Callable[[], Any], what: str, timeout_s: float = TIMEOUT_S, **how: Any) -> Any:
        """Publishes frames until `condition` holds."""
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            self.camera.publish(**how)
            try:
                return self.listener.wait_for(condition, what, 1.5)
            except AssertionError:
                continue
        return self.listener.wait_for(condition, what, 0.0)

    def reach(self, state: str) -> None:
        """Takes the node to a primary state by its lifecycle services."""
        ways = {
            "unconfigured": {"configuring": "", "inactive": "cleanup", "active": "deactivate"},
            "inactive": {"unconfigured": "configure", "active": "deactivate"},
            "active": {"unconfigured": "configure", "inactive": "activate"},
        }[state]
        while (here := self.state()) != state:
            assert self.listener.transition(ways[here]), f"{ways[here]} from {here}: {self.node.output[-2000:]}"

    def state(self) -> str:
        return self.listener.call(GetState, "get_state", GetState.Request()).current_state.label

    def close(self) -> None:
        if self.camera is not None:
            self.camera.close()
        self.node.close()
        self.listener.close()


@contextmanager
def opened(cell: Cell, *camera_options: str, timeout_s: float = 2 * TIMEOUT_S) -> Iterator[Cell]:
    """The cell, active within `timeout_s` and with a camera; closed in the end."""
    try:
        cell.wait_until("active", timeout_s)
        cell.connect(*camera_options)
        yield cell
    finally:
        cell.close()
