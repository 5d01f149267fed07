"""Parameters of a running node: what is declared, what changes when, and that a frame never sees half a change."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from ism_ros.srv import ListObjects
from rcl_interfaces.msg import ParameterType
from rcl_interfaces.srv import DescribeParameters, GetParameters, SetParametersAtomically
from rclpy.parameter import Parameter

from ism_ros.config.profiles import PROFILES
from ism_ros.config.settings import Settings, changeable

TYPES = {
    bool: ParameterType.PARAMETER_BOOL,
    int: ParameterType.PARAMETER_INTEGER,
    float: ParameterType.PARAMETER_DOUBLE,
    str: ParameterType.PARAMETER_STRING,
}
LIVE = [name for name in Settings.model_fields if changeable(name) == "live"]


@pytest.fixture
def cell(faulty_cell):
    """The node that fails on demand; live parameters are as they were after each test."""
    before = values_of(faulty_cell.listener, *LIVE)
    yield faulty_cell
    faulty_cell.faults.set()
    faulty_cell.listener.set_parameters(**before)


def values_of(listener, *names):
    """`ros2 param get` for each."""
    answer = listener.call(GetParameters, "get_parameters", GetParameters.Request(names=names))
    messages = [Parameter.from_parameter_msg(_message(n, v)) for n, v in zip(names, answer.values, strict=True)]
    return {parameter.name: parameter.value for parameter in messages}


def _message(name, value):
    message = Parameter(name, value=0).to_parameter_msg()
    message.value = value
    return message


def set_together(listener, **values):
    parameters = [Parameter(name, value=value).to_parameter_msg() for name, value in values.items()]
    request = SetParametersAtomically.Request(parameters=parameters)
    return listener.call(SetParametersAtomically, "set_parameters_atomically", request).result


# declarations


@pytest.mark.parametrize("name", Settings.model_fields)
def test_a_setting_is_declared_with_type_range_choices_and_when_it_can_change(shared_cell, name):
    request = DescribeParameters.Request(names=[name])
    descriptor = shared_cell.listener.call(DescribeParameters, "describe_parameters", request).descriptors[0]
    field = Settings.model_fields[name]
    assert descriptor.type == TYPES[type(field.default)]
    assert field.description in descriptor.description
    assert descriptor.read_only == (name == "autostart")
    said = {"live": "while running", "inactive": "not active", "unconfigured": "unconfigured", "start": "Fixed"}
    assert said[changeable(name)] in descriptor.description.removeprefix(field.description)
    bounds = [rule.ge for rule in field.metadata if hasattr(rule, "ge")]
    bounds += [rule.le for rule in field.metadata if hasattr(rule, "le")]
    ranges = [*descriptor.floating_point_range, *descriptor.integer_range]
    assert [bound for r in ranges for bound in (r.from_value, r.to_value)] == bounds
    if isinstance(field.default, int | float) and not isinstance(field.default, bool):
        assert len(bounds) == 2
    for choice in getattr(field.annotation, "__args__", ()):
        assert choice in descriptor.additional_constraints


# live


def test_a_frame_is_processed_with_the_settings_it_began_with(cell):
    cell.reach("active")
    cell.connect()
    old = {"score_threshold": 0.0, "max_detections": 1, "overlay_style": "boxes"}
    new = {"score_threshold": 0.0, "max_detections": 100, "overlay_style": "filled"}
    assert set_together(cell.listener, **old).successful
    boxes = cell.result("overlay").data
    cell.faults.forget()
    cell.faults.set(segmentor="block")
    stamp = cell.camera.publish()[0]
    cell.faults.wait_for("segmentor blocks")
    assert set_together(cell.listener, **new).successful
    assert values_of(cell.listener, *new) == new
    cell.faults.set()
    of_frame = cell.listener.wait_for(lambda: cell.listener.with_stamp("overlay", stamp), "the overlay of that frame")
    assert of_frame.data == boxes
    assert len(cell.listener.with_stamp("detections", stamp).detections) == 1
    assert len(cell.result().detections) > 1


def test_parameters_and_lists_are_answered_while_a_frame_is_computed(cell):
    cell.reach("active")
    cell.connect()
    cell.faults.forget()
    cell.faults.set(segmentor="block")
    cell.camera.publish()
    cell.faults.wait_for("segmentor blocks")
    assert cell.listener.set_parameters(nms_threshold=0.3)[0].successful
    assert values_of(cell.listener, "nms_threshold") == {"nms_threshold": 0.3}
    assert len(cell.listener.call(ListObjects, "list_objects", ListObjects.Request()).objects) == 2
    assert cell.faults.events() == ["segmentor blocks"]


@pytest.mark.parametrize("scoring", ["sam6d", "noctis", "shape"])
def test_the_scoring_method_changes_live(cell, scoring):
    cell.reach("active")
    cell.connect()
    assert set_together(cell.listener, scoring=scoring, score_threshold=0.0).successful
    stamp = cell.result().header.stamp
    instance = cell.listener.wait_for(
        lambda: cell.listener.with_stamp("masks", (stamp.sec, stamp.nanosec)), "masks"
    ).instances[0]
    parts = instance.semantic_score + instance.appearance_score + instance.visible_ratio * instance.geometric_score
    expected = parts / (2 + instance.visible_ratio)
    assert (instance.score == pytest.approx(expected, abs=1e-3)) == (scoring == "sam6d")


def test_the_overlay_style_changes_live(cell, workspace):
    cell.reach("active")
    cell.connect()
    with np.load(workspace / "frame.npz") as stored:
        rgb = stored["rgb"]
    changed = {}
    for style in ("boxes", "outline", "filled"):
        assert cell.listener.set_parameters(overlay_style=style)[0].successful
        message = cell.result("overlay")
        changed[style] = (np.frombuffer(message.data, np.uint8).reshape(rgb.shape) != rgb).any(axis=2).sum()
    assert changed["filled"] > 1.5 * changed["outline"]
    assert changed["boxes"] != changed["outline"]


def test_a_higher_rate_counts_at_once_even_where_a_frame_waits_for_its_turn(cell):
    cell.reach("active")
    cell.connect()
    assert cell.listener.set_parameters(max_rate=0.001)[0].successful
    dropped = cell.listener.count("frames_dropped")
    cell.publish_until(lambda: cell.listener.count("frames_dropped") > dropped, "frames that wait", count=2)
    stamp = cell.camera.publish()[0]
    assert cell.listener.set_parameters(max_rate=0)[0].successful
    assert cell.listener.wait_for(lambda: cell.listener.with_stamp("detections", stamp), "its answer")
    assert values_of(cell.listener, "max_rate") == {"max_rate": 0.0}, "a whole number is taken for a fraction"


# refused


def test_one_bad_value_refuses_the_whole_request_with_the_reason(cell):
    before = values_of(cell.listener, "score_threshold", "scoring")
    result = set_together(cell.listener, score_threshold=0.123, scoring="guess")
    assert not result.successful
    assert "scoring" in result.reason
    assert "sam6d" in result.reason
    assert values_of(cell.listener, "score_threshold", "scoring") == before


def test_a_parameter_cannot_be_deleted(cell):
    assert not cell.listener.set_parameters(score_threshold=None)[0].successful
    assert "score_threshold" in values_of(cell.listener, "score_threshold")


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("active", "go through deactivate, cleanup, set, configure, activate"),
        ("inactive", "go through cleanup, set, configure"),
    ],
)
@pytest.mark.parametrize("change", [{"segmentor": "sam"}, {"device": "cuda:3"}, {"profile": "accurate"}])
def test_models_do_not_change_while_one_is_loaded_and_the_way_is_told(cell, change, state, said):
    cell.reach(state)
    before = values_of(cell.listener, *change)
    result = cell.listener.set_parameters(**change)[0]
    assert not result.successful
    assert said in result.reason
    assert next(iter(change)) in result.reason
    assert values_of(cell.listener, *change) == before


def test_models_and_objects_change_while_none_is_loaded(cell, parameters, tmp_path):
    objects = yaml.safe_load(Path(parameters["objects_file"]).read_text())["objects"]
    one = [{**objects[0], "cad": str(Path(parameters["objects_file"]).parent / objects[0]["cad"])}]
    (tmp_path / "one.yaml").write_text(yaml.safe_dump({"objects": one}))
    cell.reach("unconfigured")
    changed = {"objects_file": str(tmp_path / "one.yaml"), "cpu_threads": 2}
    assert set_together(cell.listener, **changed).successful
    try:
        cell.reach("active")
        cell.listener.next_status()
        assert cell.listener.values()["objects"] == "1"
        assert values_of(cell.listener, *changed) == changed
    finally:
        cell.reach("unconfigured")
        assert set_together(cell.listener, objects_file=parameters["objects_file"], cpu_threads=0).successful


def test_a_profile_sets_its_models_and_takes_them_back(cell):
    cell.reach("unconfigured")
    own = values_of(cell.listener, "segmentor", "descriptor")
    # a profile leaves alone what was chosen by hand
    defaults = {name: Settings.model_fields[name].default for name in own}
    assert set_together(cell.listener, **defaults).successful
    names = sorted({name for profile in PROFILES.values() for name in profile})
    before = values_of(cell.listener, *names)
    try:
        for profile in ("fast", "accurate", ""):
            assert cell.listener.set_parameters(profile=profile)[0].successful
            assert values_of(cell.listener, *names) == {**before, **PROFILES.get(profile, {})}
    finally:
        assert set_together(cell.listener, **own).successful


def test_the_input_changes_only_while_the_stream_is_closed(cell):
    cell.reach("active")
    result = cell.listener.set_parameters(slop=0.2)[0]
    assert not result.successful
    assert "go through deactivate, set, activate" in result.reason
    cell.reach("inactive")
    assert cell.listener.set_parameters(slop=0.2)[0].successful
    assert cell.listener.set_parameters(slop=Settings().slop)[0].successful


def test_depth_stays_where_the_segmentor_needs_it(cell):
    cell.reach("unconfigured")
    own = values_of(cell.listener, "segmentor")
    assert cell.listener.set_parameters(segmentor="plugins:NEEDS_DEPTH")[0].successful
    try:
        cell.reach("inactive")
        result = cell.listener.set_parameters(depth_transport="none")[0]
        assert not result.successful
        assert "segmentor 'plugins:NEEDS_DEPTH' needs depth" in result.reason
    finally:
        cell.reach("unconfigured")
        assert cell.listener.set_parameters(**own)[0].successful


def test_a_value_that_is_there_already_is_accepted_in_every_state(cell):
    cell.reach("active")
    names = [name for name in Settings.model_fields if name != "autostart"]
    assert set_together(cell.listener, **values_of(cell.listener, *names)).successful, "as `ros2 param load` does"
