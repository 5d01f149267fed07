"""No frame that is processed is older than one inference, however fast the camera and whatever else the node does."""

import os

from ism_ros.srv import Segment

TRANSPORT_S = 0.15
"""From the camera's stamp to the node, and from the node's answer to the test, on cores that are not busy."""


def seconds(message):
    return message.header.stamp.sec + message.header.stamp.nanosec * 1e-9


def test_each_frame_that_is_answered_was_taken_after_the_inference_before_it_had_begun(shared_cell):
    listener = shared_cell.listener
    shared_cell.result()
    before = len(listener.messages["detections"])
    finish = shared_cell.camera.start_publishing(150, rate_hz=30.0)
    # requests in between delay the stream; the frames that they delay must not be answered late
    for _ in range(3):
        listener.call(Segment, "segment", Segment.Request(timeout=30.0))
    finish()
    listener.wait_for(lambda: len(listener.messages["detections"]) >= before + 3, "three answers")
    stamps_s = [seconds(message) for message in listener.messages["detections"][before:]]
    answered_s = listener.arrived_s["detections"][before:]
    # the inference of one frame begins when the answer before it has been given
    began_s = answered_s[:-2]
    tolerance_s = TRANSPORT_S * max(1.0, os.getloadavg()[0] / len(os.sched_getaffinity(0)))
    late_s = [began - stamp for began, stamp in zip(began_s, stamps_s[2:], strict=True)]
    assert max(late_s) < tolerance_s, "a frame was older than the inference before it"


def test_waiting_is_never_longer_than_an_inference(shared_cell):
    values = shared_cell.listener.values()
    assert float(values["latency_ms.waiting.median"]) <= float(values["latency_ms.inference.percentile_95"])
