"""A node and a camera, each in a process of its own, and a listener in the test's process, over real DDS."""

from __future__ import annotations

import functools
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rclpy
import yaml
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from ism_ros.msg import InstanceMaskArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import SetParametersResult
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import Image, PointCloud2
from vision_msgs.msg import Detection2DArray, Detection3DArray, VisionInfo
from visualization_msgs.msg import MarkerArray

from ism_ros.data.camera import Camera
from ism_ros.sim.benchmark_scenes.known_objects import make_scene_object
from ism_ros.sim.benchmark_scenes.objects.object_catalog import export_cad, make_object
from ism_ros.sim.benchmark_scenes.scene_rendering import observe, render_scene
from ism_ros.sim.benchmark_scenes.table_scene import Scene, make_scene
from ism_ros.sim.demo.ros_isolation import keep_traffic_local, return_shared_memory

# before the first participant of this process is made: a free domain of its own, on this machine only
os.environ.pop("ROS_DOMAIN_ID", None)
keep_traffic_local()

TIMEOUT_S = 60.0
VISIBLE_S = 2.0
"""After so long a fault is in /diagnostics."""
ISM_NODE = ("-m", "ism_ros.node.main")
FAULTY_NODE = (str(Path(__file__).with_name("faulty_node.py")),)
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
}


def stamp_of(message: Any) -> tuple[int, int]:
    return message.header.stamp.sec, message.header.stamp.nanosec


def allowed_s(seconds: float = VISIBLE_S) -> float:
    """`seconds`, and in proportion more where other programs keep the cores busy."""
    return seconds * max(1.0, os.getloadavg()[0] / len(os.sched_getaffinity(0)))


def environment_with(changes: Mapping[str, str | None]) -> dict[str, str]:
    """This process's environment with some variables set, or gone where the value is None."""
    return {name: value for name, value in {**os.environ, **changes}.items() if value is not None}


class NodeProcess:
    """`ism_node` as a user starts it."""

    def __init__(
        self,
        namespace: str,
        parameters: dict[str, Any],
        log: Path,
        environment: Mapping[str, str | None],
        more: Sequence[str] = (),
        program: Sequence[str] = ISM_NODE,
    ) -> None:
        assignments = [f"{name}:={json.dumps(value)}" for name, value in parameters.items()]
        arguments = [argument for assignment in assignments for argument in ("-p", assignment)]
        self.log = log
        self.namespace = namespace
        self._stderr = log.open("w")
        self.process = subprocess.Popen(
            [sys.executable, *program, "--ros-args", "-r", f"__ns:=/{namespace}", *arguments, *more],
            stdout=self._stderr,
            stderr=subprocess.STDOUT,
            cwd=log.parent,
            env=environment_with(environment),
        )

    @property
    def output(self) -> str:
        return self.log.read_text()

    def interrupt(self, number: int = signal.SIGINT) -> tuple[int, float]:
        """Exit code and the seconds that ending took."""
        began = time.monotonic()
        self.process.send_signal(number)
        return self.process.wait(TIMEOUT_S), time.monotonic() - began

    def assert_ends_cleanly(self, number: int = signal.SIGINT, within_s: float = 2.0) -> None:
        """Exit code 0, soon, and not a word about it but information."""
        before = self.output
        code, seconds = self.interrupt(number)
        said = [line for line in self.output[len(before) :].splitlines() if "[INFO]" not in line]
        assert (code, said) == (0, [])
        assert seconds < within_s

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._stderr.close()


class CameraProcess:
    """camera_process.py, driven line by line."""

    def __init__(self, namespace: str, frame: Path, *options: str, **environment: str | None) -> None:
        script = Path(__file__).with_name("camera_process.py")
        self.is_whole = True
        self._answers: list[dict[str, Any]] = []
        self._told = 0
        self.process = subprocess.Popen(
            [sys.executable, str(script), str(frame), "--namespace", namespace, *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=frame.parent,
            env=environment_with(environment),
        )
        self._answer(0)

    def wait_for_subscribers(self) -> None:
        assert self._ask({"wait_for_subscribers": TIMEOUT_S})["matched"], "nobody subscribed to the camera"

    def wait_until_known(self) -> None:
        """Discovery takes up to some seconds; what does not fit in QoS is known, too."""
        assert self._ask({"wait_until_known": TIMEOUT_S})["known"], "nobody subscribes to the camera"

    def publish(self, count: int = 1, **how: Any) -> list[tuple[int, int]]:
        """Stamps (sec, nanosec) of the published rgb messages."""
        return [tuple(stamp) for stamp in self._ask({"publish": count, **how})["stamps"]]

    def start_publishing(self, count: int, rate_hz: float, **how: Any) -> Callable[[], list[tuple[int, int]]]:
        """Publishes without waiting; the result waits for the end and gives the stamps."""
        number = self._tell({"publish": count, "rate_hz": rate_hz, **how})
        return lambda: [tuple(stamp) for stamp in self._answer(number)["stamps"]]

    def withdraw(self, *names: str) -> None:
        """Ends the publishers of these topics."""
        assert self._ask({"withdraw": names})["withdrawn"]
        self.is_whole = False

    def play(self, count: int, rate_hz: float, from_s: float, **how: Any) -> list[tuple[int, int]]:
        """Plays frames and /clock as a bag does; the stamps."""
        return [tuple(s) for s in self._ask({"play": count, "rate_hz": rate_hz, "from_s": from_s, **how})["stamps"]]

    def start_fuzzing(self, count: int, rate_hz: float, seed: int) -> Callable[[], None]:
        """Publishes malformed messages without waiting; the result waits for the end."""
        number = self._tell({"fuzz": count, "rate_hz": rate_hz, "seed": seed})

        def finish() -> None:
            self._answer(number)

        return finish

    def kill(self) -> None:
        """Ends it without a word to anyone."""
        self.process.kill()

    def close(self) -> None:
        """Lets it say goodbye, so that the others do not take it for alive until its lease runs out."""
        self.process.stdin.close()
        try:
            self.process.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def _ask(self, command: dict[str, Any]) -> dict[str, Any]:
        return self._answer(self._tell(command))

    def _tell(self, command: dict[str, Any]) -> int:
        """The number of the answer that will come."""
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        self._told += 1
        return self._told

    def _answer(self, number: int) -> dict[str, Any]:
        """That to command `number`, from 1; nobody may have waited for those before. 0: that it is ready."""
        while len(self._answers) <= number:
            assert select.select([self.process.stdout], [], [], 2 * TIMEOUT_S)[0], "the camera does not answer"
            self._answers.append(json.loads(self.process.stdout.readline()))
        return self._answers[number]


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
            kind, f"ism/{topic}", lambda message: self._take(topic, message), qos
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


class Faults:
    """What a faulty_node.py is to suffer from now on, and what happened to it."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._events = file.with_name(file.name + ".events")
        self._events.touch()
        self.set()

    def set(self, **faults: Any) -> None:
        """These and no others."""
        whole = self.file.with_suffix(".next")
        whole.write_text(json.dumps(faults))
        whole.replace(self.file)

    def events(self) -> list[str]:
        return self._events.read_text().splitlines()

    def wait_for(self, event: str, timeout_s: float = TIMEOUT_S) -> None:
        deadline_s = time.monotonic() + timeout_s
        while event not in self.events():
            assert time.monotonic() < deadline_s, f"'{event}' not within {timeout_s:g} s: {self.events()}"
            time.sleep(0.01)

    def forget(self) -> None:
        """No event has happened yet."""
        os.truncate(self._events, 0)


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


@pytest.fixture(scope="session")
def ros() -> Iterator[None]:
    return_shared_memory()
    rclpy.init(args=[])
    yield
    rclpy.try_shutdown()
    return_shared_memory()


def beside_colour(scene: Scene) -> Scene:
    """The same from a depth camera beside the colour camera: wider, with fewer pixels, and turned a little."""
    colour_to_depth = np.eye(4)
    colour_to_depth[:3, :3] = Rotation.from_rotvec([0.01, -0.03, 0.02]).as_matrix()
    colour_to_depth[:3, 3] = 0.059, -0.004, 0.002
    camera = Camera(np.array([[385.0, 0, 318], [0, 385.0, 242], [0, 0, 1]]), 640, 480)
    return replace(scene, camera=camera, world_to_camera=colour_to_depth @ scene.world_to_camera)


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with objects.yaml (duck and drill), frame.npz (a rendered scene with both) and the cache."""
    folder = tmp_path_factory.mktemp("node")
    meshes = [make_object("duck", 1), make_object("drill", 2)]
    entries = [
        {"id": kind, "cad": export_cad(mesh, folder).name, "units": "m"}
        for kind, mesh in zip(("duck", "drill"), meshes, strict=True)
    ]
    (folder / "objects.yaml").write_text(yaml.safe_dump({"objects": entries}))
    scene = make_scene(4, [make_scene_object(mesh) for mesh in meshes], objects=(3, 3), known_in_scene=(2, 2))
    frame, truth = observe(scene)
    known = [index for index, is_known in enumerate(truth.known) if is_known]
    beside = beside_colour(scene)
    np.savez(
        folder / "frame.npz",
        rgb=frame.rgb,
        depth_m=frame.depth_m,
        intrinsics=frame.camera.intrinsics,
        beside_m=render_scene(beside, samples=1)[0].depth_m,
        beside_intrinsics=beside.camera.intrinsics,
        beside_to_colour=scene.world_to_camera @ np.linalg.inv(beside.world_to_camera),
        truth_masks=truth.masks[known],
        truth_ids=[truth.names[index].split("_")[0] for index in known],
    )
    return folder


@pytest.fixture(scope="session")
def parameters(workplace: Path) -> dict[str, Any]:
    """Parameters with which a node finds the objects of `workplace`: the hand-made pair, whose answers to this frame do
    not change when other weights are shipped."""
    return {
        "objects_file": str(workplace / "objects.yaml"),
        "cache_dir": str(workplace / "cache"),
        "device": "cpu",
        "segmentor": "depth",
        "descriptor": "classic",
    }


@pytest.fixture(scope="session")
def numbers() -> Iterator[int]:
    return iter(range(1, 1000))


@pytest.fixture(scope="session")
def start_node(workplace: Path, numbers: Iterator[int]) -> Callable[..., NodeProcess]:
    def start(
        namespace: str,
        parameters: dict[str, Any],
        more: Sequence[str] = (),
        program: Sequence[str] = ISM_NODE,
        **environment: str | None,
    ) -> NodeProcess:
        return NodeProcess(namespace, parameters, workplace / f"node_{next(numbers)}.log", environment, more, program)

    return start


@pytest.fixture(scope="session")
def start_cell(
    ros: None, workplace: Path, numbers: Iterator[int], start_node: Callable[..., NodeProcess]
) -> Callable[..., Cell]:
    """Starts a node with the given parameters in a namespace of its own; close it with Cell.close."""

    def start(
        parameters: dict[str, Any],
        topics: Sequence[str] = tuple(TOPICS),
        program: Sequence[str] = ISM_NODE,
        more: Sequence[str] = (),
        **environment: str | None,
    ) -> Cell:
        namespace = f"cell_{next(numbers)}"
        listener = Listener(namespace, topics)
        # {ns} in a parameter's name: the namespace, which the caller cannot know
        named = {name.replace("{ns}", namespace): value for name, value in parameters.items()}
        node = start_node(namespace, named, more, program=program, **environment)

        def start_camera(*options: str) -> CameraProcess:
            return CameraProcess(namespace, workplace / "frame.npz", *options, **environment)

        return Cell(node, listener, start_camera)

    return start


@pytest.fixture(scope="session")
def start_faulty_cell(
    ros: None, workplace: Path, numbers: Iterator[int], start_node: Callable[..., NodeProcess]
) -> Callable[..., Cell]:
    """The same with a node whose model fails on demand: Cell.faults."""

    def start(parameters: dict[str, Any], topics: Sequence[str] = tuple(TOPICS)) -> Cell:
        namespace = f"cell_{next(numbers)}"
        listener = Listener(namespace, topics)
        faults = Faults(workplace / f"{namespace}.faults")
        node = start_node(namespace, parameters, program=FAULTY_NODE, FAULTS=str(faults.file))
        start_camera = functools.partial(CameraProcess, namespace, workplace / "frame.npz")
        return Cell(node, listener, start_camera, faults)

    return start


@pytest.fixture(scope="session")
def faulty_cell(start_faulty_cell: Callable[..., Cell], parameters: dict[str, Any]) -> Iterator[Cell]:
    """A node without autostart whose model fails on demand, in whatever state a test left it (Cell.reach)."""
    cell = start_faulty_cell({**parameters, "autostart": False})
    try:
        cell.wait_until("unconfigured")
        yield cell
    finally:
        cell.close()


@pytest.fixture
def shared_cell(lasting_cell: Cell) -> Cell:
    """One active node and a best-effort camera for all tests that leave them as they found them."""
    if lasting_cell.camera.process.poll() is not None:  # it ended in a test that failed
        lasting_cell.connect()
    return lasting_cell


@pytest.fixture(scope="session")
def lasting_cell(start_cell: Callable[..., Cell], parameters: dict[str, Any]) -> Iterator[Cell]:
    cell = start_cell(parameters)
    try:
        # the first start renders the templates of two objects
        cell.wait_until("active", timeout_s=180.0)
        cell.connect()
        yield cell
    finally:
        cell.close()
