"""Start, configuration errors, lifecycle, parameters, services and end of the node, as a user meets them."""

import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from ism_ros.srv import AddObject, ListObjects, RemoveObject, Segment
from rcl_interfaces.srv import GetParameters
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from ism_ros.config.settings import Settings
from ism_ros.node.outputs.detection_messages import image_message

END_S = 2.0
LIBC = ctypes.CDLL(None)


# start


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
        ends_cleanly(cell.node, signal.SIGTERM)
        assert not re.search(r"template \d+ of", cell.node.output)
    finally:
        cell.close()


# end


def caught_signals(process):
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"SigCgt:\s*(\w+)", status).group(1), 16)


def wait_until(condition, what, timeout_s=30.0):
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, f"{what}: not within {timeout_s:g} s"
        time.sleep(0.01)


def ends_cleanly(node, number=signal.SIGINT):
    before = node.output
    code, seconds = node.interrupt(number)
    said = node.output[len(before) :]
    node.close()
    assert code == 0
    assert seconds < END_S
    assert [line for line in said.splitlines() if "[INFO]" not in line] == []


def test_ctrl_c_while_python_still_imports_ends_cleanly(start_node, parameters):
    node = start_node("ending", parameters, is_prepared=False)
    wait_until(lambda: caught_signals(node.process) >> (signal.SIGTERM - 1) & 1, "the signal handler")
    ends_cleanly(node)


def other_threads(process):
    """Those beside the main one that take SIGTERM."""
    tasks = [path for path in Path(f"/proc/{process.pid}/task").iterdir() if int(path.name) != process.pid]
    blocked = {int(t.name): re.search(r"SigBlk:\s*(\w+)", (t / "status").read_text()).group(1) for t in tasks}
    return [thread for thread, mask in blocked.items() if not int(mask, 16) >> (signal.SIGTERM - 1) & 1]


@pytest.mark.skipif(not hasattr(LIBC, "tgkill"), reason="this C library cannot signal a thread of another process")
def test_a_signal_that_the_kernel_hands_to_another_thread_ends_it_cleanly(start_node, parameters):
    node = start_node("ending", {**parameters, "autostart": False}, is_prepared=False)
    wait_until(lambda: caught_signals(node.process) >> (signal.SIGTERM - 1) & 1, "the signal handler")
    wait_until(lambda: other_threads(node.process), "another thread")
    began = time.monotonic()
    assert LIBC.tgkill(node.process.pid, other_threads(node.process)[0], signal.SIGTERM) == 0
    assert node.process.wait(30.0) == 0
    assert time.monotonic() - began < END_S
    node.close()


def test_ctrl_c_while_objects_are_rendered_ends_cleanly(start_node, parameters, tmp_path):
    node = start_node("ending", {**parameters, "cache_dir": str(tmp_path)})
    wait_until(lambda: "object 1 of 2" in node.output, "rendering")
    ends_cleanly(node)


def test_ctrl_c_in_the_middle_of_the_stream_ends_cleanly(start_cell, parameters):
    cell = start_cell(parameters, topics=["detections"])
    try:
        cell.wait_until("active")
        cell.connect()
        cell.result()
        cell.camera.start_publishing(200, rate_hz=30.0)
        ends_cleanly(cell.node)
    finally:
        cell.close()


# lifecycle


@pytest.fixture(scope="module")
def managed_cell(start_cell, parameters):
    """A node without autostart, for a lifecycle manager."""
    cell = start_cell({**parameters, "autostart": False})
    try:
        cell.wait_until("unconfigured")
        yield cell
    finally:
        cell.close()


def test_a_manager_can_take_the_node_through_its_whole_life_twice(managed_cell):
    listener = managed_cell.listener
    for _ in range(2):
        assert listener.transition("configure")
        managed_cell.wait_until("inactive")
        assert listener.reliability_of_input("rgb") == []
        assert listener.transition("activate")
        managed_cell.connect()
        assert managed_cell.result().detections
        assert listener.transition("deactivate")
        listener.wait_for(lambda: listener.reliability_of_input("rgb") == [], "no subscription")
        assert listener.transition("cleanup")
        managed_cell.wait_until("unconfigured")
        assert listener.values()["objects"] == "0"


def test_an_impossible_transition_is_refused_and_changes_nothing(managed_cell):
    assert not managed_cell.listener.transition("activate")
    managed_cell.wait_until("unconfigured")


def test_a_failed_configuration_is_an_error_in_diagnostics_and_can_be_repeated(start_cell, parameters, tmp_path):
    objects_file = tmp_path / "objects.yaml"
    cell = start_cell({**parameters, "autostart": False, "objects_file": str(objects_file)}, topics=[])
    try:
        cell.wait_until("unconfigured")
        assert not cell.listener.transition("configure")
        cell.listener.wait_for(lambda: str(objects_file) in cell.listener.status.message, "the reason in /diagnostics")
        original = yaml.safe_load(Path(parameters["objects_file"]).read_text())
        folder = Path(parameters["objects_file"]).parent
        entries = [{**e, "cad": str(folder / e["cad"])} for e in original["objects"]]
        objects_file.write_text(yaml.safe_dump({"objects": entries}))
        assert cell.listener.transition("configure")
        cell.wait_until("inactive")
    finally:
        cell.close()


# parameters


def test_a_live_parameter_changes_the_next_answer(shared_cell):
    listener = shared_cell.listener
    assert shared_cell.result().detections
    try:
        assert listener.set_parameters(score_threshold=1.0)[0].successful
        assert shared_cell.result().detections == []
        assert listener.set_parameters(score_threshold=0.0, max_detections=1)[1].successful
        assert len(shared_cell.result().detections) == 1
    finally:
        defaults = Settings()
        listener.set_parameters(score_threshold=defaults.score_threshold, max_detections=defaults.max_detections)
    assert len(shared_cell.result().detections) > 1


@pytest.mark.parametrize(
    ("name", "value"),
    [("score_threshold", 2.0), ("score_threshold", "high"), ("max_detections", 0), ("segmentor", "sam")],
)
def test_a_bad_or_fixed_value_is_refused_with_a_reason_and_the_old_one_stays(shared_cell, name, value, parameters):
    listener = shared_cell.listener
    result = listener.set_parameters(**{name: value})[0]
    assert not result.successful
    assert result.reason
    kept = listener.call(GetParameters, "get_parameters", GetParameters.Request(names=[name])).values[0]
    before = parameters.get(name, Settings.model_fields[name].default)
    assert before in (kept.double_value, kept.integer_value, kept.string_value)


def test_max_rate_limits_the_answers(shared_cell):
    listener = shared_cell.listener
    assert listener.set_parameters(max_rate=1.0)[0].successful
    try:
        stamps = shared_cell.camera.start_publishing(60, rate_hz=15.0)()

        def answered():
            return [stamp for stamp in stamps if listener.with_stamp("detections", stamp)]

        listener.wait_for(lambda: len(answered()) >= 3, "three answers")
        # the last one may have waited in the mailbox while no newer frame came
        seconds = [sec + nanosec * 1e-9 for sec, nanosec in answered()[:-1]]
        assert np.diff(seconds).min() > 0.8
    finally:
        listener.set_parameters(max_rate=0.0)


# services


@pytest.fixture(scope="module")
def stored(workspace):
    with np.load(workspace / "frame.npz") as frame:
        return {name: frame[name] for name in frame.files}


def request_of(stored, **fields):
    header = Header(frame_id="uploaded")
    request = Segment.Request(**fields)
    request.rgb = image_message(stored["rgb"], "rgb8", header)
    request.depth = image_message(np.round(stored["depth_m"] * 1000).astype(np.uint16), "16UC1", header)
    height, width = stored["rgb"].shape[:2]
    request.camera_info = CameraInfo(width=width, height=height, k=[float(k) for k in stored["intrinsics"].ravel()])
    return request


def test_segment_answers_an_uploaded_frame_with_all_three_results(shared_cell, stored):
    response = shared_cell.listener.call(Segment, "segment", request_of(stored))
    assert response.success, response.message
    assert response.detections.header.frame_id == "uploaded"
    ids = [int(d.id) for d in response.detections.detections]
    assert ids == [m.id for m in response.masks.instances] != []
    assert set(np.frombuffer(response.mask_image.data, "<u2").tolist()) <= {0, *ids}


def test_segment_looks_only_for_the_objects_asked_for(shared_cell, stored):
    response = shared_cell.listener.call(Segment, "segment", request_of(stored, object_ids=["duck"]))
    assert {d.results[0].hypothesis.class_id for d in response.detections.detections} == {"duck"}


def test_segment_without_a_frame_takes_the_newest_of_the_stream(shared_cell):
    shared_cell.result()
    publishing = shared_cell.camera.start_publishing(30, rate_hz=10.0)
    response = shared_cell.listener.call(Segment, "segment", Segment.Request())
    stamps = publishing()
    assert response.success, response.message
    stamp = response.detections.header.stamp
    assert (stamp.sec, stamp.nanosec) in stamps or response.detections.detections


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda request: setattr(request.rgb, "encoding", "nonsense"), "nonsense"),
        (lambda request: setattr(request, "object_ids", ["unicorn"]), "unicorn"),
        (lambda request: setattr(request.camera_info, "width", 5), "camera_info"),
        (lambda request: setattr(request, "timeout", 1e-3), "longer timeout"),
    ],
    ids=["encoding", "object id", "camera_info", "timeout"],
)
def test_segment_says_why_it_cannot(shared_cell, stored, spoil, said):
    request = request_of(stored)
    spoil(request)
    response = shared_cell.listener.call(Segment, "segment", request)
    assert not response.success
    assert said in response.message


def test_segment_works_while_the_stream_is_not_active(managed_cell, stored):
    listener = managed_cell.listener
    refused = listener.call(Segment, "segment", request_of(stored))
    assert not refused.success
    assert "configure" in refused.message
    assert listener.transition("configure")
    try:
        assert listener.call(Segment, "segment", request_of(stored)).success
    finally:
        listener.transition("cleanup")


def test_segment_demands_depth_where_the_segmentor_needs_it(managed_cell, stored):
    listener = managed_cell.listener
    request = request_of(stored)
    request.depth = Image()
    assert listener.set_parameters(segmentor="plugins:NEEDS_DEPTH")[0].successful
    try:
        assert listener.transition("configure")
        response = listener.call(Segment, "segment", request)
        assert not response.success
        assert "depth has no reading" in response.message
        assert listener.transition("cleanup")
    finally:
        assert listener.set_parameters(segmentor=Settings().segmentor)[0].successful


def test_objects_can_be_listed_removed_and_added_while_the_stream_runs(shared_cell, workspace):
    listener = shared_cell.listener

    def listed():
        return listener.call(ListObjects, "list_objects", ListObjects.Request())

    before = listed()
    assert {o.id: (o.units, o.num_templates > 0) for o in before.objects} == {"duck": ("m", True), "drill": ("m", True)}
    assert Path(next(o.cad for o in before.objects if o.id == "duck")).exists()

    assert listener.call(RemoveObject, "remove_object", RemoveObject.Request(id="duck")).success
    try:
        assert {d.results[0].hypothesis.class_id for d in shared_cell.result().detections} <= {"drill"}
        assert [o.id for o in listed().objects] == ["drill"]
    finally:
        cad = str(next(workspace.glob("duck_1.*")))
        answer = listener.call(AddObject, "add_object", AddObject.Request(id="duck", cad=cad, units="m"), 120.0)
    assert answer.success, answer.message
    assert "duck" in {d.results[0].hypothesis.class_id for d in shared_cell.result().detections}
    after = listed()
    assert after.version == before.version + 2
    listener.wait_for(
        lambda: listener.messages["vision_info"][-1].database_version == after.version, "the new version in vision_info"
    )


@pytest.mark.parametrize(
    ("request_fields", "said"),
    [
        ({"id": "", "cad": "duck.ply"}, "id"),
        ({"id": "ghost"}, "CAD"),
        ({"id": "ghost", "cad": "/nowhere/ghost.ply"}, "/nowhere/ghost.ply"),
        ({"id": "ghost", "cad": "ghost.ply", "units": "furlong"}, "furlong"),
        ({"id": "ghost", "templates": "/nowhere/templates"}, "/nowhere/templates"),
    ],
)
def test_an_object_that_cannot_be_added_is_refused_with_the_reason(shared_cell, request_fields, said):
    answer = shared_cell.listener.call(AddObject, "add_object", AddObject.Request(**request_fields))
    assert not answer.success
    assert said in answer.message
    assert shared_cell.node.process.poll() is None


def test_removing_an_object_that_is_not_there_is_refused_with_the_ones_that_are(shared_cell):
    answer = shared_cell.listener.call(RemoveObject, "remove_object", RemoveObject.Request(id="unicorn"))
    assert not answer.success
    assert "duck" in answer.message


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
