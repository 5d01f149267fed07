"""Start of the node: wrong configurations, broken packages, the environment, the cache, several nodes."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml


def entry(**changes):
    return {"id": "duck", "cad": "duck.ply", "units": "m", **changes}


WRONG_OBJECTS = {
    "objects file missing": (None, "does not exist"),
    "objects file empty": ("", "empty"),
    "duplicate ids": ([entry(), entry()], "duck"),
    "CAD not found": ([entry(cad="lost.ply")], "lost.ply"),
    "unknown units": ([entry(units="furlong")], "furlong"),
}
WRONG_ARGUMENTS = {
    "parameter file missing": (["--params-file", "nowhere.yaml"], "nowhere.yaml"),
    "malformed parameter": (["-p", "slop"], "slop"),
}
WRONG_PARAMETERS = {
    "value out of range": ({"score_threshold": 7.0}, "score_threshold"),
    "unknown segmentor": ({"segmentor": "magic"}, "magic"),
    "wrong type": ({"slop": "wide"}, "slop"),
    "no depth for a segmentor that needs it": (
        {"depth_transport": "none", "segmentor": "plugins:NEEDS_DEPTH"},
        "needs depth",
    ),
}


@pytest.fixture(scope="module")
def failing_starts(start_node, workspace, tmp_path_factory):
    """A node for each wrong configuration, one of them as users start it."""
    nodes = {}
    for case, (objects, _) in WRONG_OBJECTS.items():
        folder = tmp_path_factory.mktemp("wrong")
        (folder / "duck.ply").write_bytes(next(workspace.glob("duck_1.*")).read_bytes())
        if objects is not None:
            (folder / "objects.yaml").write_text(yaml.safe_dump({"objects": objects}) if objects else "")
        nodes[case] = start_node(f"failing_{len(nodes)}", {"objects_file": str(folder / "objects.yaml")})
    for case, (parameters, _) in WRONG_PARAMETERS.items():
        nodes[case] = start_node(f"failing_{len(nodes)}", parameters)
    for case, (more, _) in WRONG_ARGUMENTS.items():
        nodes[case] = start_node(f"failing_{len(nodes)}", {}, more)
    environment = {"ISM_OBJECTS_FILE": "from_the_environment.yaml"}
    nodes["environment"] = start_node("failing", {"score_treshold": 0.5}, is_prepared=False, **environment)
    yield nodes
    for node in nodes.values():
        node.close()


@pytest.mark.parametrize(
    ("case", "said"), [(case, said) for case, (_, said) in (WRONG_OBJECTS | WRONG_PARAMETERS | WRONG_ARGUMENTS).items()]
)
def test_a_wrong_configuration_ends_the_start_with_one_clear_line(failing_starts, case, said):
    node = failing_starts[case]
    code = node.process.wait(120)
    said_by_ros = ("[INFO]", "RTPS_TRANSPORT_SHM")  # the latter of ports that a killed process left behind
    complaints = [line for line in node.output.splitlines() if not any(words in line for words in said_by_ros)]
    assert code != 0
    assert len(complaints) == 1, complaints
    assert said in complaints[0]


@pytest.mark.parametrize(
    ("package", "source", "said"),
    [
        ("vision_msgs", "raise ModuleNotFoundError(\"No module named 'vision_msgs'\")", "apt install ros-"),
        (
            "cv_bridge",
            "import sys\nsys.stderr.write('Traceback (most recent call last): ...')\n"
            "class CvBridge:\n imgmsg_to_cv2 = None\n def cv2_to_imgmsg(self, *_):\n"
            "  raise AttributeError('_ARRAY_API not found')",
            "made for another NumPy",
        ),
    ],
)
def test_a_package_of_ros_that_does_not_import_ends_the_start_with_one_clear_line(tmp_path, package, source, said):
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text(source)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]])}
    done = subprocess.run(
        [sys.executable, "-m", "ism_ros.node.main"], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"ism_node: {package} does not work")
    assert said in line


def test_the_environment_sets_what_parameters_leave_open(failing_starts):
    node = failing_starts["environment"]
    assert node.process.wait(120) != 0
    assert "from_the_environment.yaml does not exist" in node.output


def test_an_unknown_parameter_is_warned_about_with_the_name_that_was_meant(failing_starts):
    node = failing_starts["environment"]
    node.process.wait(120)
    assert "parameter 'score_treshold' is unknown and has no effect; did you mean 'score_threshold'?" in node.output


def cached_descriptors(parameters):
    return {file.name: file.stat() for file in Path(parameters["cache_dir"], "descriptors").iterdir()}


def test_a_restart_uses_the_cache_and_sigterm_ends_it_cleanly(shared_cell, start_cell, parameters):
    before = cached_descriptors(parameters)
    cell = start_cell(parameters, topics=["detections"], is_prepared=False)
    try:
        cell.wait_until("active")
        after = cached_descriptors(parameters)
        # what is made anew is another file; the small one of what is read is marked as used now
        assert {name: file.st_ino for name, file in after.items()} == {n: file.st_ino for n, file in before.items()}
        used = [name for name in before if after[name].st_mtime_ns > before[name].st_mtime_ns]
        assert [Path(name).suffix for name in used] == [".npz", ".npz"]
        cell.node.assert_ends_cleanly(signal.SIGTERM)
        assert not re.search(r"template \d+ of", cell.node.output)
    finally:
        cell.close()


def test_two_nodes_in_namespaces_each_answer_their_own_camera(start_cell, parameters):
    cells = [start_cell(parameters, topics=["detections"]) for _ in range(2)]
    try:
        for cell in cells:
            cell.wait_until("active")
            cell.connect()
        answered = [cell.result() for cell in cells]
        assert all(message.detections for message in answered)
        # what one camera showed, the other's node has not answered
        for cell, others in zip(cells, reversed(answered), strict=True):
            stamp = others.header.stamp.sec, others.header.stamp.nanosec
            assert cell.listener.with_stamp("detections", stamp) is None
    finally:
        for cell in cells:
            cell.close()
