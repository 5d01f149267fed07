"""Events around a running node: objects, parameters, services, subscribers and the camera change."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

from ism_ros.srv import AddObject, ListObjects, RemoveObject, Segment
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from rclpy.subscription import Subscription

from ism_ros.sim.benchmark_scenes.objects.object_catalog import export_cad, make_object
from ism_ros.sim.demo.camera_and_node import Session

CALL_TIMEOUT_S = 60.0
"""Longest wait for the response of a service, seconds."""
RESULT_TIMEOUT_S = 60.0
"""Longest wait for a result after an event, seconds."""
EXTRA_OBJECT = "extra"
"""Id of the object that is added and removed."""


class StressError(RuntimeError):
    """The node failed a request, or accepted one that it should have refused."""


class StressEvents:
    """Rounds of events on a running session; `step` runs the next one.

    Attributes:
        counts: How often each event was run.
        events_a_round: Number of different events.
    """

    def __init__(self, session: Session, folder: Path) -> None:
        """Prepare the events.

        Args:
            session: Camera and node.
            folder: Where the CAD file of the extra object is written.
        """
        self.counts: Counter[str] = Counter()
        self._session = session
        self._cad = export_cad(make_object("brick", 77), folder)
        self._clients: dict[str, Any] = {}
        self._subscriptions: list[Subscription] = []
        self._kill = False
        events: dict[str, Callable[[], None]] = {
            "object added": self._add,
            "objects listed": self._list,
            "parameters set": self._set,
            "bad parameter refused": self._set_badly,
            "frame segmented on demand": self._segment,
            "object removed": self._remove,
            "subscriber came": self._subscribe,
            "unknown object refused": self._remove_unknown,
            "stream stopped and started": self._pause,
            "subscriber left": self._unsubscribe,
            "camera restarted": self._restart_camera,
        }
        self.events_a_round = len(events)
        self._events = cycle(events.items())

    def step(self) -> str:
        """Run the next event; afterwards frames are processed again.

        Returns:
            Name of the event.

        Raises:
            StressError: A response of the node is not the expected one.
        """
        name, event = next(self._events)
        event()
        self.counts[name] += 1
        return name

    def wait_for_results(self) -> None:
        """Wait for the result of a new frame.

        Raises:
            StressError: There is none in time.
        """
        probe, began = self._session.probe, time.monotonic()
        probe.frames.clear()
        while not probe.complete_frames:
            if time.monotonic() - began > RESULT_TIMEOUT_S:
                raise StressError(f"no result for {RESULT_TIMEOUT_S:g} s: {probe.diagnostics.message}")
            self._session.spin(0.05)

    def _add(self) -> None:
        request = AddObject.Request(id=EXTRA_OBJECT, cad=str(self._cad), units="m")
        self._expect(self._call(AddObject, "add_object", request).success, "add_object was refused")

    def _remove(self) -> None:
        response = self._call(RemoveObject, "remove_object", RemoveObject.Request(id=EXTRA_OBJECT))
        self._expect(response.success, f"remove_object was refused: {response.message}")

    def _remove_unknown(self) -> None:
        response = self._call(RemoveObject, "remove_object", RemoveObject.Request(id="unknown"))
        self._expect(not response.success, "an unknown object was removed")

    def _list(self) -> None:
        objects = self._call(ListObjects, "list_objects", ListObjects.Request()).objects
        self._expect(EXTRA_OBJECT in [entry.id for entry in objects], f"'{EXTRA_OBJECT}' is not listed")

    def _set(self) -> None:
        threshold = 0.55 if self.counts["parameters set"] % 2 else 0.7
        self._expect(self._set_parameter("score_threshold", threshold), f"score_threshold {threshold} was refused")

    def _set_badly(self) -> None:
        self._expect(not self._set_parameter("score_threshold", 7.0), "score_threshold 7 was accepted")

    def _segment(self) -> None:
        response = self._call(Segment, "segment", Segment.Request(timeout=CALL_TIMEOUT_S / 2))
        self._expect(response.success, f"segment failed: {response.message}")

    def _pause(self) -> None:
        for transition in (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_ACTIVATE):
            request = ChangeState.Request(transition=Transition(id=transition))
            self._expect(self._call(ChangeState, "change_state", request).success, f"transition {transition} failed")
        self.wait_for_results()

    def _subscribe(self) -> None:
        self._subscriptions.append(self._session.probe.subscribe("masks"))

    def _unsubscribe(self) -> None:
        while self._subscriptions:
            self._session.probe.destroy_subscription(self._subscriptions.pop())

    def _restart_camera(self) -> None:
        self._session.camera.restart(kill=self._kill)
        self._kill = not self._kill
        self.wait_for_results()

    def _set_parameter(self, name: str, value: float) -> bool:
        request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
        return bool(self._call(SetParameters, "set_parameters", request).results[0].successful)

    def _call(self, kind: Any, name: str, request: Any) -> Any:
        client = self._clients.setdefault(name, None) or self._session.probe.create_client(kind, f"/ism/{name}")
        self._clients[name] = client
        began = time.monotonic()
        future = None
        while future is None or not future.done():
            if time.monotonic() - began > CALL_TIMEOUT_S:
                raise StressError(f"/ism/{name} did not answer within {CALL_TIMEOUT_S:g} s")
            if future is None and client.service_is_ready():
                future = client.call_async(request)
            self._session.spin(0.01)
        return future.result()

    def _expect(self, holds: bool, otherwise: str) -> None:
        if not holds:
            raise StressError(otherwise)
