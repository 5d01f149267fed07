"""A node without autostart, as a lifecycle manager meets it."""

from pathlib import Path

import pytest
import yaml
from ism_ros.srv import Segment
from segment_requests import request_of
from sensor_msgs.msg import Image

from ism_ros.config.settings import Settings


@pytest.fixture(scope="module")
def managed_cell(lasting_cell, start_cell, parameters):
    """A node without autostart, for a lifecycle manager; `lasting_cell` has filled the cache."""
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
