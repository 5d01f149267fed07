"""Fixtures: nodes, cameras and listeners over real DDS."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import rclpy
from cell import Cell, opened
from dds import TOPICS, Listener
from prepared_processes import PreparedProcesses
from processes import FAULTY_NODE, ISM_NODE, NODE_LIBRARIES, CameraProcess, Faults, NodeProcess, environment_with
from workspace import make_workspace

from ism_ros.sim.demo.ros_isolation import keep_traffic_local, return_shared_memory

# before the first participant of this process is made: a free domain of its own, on this machine only
os.environ.pop("ROS_DOMAIN_ID", None)
keep_traffic_local()

FAULTY_PAIR = {"segmentor": "faulty_models:TINY_SEGMENTOR", "descriptor": "faulty_models:TINY_DESCRIPTOR"}
"""Parameters of a node whose models fail on demand."""


@pytest.fixture(scope="session")
def ros() -> Iterator[None]:
    return_shared_memory()
    rclpy.init(args=[])
    yield
    rclpy.try_shutdown()
    return_shared_memory()


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with objects.yaml (duck and drill), frame.npz (a rendered scene with both) and the cache."""
    return make_workspace(tmp_path_factory.mktemp("node"))


@pytest.fixture(scope="session")
def parameters(workspace: Path) -> dict[str, Any]:
    """Parameters with which a node finds the objects of `workspace`, by the models that ship."""
    return {
        "objects_file": str(workspace / "objects.yaml"),
        "cache_dir": str(workspace / "cache"),
        "device": "cpu",
    }


@pytest.fixture(scope="session")
def numbers() -> Iterator[int]:
    return iter(range(1, 1000))


@pytest.fixture(scope="session")
def prepared() -> Iterator[PreparedProcesses]:
    """A process that has imported what nodes import, and forks them."""
    processes = PreparedProcesses(NODE_LIBRARIES, environment_with({}))
    yield processes
    processes.close()


@pytest.fixture(scope="session")
def start_node(workspace: Path, numbers: Iterator[int], prepared: PreparedProcesses) -> Callable[..., NodeProcess]:
    """Starts a node; as users do, with all imports, where `is_prepared` is False."""

    def start(
        namespace: str,
        parameters: dict[str, Any],
        more: Sequence[str] = (),
        program: Sequence[str] = ISM_NODE,
        is_prepared: bool = True,
        **environment: str | None,
    ) -> NodeProcess:
        log = workspace / f"node_{next(numbers)}.log"
        by = prepared if is_prepared else None
        return NodeProcess(namespace, parameters, log, environment, more, program, by)

    return start


@pytest.fixture(scope="session")
def start_cell(
    ros: None,
    workspace: Path,
    numbers: Iterator[int],
    start_node: Callable[..., NodeProcess],
    prepared: PreparedProcesses,
) -> Callable[..., Cell]:
    """Starts a node with the given parameters in a namespace of its own; close it with Cell.close."""

    def start(
        parameters: dict[str, Any],
        topics: Sequence[str] = tuple(TOPICS),
        program: Sequence[str] = ISM_NODE,
        more: Sequence[str] = (),
        is_prepared: bool = True,
        **environment: str | None,
    ) -> Cell:
        namespace = f"cell_{next(numbers)}"
        listener = Listener(namespace, topics)
        # {ns} in a parameter's name: the namespace, which the caller cannot know
        named = {name.replace("{ns}", namespace): value for name, value in parameters.items()}
        node = start_node(namespace, named, more, program, is_prepared, **environment)

        def start_camera(*options: str) -> CameraProcess:
            return CameraProcess(prepared, namespace, workspace / "frame.npz", *options, **environment)

        return Cell(node, listener, start_camera)

    return start


@pytest.fixture(scope="session")
def start_faulty_cell(
    ros: None,
    workspace: Path,
    numbers: Iterator[int],
    start_node: Callable[..., NodeProcess],
    prepared: PreparedProcesses,
) -> Callable[..., Cell]:
    """The same with a node whose models, by default those that ship, fail on demand: Cell.faults."""

    def start(parameters: dict[str, Any], topics: Sequence[str] = tuple(TOPICS)) -> Cell:
        namespace = f"cell_{next(numbers)}"
        listener = Listener(namespace, topics)
        faults = Faults(workspace / f"{namespace}.faults")
        node = start_node(namespace, {**FAULTY_PAIR, **parameters}, program=FAULTY_NODE, FAULTS=str(faults.file))
        start_camera = functools.partial(CameraProcess, prepared, namespace, workspace / "frame.npz")
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
    # the first start renders the templates of two objects
    with opened(start_cell(parameters, is_prepared=False), timeout_s=180.0) as cell:
        yield cell
