"""`~/segment`: one frame on demand, given or the newest of the stream."""

from __future__ import annotations

import math
import queue
import threading
import time
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TYPE_CHECKING

from rclpy.callback_groups import ReentrantCallbackGroup

from ism_ros.data.detections import Detections
from ism_ros.data.frame import FrameError
from ism_ros.node.camera_monitoring.missing_frames import why_no_frame
from ism_ros.node.conversion.calibration import rectification
from ism_ros.node.conversion.frame_conversion import in_published_pixels
from ism_ros.node.diagnostics.summaries import failure_text
from ism_ros.node.execution.out_of_memory import give_back_memory
from ism_ros.node.inputs.frame_subscriber import Arrival, Stream
from ism_ros.node.inputs.rgbd_messages import Triple
from ism_ros.node.outputs.detection_messages import detection_array, mask_array, mask_image
from ism_ros.srv import Segment

if TYPE_CHECKING:
    from ism_ros.node.node import IsmNode

DEFAULT_TIMEOUT_S = 30.0
LONGEST_TIMEOUT_S = 3600.0
FRESH_S = 1.0
"""An older frame of the stream is not 'the newest' any more: the next one is waited for."""
MOST_REQUESTS = 4
"""So many wait at once, each on a thread of the executor; the threads that are left serve the rest of the node."""


class RefusedError(Exception):
    """A request that cannot be answered; the message says why and what to do."""


class SegmentService:
    """Requests wait on threads of their own while the worker does the work, so that the stream goes on."""

    def __init__(self, node: IsmNode) -> None:
        self._node = node
        self._arrived = threading.Condition()
        self._newest: Triple | None = None
        self._newest_s = -float("inf")
        self._places = threading.Semaphore(MOST_REQUESTS)
        node.create_service(Segment, "~/segment", self._answer, callback_group=ReentrantCallbackGroup())

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
        if not self._places.acquire(blocking=False):
            response.message = f"{MOST_REQUESTS} requests are waiting for their results already: try again later"
            return response
        try:
            timeout_s = _timeout_s(request)
            self._fill(request, response, timeout_s, time.monotonic() + timeout_s)
        except (FrameError, RefusedError) as error:
            response.message = str(error)
        except CancelledError:
            response.message = "the node was cleaned up before the result was ready"
        except FutureTimeoutError:
            response.message = f"no result within {timeout_s:g} s: give a longer timeout"
        except Exception as error:  # the model's own failure must reach the caller, not end the node
            response.message = failure_text(error)
            give_back_memory(error)
            self._node.get_logger().error(f"~/segment: {response.message}")
        finally:
            self._places.release()
        return response

    def _fill(self, request: Segment.Request, response: Segment.Response, timeout_s: float, deadline_s: float) -> None:
        model, worker = self._node.model, self._node.worker
        if model is None or worker is None:
            raise RefusedError("the node has no model yet: configure it first")
        object_ids = list(request.object_ids) or None
        try:
            model.library.subset(object_ids or [])
        except KeyError as error:
            raise RefusedError(f"objects {error.args[0]}") from None
        is_rectified = rectification(self._node.settings.rectified)
        triple = _given(request, is_rectified) or self._newest_of_stream(timeout_s, deadline_s)

        def job() -> tuple[Detections, float]:
            frame, _ = self._node.frame_of(triple)
            began = time.perf_counter()
            detections = model.segment(frame, object_ids)
            return in_published_pixels(frame, detections.to("cpu"))[0], time.perf_counter() - began

        future = worker.submit(job)
        try:
            detections, inference_s = future.result(max(0.0, deadline_s - time.monotonic()))
        except KeyError as error:  # an object was removed while the request waited
            raise RefusedError(f"objects {error.args[0]}") from None
        finally:
            future.cancel()
        header = triple.rgb.header
        response.detections = detection_array(detections, header)
        response.mask_image = mask_image(detections, header)
        response.masks = mask_array(detections, header, inference_s)
        response.success = True
        hint = "" if len(model.library) else ": there are no objects to look for, call ~/add_object"
        doubts = "".join(f"; {warning.text}" for warning in detections.warnings)
        response.message = f"{len(detections)} instances{hint}{doubts}"

    def _newest_of_stream(self, timeout_s: float, deadline_s: float) -> Triple:
        stream = self._node.stream
        if stream is None:
            return self._one_of_own_stream(timeout_s, deadline_s)
        with self._arrived:
            self._arrived.wait_for(self._is_fresh, max(0.0, deadline_s - time.monotonic()))
            if self._newest is not None and self._is_fresh():
                return self._newest
        raise self._no_frame(stream, timeout_s)

    def _one_of_own_stream(self, timeout_s: float, deadline_s: float) -> Triple:
        """While the node is not active: subscribes for this one frame."""
        node = self._node
        arrivals: queue.SimpleQueue[Arrival] = queue.SimpleQueue()
        stream = Stream(node, node.settings, node.stream_calls, arrivals.put, lambda problem: None)
        try:
            return arrivals.get(timeout=max(0.0, deadline_s - time.monotonic())).triple
        except queue.Empty:
            raise self._no_frame(stream, timeout_s) from None
        finally:
            stream.close()

    def _no_frame(self, stream: Stream, timeout_s: float) -> RefusedError:
        problem = why_no_frame(stream.topics(), self._node.settings.slop, timeout_s, stream.remedy)
        return RefusedError(f"{problem.text}; or give a frame with the request")

    def _is_fresh(self) -> bool:
        return time.monotonic() - self._newest_s <= FRESH_S


def _timeout_s(request: Segment.Request) -> float:
    if not math.isfinite(request.timeout) or request.timeout < 0:
        raise RefusedError(f"timeout is {request.timeout:g}: give seconds, or 0 for {DEFAULT_TIMEOUT_S:g} s")
    return min(request.timeout or DEFAULT_TIMEOUT_S, LONGEST_TIMEOUT_S)


def _given(request: Segment.Request, is_rectified: bool | None) -> Triple | None:
    """The frame in the request, or None where the newest of the stream is asked for."""
    if not (request.rgb.width or request.rgb.height):
        if len(request.rgb.data) or request.depth.width or request.depth.height:
            raise RefusedError("rgb is 0 x 0 pixels, yet there is data: give its size, or an entirely empty frame")
        return None
    has_depth = bool(request.depth.width or request.depth.height)
    return Triple(request.rgb, request.depth if has_depth else None, request.camera_info, is_rectified)
