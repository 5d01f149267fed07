"""A listener in the test's process to everything that a node publishes, over real DDS."""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from ism_ros.msg import InstanceMaskArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from processes import TIMEOUT_S
from rcl_interfaces.msg import SetParametersResult
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image, PointCloud2
from tf2_msgs.msg import TFMessage
from vision_msgs.msg import Detection2DArray, Detection3DArray, VisionInfo
from visualization_msgs.msg import MarkerArray

VISIBLE_S = 2.0
"""Time within which a fault is in /diagnostics, seconds."""
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
TOPICS: dict[str, tuple[type, Any]] = {
    "detections": (Detection2DArray, 10),
    "mask_image": (Image, 10),
    "masks": (InstanceMaskArray, 10),
    "overlay": (Image, 10),
    "vision_info": (VisionInfo, LATCHED),
}
TOPICS_IN_SPACE: dict[str, tuple[type, Any]] = {
    "detections_3d": (Detection3DArray, 10),
    "points": (PointCloud2, 10),
    "markers": (MarkerArray, 10),
    "/tf": (TFMessage, 100),
}


def stamp_of(message: Any) -> tuple[int, int]:
    return message.header.stamp.sec, message.header.stamp.nanosec


def allowed_s(seconds: float = VISIBLE_S) -> float:
    """`seconds`, and in proportion more where other programs keep the cores busy: for a minute, or at this moment."""
    return seconds * max(1.0, os.getloadavg()[0] / len(os.sched_getaffinity(0)), slowness())


def slowness() -> float:
    """How many times as long as its processor time work takes at this moment."""
    began_s, work_s = time.perf_counter(), 0.1
    until_s = time.thread_time() + work_s
    while time.thread_time() < until_s:
        pass
    return (time.perf_counter() - began_s) / work_s


class Listener:
    """Everything a node in `namespace` publishes, as it comes."""

    def __init__(self, namespace: str, topics: Sequence[str] = tuple(TOPICS)) -> None:
        self.node = Node("listener", namespace=namespace)
        self.messages: dict[str, list[Any]] = defaultdict(list)
        self.arrived_s: dict[str, list[float]] = defaultdict(list)
        self._status_prefix = f"{namespace}/ism: "
        self.parts: dict[str, DiagnosticStatus] = {}
        self._statuses: list[DiagnosticStatus] = []
        self._changed = threading.Condition()
        self._subscriptions: dict[str, Any] = {}
        for topic in topics:
            self.subscribe(topic)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._take_diagnostics, 10)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._ending = threading.Event()
        self._thread.start()

    def subscribe(self, topic: str) -> None:
        kind, qos = (TOPICS | TOPICS_IN_SPACE)[topic]
        self._subscriptions[topic] = self.node.create_subscription(
            kind, topic if topic.startswith("/") else f"ism/{topic}", lambda message: self._take(topic, message), qos
        )

    def unsubscribe(self, topic: str) -> None:
        self.node.destroy_subscription(self._subscriptions.pop(topic))

    def wait_for(self, condition: Callable[[], Any], what: str, timeout_s: float = TIMEOUT_S) -> Any:
        """The first true value of `condition`, asked again with every message."""
        with self._changed:
            assert self._changed.wait_for(condition, timeout_s), (
                f"{what}: not within {timeout_s:g} s; {self.describe()}"
            )
            return condition()

    def with_stamp(self, topic: str, stamp: tuple[int, int]) -> Any:
        return next((message for message in self.messages[topic] if stamp_of(message) == stamp), None)

    def next_status(self) -> DiagnosticStatus:
        """The status after this moment (the next but one: the next may be on its way already)."""
        seen = len(self._statuses)
        return self.wait_for(lambda: len(self._statuses) > seen + 1 and self._statuses[-1], "a status")

    @property
    def status(self) -> DiagnosticStatus:
        """The worst of the node's statuses; that of the segmentation where all are well."""
        return self._statuses[-1]

    def level(self, part: str) -> bytes | None:
        """Of the newest status of the camera, the segmentation or the objects."""
        return self.parts[part].level if part in self.parts else None

    def text(self, part: str) -> str:
        return self.parts[part].message if part in self.parts else ""

    def values(self) -> dict[str, str]:
        """Keys and values of the newest statuses together."""
        return {pair.key: pair.value for status in self.parts.values() for pair in status.values}

    def statuses_since(self, count: int) -> list[DiagnosticStatus]:
        """All statuses but the first `count`; see `status_count`."""
        return self._statuses[count:]

    @property
    def status_count(self) -> int:
        return len(self._statuses)

    def count(self, key: str) -> int:
        return int(self.values().get(key, "0"))

    def assert_soon(self, condition: Callable[[], Any], what: str, since_s: float) -> Any:
        """`condition` holds within VISIBLE_S of `since_s` (time.monotonic); prints the seconds it took."""
        held = self.wait_for(condition, what)
        took_s = time.monotonic() - since_s
        print(f"{took_s:.2f} s until {what}")
        assert took_s < allowed_s(), f"{what} took {took_s:.2f} s"
        return held

    def assert_told(self, part: str, level: bytes, *said: str, since_s: float) -> None:
        """Within VISIBLE_S of `since_s` the status of `part` is at `level` and says all of that."""

        def is_told() -> bool:
            return self.level(part) == level and all(words in self.text(part) for words in said)

        self.assert_soon(is_told, f"{part} at level {level!r} saying {said}", since_s)

    def describe(self) -> str:
        counts = {topic: len(messages) for topic, messages in self.messages.items()}
        return (
            f"received {counts}, last statuses {[(s.name, s.level, s.message) for s in self.parts.values()]} "
            f"{self.values()}"
        )

    def set_parameters(self, **values: Any) -> list[SetParametersResult]:
        """`ros2 param set` for each."""
        parameters = [Parameter(name, value=value).to_parameter_msg() for name, value in values.items()]
        return self.call(SetParameters, "set_parameters", SetParameters.Request(parameters=parameters)).results

    def transition(self, label: str, timeout_s: float = 2 * TIMEOUT_S) -> bool:
        """`ros2 lifecycle set`; whether it succeeded."""
        request = ChangeState.Request(transition=Transition(label=label))
        return self.call(ChangeState, "change_state", request, timeout_s).success

    def call(self, service_type: Any, name: str, request: Any, timeout_s: float = TIMEOUT_S) -> Any:
        client = self.node.create_client(service_type, f"ism/{name}")
        assert client.wait_for_service(TIMEOUT_S), f"service {name} is not there"
        answered = threading.Event()
        future = client.call_async(request)
        future.add_done_callback(lambda _: answered.set())
        assert answered.wait(timeout_s), f"service {name} did not answer within {timeout_s:g} s"
        self.node.destroy_client(client)
        return future.result()

    def reliability_of_input(self, topic: str) -> list[ReliabilityPolicy]:
        """What the node's subscriptions to `topic` ask for."""
        subscriptions = self.node.get_subscriptions_info_by_topic(topic)
        return [info.qos_profile.reliability for info in subscriptions if info.node_name == "ism"]

    def close(self) -> None:
        self._ending.set()
        self._thread.join(5.0)
        self._executor.shutdown(1.0)
        self.node.destroy_node()

    def _spin(self) -> None:
        while not self._ending.is_set():
            self._executor.spin_once(timeout_sec=0.1)

    def _take(self, topic: str, message: Any) -> None:
        with self._changed:
            self.messages[topic].append(message)
            self.arrived_s[topic].append(time.time())
            self._changed.notify_all()

    def _take_diagnostics(self, message: DiagnosticArray) -> None:
        with self._changed:
            own = [status for status in message.status if status.name.startswith(self._status_prefix)]
            self.parts |= {status.name.removeprefix(self._status_prefix): status for status in own}
            if own:
                self._statuses.append(max(own, key=lambda status: (status.level, "segmentation" in status.name)))
            self._changed.notify_all()
