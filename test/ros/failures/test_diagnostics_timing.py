"""What stops or spoils the stream is in /diagnostics within 2 s, with level and remedy, and gone when it is mended.

The seconds that each took are in the report of `pytest -rP`.
"""

import time

import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from ism_ros.srv import AddObject, ListObjects, RemoveObject

pytestmark = pytest.mark.faults

OK, WARN, ERROR, STALE = (
    DiagnosticStatus.OK,
    DiagnosticStatus.WARN,
    DiagnosticStatus.ERROR,
    DiagnosticStatus.STALE,
)
STREAM_HZ = 10.0
EVERY_TOPIC = ("rgb", "depth", "camera_info")


def well(listener):
    return all(listener.level(part) == OK for part in ("camera", "segmentation", "objects"))


@pytest.fixture
def streaming(shared_cell):
    """The shared cell after two seconds of good frames, all statuses well; well again after the test."""

    def stream(cell=shared_cell):
        cell.publish_until(lambda: well(cell.listener), "all statuses OK", count=20, rate_hz=STREAM_HZ)

    stream()
    yield shared_cell
    if shared_cell.camera.process.poll() is not None or not shared_cell.camera.is_whole:
        shared_cell.connect()
    stream()


@pytest.mark.parametrize(
    ("how", "level", "said"),
    [
        pytest.param(
            {"without": ["depth"]}, ERROR, ("nothing arrives on", "/depth, though", "config/fastdds.xml"),
            id="depth stops",
        ),
        pytest.param(
            {"without": ["camera_info"]}, WARN, ("/camera_info does not come with each image", "publish one"),
            id="camera_info stops",
        ),
        pytest.param(
            {"without": EVERY_TOPIC}, STALE, ("nothing arrives on", "the camera has stopped"),
            id="camera stops",
        ),
        pytest.param(
            {"offset_s": {"depth": 3600.0}}, ERROR, ("stamps never match", "give the drivers one clock"),
            id="stamps an hour apart",
        ),
        pytest.param({"alter": "swapped"}, WARN, ("rgb and depth topics swapped",), id="rgb and depth swapped"),
        pytest.param(
            {"alter": "depth_half_size"}, WARN, ("use depth registered to rgb",),
            id="depth not registered",
        ),
        pytest.param(
            {"alter": "camera_info_other_size"}, WARN, ("use the camera_info of the rgb stream",),
            id="camera_info of another size",
        ),
        pytest.param(
            {"alter": "rgb_truncated"}, WARN, ("the message was cut", "check the camera driver"),
            id="rgb cut short",
        ),
        pytest.param(
            {"alter": "depth_all_zero"}, WARN, ("check the depth camera and its range",),
            id="depth without readings",
        ),
        pytest.param(
            {"alter": "depth_negative"}, WARN, ("negative readings", "check the depth driver"),
            id="negative depth",
        ),
        pytest.param(
            {"offset_s": dict.fromkeys(EVERY_TOPIC, 3600.0)}, WARN, ("ahead of this node's clock", "chrony"),
            id="another clock",
        ),
    ],
)
def test_a_spoilt_stream_is_in_diagnostics_within_two_seconds_and_gone_when_it_is_good(streaming, how, level, said):
    finish = streaming.camera.start_publishing(40, rate_hz=STREAM_HZ, **how)
    began_s = time.monotonic()
    streaming.listener.assert_told("camera", level, *said, since_s=began_s)
    assert streaming.listener.level("segmentation") == OK, "only the camera is at fault"
    finish()


def test_a_stream_of_nothing_but_unusable_frames_is_an_error(streaming):
    finish = streaming.camera.start_publishing(100, rate_hz=STREAM_HZ, alter="rgb_unknown_encoding")
    streaming.listener.wait_for(lambda: streaming.listener.level("camera") == ERROR, "an error of the camera")
    assert "publish rgb8 or bgr8" in streaming.listener.text("camera")
    finish()


def test_a_jump_back_in_time_is_in_diagnostics_within_two_seconds(streaming):
    ahead = dict.fromkeys(EVERY_TOPIC, 10.0)
    streaming.camera.start_publishing(10, rate_hz=STREAM_HZ, offset_s=ahead)()
    finish = streaming.camera.start_publishing(20, rate_hz=STREAM_HZ)
    streaming.listener.assert_told("camera", WARN, "jumped back", since_s=time.monotonic())
    finish()


def test_a_camera_that_says_goodbye_is_stale_within_two_seconds(streaming):
    began_s = time.monotonic()
    streaming.camera.withdraw(*EVERY_TOPIC)
    streaming.listener.assert_told("camera", STALE, "nobody publishes", "start the camera", since_s=began_s)
    assert streaming.listener.text("segmentation") == "waiting for frames: see the status of the camera"


def test_a_topic_that_nobody_publishes_any_more_is_an_error_within_two_seconds(streaming):
    began_s = time.monotonic()
    streaming.camera.withdraw("depth")
    finish = streaming.camera.start_publishing(40, rate_hz=STREAM_HZ)
    said = ("nobody publishes", "/depth", "align_depth.enable:=true")
    streaming.listener.assert_told("camera", ERROR, *said, since_s=began_s)
    finish()


def test_a_topic_of_another_type_is_an_error_within_two_seconds(streaming):
    streaming.camera.close()
    streaming.camera = streaming._start_camera("--compressed")
    # two topics of another type: the node cannot match them, so that there is no subscriber to wait for
    finish = streaming.camera.start_publishing(40, rate_hz=STREAM_HZ, alter="compressed")
    began_s = time.monotonic()
    try:
        streaming.listener.assert_told("camera", ERROR, "CompressedImage", "set rgb_transport", since_s=began_s)
        finish()
    finally:
        streaming.connect()


def test_qos_that_does_not_fit_is_an_error_within_two_seconds(start_cell, parameters):
    cell = start_cell({**parameters, "reliability": "reliable"}, topics=["detections"])
    try:
        cell.wait_until("active")
        cell.camera = cell._start_camera()
        cell.camera.wait_until_known()
        finish = cell.camera.start_publishing(40, rate_hz=STREAM_HZ)
        said = ("best effort", "set the parameter reliability to auto")
        cell.listener.assert_told("camera", ERROR, *said, since_s=time.monotonic())
        finish()
    finally:
        cell.close()


def test_a_library_without_objects_and_an_object_that_cannot_be_added_are_warnings(streaming, tmp_path):
    listener = streaming.listener
    known = listener.call(ListObjects, "list_objects", ListObjects.Request()).objects
    began_s = time.monotonic()
    for entry in known:
        assert listener.call(RemoveObject, "remove_object", RemoveObject.Request(id=entry.id)).success
    streaming.listener.assert_told("objects", WARN, "set objects_file, or call ~/add_object", since_s=began_s)
    began_s = time.monotonic()
    missing = AddObject.Request(id="ghost", cad=str(tmp_path / "ghost.ply"), units="m")
    assert not listener.call(AddObject, "add_object", missing).success
    streaming.listener.assert_told("objects", WARN, "object 'ghost' was not added", since_s=began_s)
    for entry in known:
        again = AddObject.Request(id=entry.id, cad=entry.cad, units=entry.units, category_id=entry.category_id)
        assert listener.call(AddObject, "add_object", again).success
    listener.wait_for(lambda: listener.level("objects") == OK, "objects that are well again")
    assert all(entry.id in listener.text("objects") for entry in known)


def test_the_statuses_of_a_node_have_one_prefix_and_stable_names(streaming):
    assert set(streaming.listener.parts) == {"camera", "segmentation", "objects"}
    assert streaming.listener.parts["camera"].hardware_id.endswith("/rgb")
    assert all(status.hardware_id for status in streaming.listener.parts.values())


def test_diagnostics_tell_what_the_process_takes_and_how_old_the_last_frame_is(streaming):
    values = streaming.listener.values()
    assert int(values["threads"]) > 1
    assert int(values["file_descriptors"]) > 3
    assert float(values["last_frame_age_s"]) < 10.0
    assert values["out_of_memory_recoveries"] == "0"


# last: the publishers of a killed process seem to be there until their lease has run out


def test_a_killed_camera_is_stale_within_two_seconds(streaming):
    began_s = time.monotonic()
    streaming.camera.kill()
    streaming.listener.assert_told("camera", STALE, "no frame for", "camera", since_s=began_s)
