"""Parameters and services of a node that is active."""

from pathlib import Path

import numpy as np
import pytest
from ism_ros.srv import AddObject, ListObjects, RemoveObject, Segment
from rcl_interfaces.srv import GetParameters
from segment_requests import request_of

from ism_ros.config.settings import Settings

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
