"""What the node makes of a frame before and after the model: depth that is not registered is registered first."""

import threading
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from ism_ros.config.settings import Settings
from ism_ros.data.detections import Detections
from ism_ros.node.context import NodeContext
from ism_ros.node.conversion.frame_conversion import frame_from_messages
from ism_ros.node.conversion.rgbd_messages import DepthSource, RgbdMessages
from ism_ros.node.event_log import EventLog
from ism_ros.node.frame_processor import FrameProcessor
from ism_ros.node.inputs.frame_subscriber import SyncedFrame
from ism_ros.objects.library import ObjectLibrary
from ism_ros.query import Query
from ism_ros.sim.benchmark_scenes.depth_camera_beside import DepthCameraBeside, observe_with
from ism_ros.sim.benchmark_scenes.known_objects import known_objects, make_scene_object
from ism_ros.sim.benchmark_scenes.table_scene import make_scene
from ism_ros.sim.camera_node import to_messages

BESIDE = DepthCameraBeside(0.64, 0.015)


class ModelWithoutObjects:
    """Does with a frame what a model does first, and finds nothing."""

    library = ObjectLibrary(())

    def segment(self, frame, settings, **_):
        frame = Query(frame, self.library, settings).with_registered_depth().frame
        return replace(Detections.empty(frame.height, frame.width), warnings=frame.warnings)


@pytest.fixture(scope="module")
def seen():
    """A frame of two cameras, the messages of it, and the registered depth that is true."""
    table = make_scene(1, [make_scene_object(mesh) for mesh in known_objects(1)])
    frame, true_m = observe_with(table, BESIDE, None)
    return frame, to_messages(frame), true_m


@pytest.fixture
def processor():
    silent = SimpleNamespace(info=lambda text: None, warning=lambda text: None, error=lambda text: None)

    def make(**settings):
        chosen = Settings(**settings)
        context = NodeContext(
            settings=lambda: chosen,
            state=lambda: "active",
            model=lambda: None,
            events=EventLog(silent),
            progress=None,
            logger=silent,
            clock=None,
            stopping=threading.Event(),
        )
        return FrameProcessor(context), context, chosen

    return make


def processed(made, messages):
    worker, context, settings = made
    result = worker.process(SyncedFrame(messages, 0.0, 0.0), ModelWithoutObjects(), settings)
    return result.frame, context.events.snapshot().noticed.get("depth_not_registered", 0)


def share_of_right(depth_m, true_m):
    return float((np.abs(depth_m - true_m) < 0.02)[(depth_m > 0) & (true_m > 0)].mean())


def test_results_are_published_with_the_registered_depth_and_a_warning(processor, seen):
    _, messages, true_m = seen
    frame, noticed = processed(processor(), RgbdMessages(messages.rgb, messages.depth, messages.info))
    assert noticed == 1
    assert share_of_right(frame.depth_m, true_m) > 0.85


def test_depth_is_taken_as_given_where_the_settings_say_so(processor, seen):
    given, messages, _ = seen
    messages = RgbdMessages(messages.rgb, messages.depth, messages.info)
    frame, noticed = processed(processor(depth_registration="as_given"), messages)
    assert noticed == 0
    assert np.allclose(frame.depth_m, given.depth_m, atol=1e-3)


def test_depth_that_the_node_registers_exactly_is_not_looked_at(processor, seen):
    given, color, true_m = seen
    depth = to_messages(given)
    depth.depth.header.frame_id = "depth_optical_frame"
    depth.info.k = BESIDE.camera(given.camera).intrinsics.ravel().tolist()
    to_color = np.eye(4)
    to_color[0, 3] = BESIDE.baseline_m
    source = DepthSource("/rgb", "/depth", depth.info, to_color)
    messages = RgbdMessages(color.rgb, depth.depth, color.info, False, source)
    frame, noticed = processed(processor(), messages)
    assert noticed == 0
    assert np.array_equal(frame.depth_m, frame_from_messages(messages)[0].depth_m)
    assert share_of_right(frame.depth_m, true_m) > 0.9
