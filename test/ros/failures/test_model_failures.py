"""A model that fails in the middle of a frame costs that frame, or less, and never the node."""

import re
import time
from pathlib import Path

import numpy as np
import pytest
from cell import opened
from diagnostic_msgs.msg import DiagnosticStatus
from ism_ros.srv import Segment
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from ism_ros.node.outputs.detection_messages import image_message

pytestmark = pytest.mark.faults

GOLDEN = Path(__file__).parents[2] / "golden"
SLOW_S = 240.0
"""On a machine that others keep busy a frame of several networks in chunks of one row takes most of a minute."""
STAGES = ("conversion", "segmentor", "crops", "descriptor", "scoring", "selection", "pose", "publishing")
SAID = {"raise": "RuntimeError: the {stage} lost its way", "out_of_memory": "out of memory"}
SAID_OF_SELECTION = {**SAID, "raise": "IndexError: index"}
"""What a stage says of itself; the selection fails by what it is given to select from."""
DUMMY_NETWORKS = {
    "segmentor_model": str(GOLDEN / "sam_tiny.pth"),
    "descriptor": "faulty_models:DINOV2",
    "descriptor_model": str(GOLDEN / "dinov2_tiny_pretrain.pth"),
    "points_per_side": 8,
    "predicted_iou_threshold": 0.0,
    "stability_score_threshold": 0.0,
    "confidence_threshold": 0.0,
    "score_threshold": 0.0,
    "scoring": "faulty_models:NOCTIS",
}
"""Networks with random weights: they find nonsense, but in chunks like those of full size."""


@pytest.fixture
def cell(faulty_cell):
    """The active node with a camera, whole before and after each test."""
    faulty_cell.reach("active")
    faulty_cell.connect()
    yield faulty_cell
    faulty_cell.faults.set()


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("fault", SAID)
def test_a_frame_that_fails_is_skipped_counted_and_said_and_the_next_one_answered(cell, stage, fault):
    listener, said = cell.listener, (SAID_OF_SELECTION if stage == "selection" else SAID)[fault].format(stage=stage)
    assert cell.result().detections
    # what the last test did is said for five seconds
    listener.wait_for(lambda: listener.level("segmentation") == DiagnosticStatus.OK, "a model that is well")
    failed = listener.count("inference_failures")
    logged = len(cell.node.output)
    cell.faults.set(**{stage: fault})
    began_s = time.monotonic()
    finish = cell.camera.start_publishing(20, rate_hz=10.0)
    listener.assert_told("segmentation", DiagnosticStatus.ERROR, "inference failed", said, since_s=began_s)
    assert listener.count("inference_failures") > failed
    stamps = finish()
    assert [stamp for stamp in stamps if listener.with_stamp("detections", stamp)] == []
    if fault == "raise":
        assert re.search(f"inference failed: {said}.*: the frame is skipped", cell.node.output[logged:])
    cell.faults.set()
    assert cell.result().detections
    assert cell.state() == "active"


def test_segment_tells_its_caller_what_failed(cell, workspace):
    with np.load(workspace / "frame.npz") as stored:
        header, (height, width) = Header(), stored["rgb"].shape[:2]
        request = Segment.Request(
            rgb=image_message(stored["rgb"], "rgb8", header),
            depth=image_message(np.round(stored["depth_m"] * 1000).astype(np.uint16), "16UC1", header),
            camera_info=CameraInfo(width=width, height=height, k=stored["intrinsics"].astype(float).ravel().tolist()),
        )
    cell.faults.set(descriptor="out_of_memory")
    answer = cell.listener.call(Segment, "segment", request)
    assert not answer.success
    assert "out of memory" in answer.message
    cell.faults.set()
    assert cell.listener.call(Segment, "segment", request).success


@pytest.fixture(scope="module")
def neural_cell(request, start_faulty_cell, parameters):
    # random weights of SAM find a single mask, of which nothing smaller can be made; `tiny` finds many
    networks = {**DUMMY_NETWORKS, "segmentor": f"faulty_models:{request.param}"}
    if request.param != "SAM":
        del networks["segmentor_model"]
    with opened(start_faulty_cell({**parameters, **networks}, topics=["detections"]), timeout_s=240.0) as cell:
        yield cell


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("neural_cell", "stage", "said"),
    [
        ("SAM", "segmentor", "point prompts at once do not fit into memory"),
        ("TINY_SEGMENTOR", "descriptor", "crops at once do not fit into memory"),
        ("TINY_SEGMENTOR", "scoring", "proposals beside all templates of an object at once do not fit into memory"),
    ],
    indirect=["neural_cell"],
)
def test_out_of_memory_is_survived_by_smaller_chunks_without_losing_a_frame(neural_cell, stage, said):
    listener = neural_cell.listener
    whole = neural_cell.result(timeout_s=SLOW_S).detections
    assert whole
    recovered = listener.count("out_of_memory_recoveries")
    neural_cell.faults.set(**{f"{stage}_fits": 1})
    assert len(neural_cell.result(timeout_s=SLOW_S).detections) == len(whole)
    listener.wait_for(
        lambda: listener.count("out_of_memory_recoveries") > recovered, "the recovery in /diagnostics"
    )
    assert listener.count("inference_failures") == 0
    assert said in neural_cell.node.output
    neural_cell.faults.set()


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("neural_cell", "stage"),
    [("SAM", "segmentor"), ("TINY_SEGMENTOR", "descriptor"), ("TINY_SEGMENTOR", "scoring")],
    indirect=["neural_cell"],
)
def test_what_does_not_fit_in_any_size_costs_the_frame_alone(neural_cell, stage):
    listener = neural_cell.listener
    neural_cell.result(timeout_s=SLOW_S)
    failed = listener.count("inference_failures")
    neural_cell.faults.set(**{f"{stage}_fits": 0})
    neural_cell.publish_until(
        lambda: listener.count("inference_failures") > failed and "out of memory" in listener.text("segmentation"),
        "the failure in /diagnostics",
        SLOW_S,
    )
    neural_cell.faults.set()
    assert neural_cell.result(timeout_s=SLOW_S).detections
