"""`~/segment`: one frame on demand, given or the newest of the stream."""

from __future__ import annotations

import threading
import time
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TYPE_CHECKING

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup

from ism_ros.detections import Detections
from ism_ros.frame import FrameError
from ism_ros.node.conversion import Triple
from ism_ros.node.failures import give_back_memory
from ism_ros.node.messages import detection_array, mask_array, mask_image
from ism_ros.node.verdicts import failure_text
from ism_ros.srv import Segment

if TYPE_CHECKING:
    from ism_ros.node.ism_node import IsmNode

DEFAULT_TIMEOUT_S = 30.0
FRESH_S = 1.0
"""An older frame of the stream is not 'the newest' any more: the next one is waited for."""


class SegmentService:
    """Waits on a thread of its own callback group while the worker does the work, so that the stream goes on."""

    def __init__(self, node: IsmNode) -> None:
        self._node = node
        self._arrived = threading.Condition()
        self._newest: Triple | None = None
        self._newest_s = -float("inf")
        node.create_service(Segment, "~/segment", self._answer, callback_group=MutuallyExclusiveCallbackGroup())

    def remember(self, triple: Triple) -> None:
        """`triple` is the newest of the stream."""
        with self._arrived:
            self._newest, self._newest_s = triple, time.monotonic()
            self._arrived.notify_all()

    def forget(self) -> None:
        """The stream was closed."""
        with self._arrived:
            self._newest, self._newest_s = None, -float("inf")

    def _answer(self, request: Segment.Request, response: Segment.Response) -> Segment.Response:
        timeout_s = request.timeout if request.timeout > 0 else DEFAULT_TIMEOUT_S
        try:
            self._fill(request, response, time.monotonic() + timeout_s)
        except (FrameError, LookupError) as error:
            response.message = str(error.args[0]) if error.args else str(error)
        except (FutureTimeoutError, CancelledError):
            response.message = f"no result within {timeout_s:g} s: give a longer timeout"
        except Exception as error:  # the model's own failure must reach the caller, not end the node
            response.message = failure_text(error)
            give_back_memory(error)
            self._node.get_logger().error(f"~/segment: {response.message}")
        return response

    def _fill(self, request: Segment.Request, response: Segment.Response, deadline_s: float) -> None:
        model, worker = self._node.model, self._node.worker
        if model is None or worker is None:
            raise LookupError("the node has no model yet: configure it first")
        triple = self._triple(request, deadline_s)

        def job() -> tuple[Detections, float]:
            frame, _ = self._node.frame_of(triple)
            began = time.perf_counter()
            detections = model.segment(frame, list(request.object_ids) or None)
            return detections.to("cpu"), time.perf_counter() - began

        future = worker.submit(job)
        try:
            detections, inference_s = future.result(max(0.0, deadline_s - time.monotonic()))
        finally:
            future.cancel()
        header = triple.rgb.header
        response.detections = detection_array(detections, header)
        response.mask_image = mask_image(detections, header)
        response.masks = mask_array(detections, header, inference_s)
        response.success = True
        response.message = f"{len(detections)} instances"

    def _triple(self, request: Segment.Request, deadline_s: float) -> Triple:
        if request.rgb.width or request.rgb.height:
            has_depth = bool(request.depth.width or request.depth.height)
            return Triple(request.rgb, request.depth if has_depth else None, request.camera_info)
        if self._node.stream is None:
            raise LookupError("the stream is not active: activate the node, or give a frame")
        with self._arrived:
            self._arrived.wait_for(self._is_fresh, max(0.0, deadline_s - time.monotonic()))
            if self._newest is None or not self._is_fresh():
                raise LookupError("no frame came from the stream in time: see /diagnostics, or give a frame")
            return self._newest

    def _is_fresh(self) -> bool:
        return time.monotonic() - self._newest_s <= FRESH_S
