"""The whole life of the node: every transition by service, errors on the way, and its end at every point of it."""

import json
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.msg import Transition

pytestmark = pytest.mark.faults

BALLAST_MB = 400
NO_AUTOSTART = {"autostart": False}


def status_with(listener, text, level):
    """Waits for a status that says `text` at `level`."""
    def is_said():
        return listener.status_count and text in listener.status.message and listener.status.level == level

    return listener.wait_for(is_said, f"'{text}' in /diagnostics")


@pytest.fixture
def cell(faulty_cell):
    """The node that fails on demand, whole before and after each test."""
    yield faulty_cell
    faulty_cell.faults.set()


# configure


def test_configuring_tells_its_progress_in_the_log_and_in_diagnostics(start_cell, parameters, tmp_path):
    cell = start_cell({**parameters, **NO_AUTOSTART, "cache_dir": str(tmp_path)}, topics=[])
    try:
        cell.wait_until("unconfigured")
        before = cell.listener.status_count
        assert cell.listener.transition("configure", timeout_s=180.0)
        told = [status.message for status in cell.listener.statuses_since(before)]
        assert any("object 1 of 2: duck, template" in text for text in told), told
        assert "object 2 of 2: drill, template" in cell.node.output
    finally:
        cell.close()


@pytest.mark.parametrize("fault", ["load", "stream"])
def test_an_unforeseen_error_is_said_and_configure_works_again(cell, fault):
    cell.reach("unconfigured")
    cell.faults.set(**{fault: "raise"})
    if fault == "stream":
        assert cell.listener.transition("configure")
        assert not cell.listener.transition("activate")
    else:
        assert not cell.listener.transition("configure")
    assert cell.state() == "unconfigured"
    assert status_with(cell.listener, f"the {fault} lost its way", DiagnosticStatus.ERROR)
    assert cell.listener.values()["objects"] == "0"
    cell.faults.set()
    cell.reach("active")
    cell.connect()
    assert cell.result().detections


# activate, deactivate


def test_deactivate_does_not_wait_for_the_frame_in_the_making_and_drops_its_answer(cell):
    cell.reach("active")
    cell.connect()
    cell.result()
    cell.faults.forget()
    cell.faults.set(segmentor="block")
    stamp = cell.camera.publish()[0]
    cell.faults.wait_for("segmentor blocks")
    assert cell.listener.transition("deactivate")
    assert cell.state() == "inactive"
    assert cell.listener.reliability_of_input("rgb") == []
    cell.faults.set()
    cell.reach("active")
    cell.connect()
    assert cell.result().detections, "frames go one after the other: the other one has ended before"
    assert cell.listener.with_stamp("detections", stamp) is None


def test_activating_again_finds_the_models_warm(cell):
    cell.reach("active")
    cell.reach("inactive")
    cell.faults.forget()
    before = len(cell.node.output)
    assert cell.listener.transition("activate", timeout_s=5.0)
    cell.connect()
    assert cell.result().detections
    assert "loading" not in cell.node.output[before:]
    assert cell.faults.events() == []


# cleanup


ON_A_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")


@pytest.mark.parametrize(
    ("device", "key"),
    [("cpu", "memory_mb.process"), pytest.param("cuda:0", "memory_mb.device", marks=ON_A_GPU)],
)
def test_cleanup_frees_the_memory_of_models_and_objects(cell, device, key):
    cell.reach("unconfigured")
    assert cell.listener.set_parameters(device=device)[0].successful
    cell.faults.set(ballast_mb=BALLAST_MB)
    cell.reach("active")
    cell.connect()
    assert cell.result().detections
    cell.faults.set()
    cell.faults.forget()
    cell.reach("inactive")
    cell.listener.next_status()
    full_mb = float(cell.listener.values()[key])
    assert cell.listener.transition("cleanup")
    # by the time that cleanup answers
    assert set(cell.faults.events()) >= {f"{part} freed" for part in ("model", "segmentor", "descriptor", "duck")}
    cell.wait_until("unconfigured")
    cell.listener.next_status()
    assert float(cell.listener.values()[key]) < full_mb - 0.9 * BALLAST_MB
    assert cell.listener.set_parameters(device="cpu")[0].successful


def test_cleanup_waits_for_the_frame_in_the_making_because_it_needs_the_model(cell):
    cell.reach("active")
    cell.connect()
    cell.result()
    cell.faults.forget()
    cell.faults.set(segmentor="block")
    cell.camera.publish()
    cell.faults.wait_for("segmentor blocks")
    cell.reach("inactive")
    with ThreadPoolExecutor() as pool:
        cleanup = pool.submit(cell.listener.transition, "cleanup")
        cell.wait_until("cleaningup")
        assert cell.state() == "cleaningup", "others are answered meanwhile"
        cell.faults.set()
        assert cleanup.result()
    assert "model freed" in cell.faults.events()


def test_five_lives_leave_no_memory_behind(cell):
    cell.reach("unconfigured")
    cell.faults.set(ballast_mb=BALLAST_MB)
    memory_mb = []
    for _ in range(5):
        cell.reach("inactive")
        cell.reach("unconfigured")
        cell.listener.next_status()
        memory_mb.append(float(cell.listener.values()["memory_mb.process"]))
    assert max(memory_mb[1:]) - memory_mb[0] < BALLAST_MB / 4, memory_mb


# managers


def test_a_manager_in_another_process_drives_it_through_its_whole_life(start_cell, parameters):
    cell = start_cell({**parameters, **NO_AUTOSTART}, topics=[])
    way = {
        Transition.TRANSITION_CONFIGURE: "inactive",
        Transition.TRANSITION_ACTIVATE: "active",
        Transition.TRANSITION_DEACTIVATE: "inactive",
        Transition.TRANSITION_CLEANUP: "unconfigured",
    }
    numbers = [*way, *way, Transition.TRANSITION_UNCONFIGURED_SHUTDOWN]
    script = Path(__file__).parents[1] / "programs" / "manager_process.py"
    try:
        cell.wait_until("unconfigured")
        done = subprocess.run(
            [sys.executable, str(script), f"/{cell.node.namespace}/ism", *map(str, numbers)],
            stdout=subprocess.PIPE,
            text=True,
            timeout=180,
            check=True,
        )
        steps = [json.loads(line) for line in done.stdout.splitlines()]
        assert all(step["success"] for step in steps), steps
        assert [step["state"] for step in steps] == [*way.values(), *way.values(), "finalized"]
        cell.node.assert_ends_cleanly(signal.SIGTERM)
    finally:
        cell.close()


# the end


def configuring(cell, pool):
    pool.submit(cell.listener.transition, "configure", 5.0)
    cell.wait_until("configuring")


def in_the_middle_of_a_load(cell, pool):
    cell.faults.set(load="block")
    configuring(cell, pool)
    cell.faults.wait_for("load blocks")


def in_the_middle_of_a_frame(cell, pool):
    cell.reach("active")
    cell.connect()
    cell.faults.set(segmentor="block")
    # the first frame after discovery may be lost: nobody promises more
    cell.publish_until(lambda: "segmentor blocks" in cell.faults.events(), "a frame in the segmentor")


def cleaning_up(cell, pool):
    in_the_middle_of_a_frame(cell, pool)
    cell.reach("inactive")
    pool.submit(cell.listener.transition, "cleanup", 5.0)
    cell.wait_until("cleaningup")


STATES = {
    "unconfigured": lambda cell, pool: None,
    "rendering": configuring,
    "in the middle of a load": in_the_middle_of_a_load,
    "inactive": lambda cell, pool: cell.reach("inactive"),
    "active": lambda cell, pool: cell.reach("active"),
    "in the middle of a frame": in_the_middle_of_a_frame,
    "cleaning up": cleaning_up,
    "after an error": lambda cell, pool: (cell.faults.set(load="raise"), cell.listener.transition("configure")),
}


@pytest.fixture(scope="module")
def doomed(start_faulty_cell, parameters, tmp_path_factory):
    """Gives a node for each state to end in."""
    yield from cells_of(STATES, start_faulty_cell, parameters, tmp_path_factory)


@pytest.fixture(scope="module")
def doomed_by_service(start_faulty_cell, parameters, tmp_path_factory):
    yield from cells_of(SHUT_DOWN, start_faulty_cell, parameters, tmp_path_factory)


def cells_of(cases, start_faulty_cell, parameters, tmp_path_factory):
    """Starts the next one beside the one asked for, because importing takes each of them seconds."""
    cells = {}

    def cell_of(case):
        names = list(cases)
        for name in names[names.index(case) :][:2]:
            if name not in cells:
                more = {"cache_dir": str(tmp_path_factory.mktemp("cache"))} if name == "rendering" else {}
                cells[name] = start_faulty_cell({**parameters, **NO_AUTOSTART, **more}, topics=["detections"])
        cells[case].wait_until("unconfigured")
        return cells[case]

    yield cell_of
    for cell in cells.values():
        cell.close()


@pytest.mark.parametrize("case", STATES)
def test_sigterm_ends_it_cleanly(doomed, case):
    cell = doomed(case)
    with ThreadPoolExecutor() as pool:
        STATES[case](cell, pool)
        cell.node.assert_ends_cleanly(signal.SIGTERM)


SHUT_DOWN = {name: STATES[name] for name in ("unconfigured", "rendering", "inactive", "active")}


@pytest.mark.parametrize("case", SHUT_DOWN)
def test_shutdown_by_service_works_from_every_state_and_ctrl_c_ends_the_rest(doomed_by_service, case):
    cell = doomed_by_service(case)
    with ThreadPoolExecutor() as pool:
        SHUT_DOWN[case](cell, pool)
        assert cell.listener.transition("shutdown")
        assert cell.state() == "finalized"
        assert not cell.listener.transition("configure")
        assert cell.listener.reliability_of_input("rgb") == []
        cell.node.assert_ends_cleanly(signal.SIGINT)


# namesakes


def test_two_nodes_of_one_name_are_said_until_one_of_them_ends(start_cell, start_node, parameters):
    cell = start_cell({**parameters, **NO_AUTOSTART}, topics=[])
    other = start_node(cell.node.namespace, {**parameters, **NO_AUTOSTART})
    name = f"/{cell.node.namespace}/ism"
    graph = cell.listener.node
    try:
        # the second one imports its libraries for some seconds before it is there
        cell.listener.wait_for(
            lambda: graph.get_node_names_and_namespaces().count(("ism", f"/{cell.node.namespace}")) == 2, "both nodes"
        )
        said = (f"2 nodes are called {name}", "-r __ns:=")
        cell.listener.assert_told("segmentation", DiagnosticStatus.WARN, *said, since_s=time.monotonic())
        for node in (cell.node, other):
            cell.listener.wait_for(lambda node=node: f"2 nodes are called {name}" in node.output, "the log of both")
        other.assert_ends_cleanly()
        assert status_with(cell.listener, "unconfigured", DiagnosticStatus.OK)
    finally:
        other.close()
        cell.close()
