"""`~/segment`: one frame on request, given or the newest of the stream."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node

from ism_ros.data.detections import Detections
from ism_ros.data.frame import Frame
from ism_ros.errors import FrameError
from ism_ros.node.camera_monitoring.missing_frames import why_no_frame
from ism_ros.node.context import NodeContext
from ism_ros.node.conversion.calibration import rectification
from ism_ros.node.conversion.frame_conversion import in_published_pixels
from ism_ros.node.conversion.rgbd_messages import RgbdMessages
from ism_ros.node.execution.group_calls import GroupCalls
from ism_ros.node.execution.inference_failures import failure_text, free_memory_after
from ism_ros.node.execution.worker_thread import WorkerThread
from ism_ros.node.inputs.frame_subscriber import FrameSubscriber, SyncedFrame
from ism_ros.node.outputs.detection_messages import detection_array, mask_array, mask_image
from ism_ros.srv import Segment

DEFAULT_TIMEOUT_S = 30.0
"""Timeout of a request that gives none, seconds."""
MAX_TIMEOUT_S = 3600.0
"""Longest timeout of a request, seconds."""
MAX_FRAME_AGE_S = 1.0
"""Age up to which the last frame of the stream is the newest, seconds; else the next one is waited for."""
MAX_REQUESTS = 4
"""Number of requests that wait at once, each on a thread of the executor; the other threads serve the rest."""


class RefusedError(Exception):
    """Raised for a request that cannot be met; the message says why and what to do."""


class SegmentService:
    """Waits for results on threads of its own while the worker computes them, so that the stream goes on."""

    def __init__(
        self,
        node: Node,
        context: NodeContext,
        calls: GroupCalls,
        worker: Callable[[], WorkerThread[Any] | None],
        subscriber: Callable[[], FrameSubscriber | None],
        read_frame: Callable[[RgbdMessages], Frame],
    ) -> None:
        """Create the service.

        Args:
            node: ROS node.
            context: The settings and the model.
            calls: Callback group of subscriptions.
            worker: Returns the thread that runs the model, None while the node is not configured.
            subscriber: Returns what is subscribed, None while the node is not active.
            read_frame: Converts messages; raises FrameError.
        """
        self._node = node
        self._context = context
        self._calls = calls
        self._worker = worker
        self._subscriber = subscriber
        self._read_frame = read_frame
        self._arrived = threading.Condition()
        self._newest: RgbdMessages | None = None
        self._newest_s = -float("inf")
        self._slots = threading.Semaphore(MAX_REQUESTS)
        node.create_service(Segment, "~/segment", self._respond, callback_group=ReentrantCallbackGroup())

    def set_newest(self, messages: RgbdMessages) -> None:
        """Keep the newest messages of the stream."""
        with self._arrived:
            self._newest, self._newest_s = messages, time.monotonic()
            self._arrived.notify_all()

    def clear_newest(self) -> None:
        """Forget the newest messages: the stream was closed, or time has jumped."""
        with self._arrived:
            self._newest, self._newest_s = None, -float("inf")

    def _respond(self, request: Segment.Request, response: Segment.Response) -> Segment.Response:
        if not self._slots.acquire(blocking=False):
            response.message = f"{MAX_REQUESTS} requests are waiting for their results already: try again later"
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
            free_memory_after(error)
            self._context.logger.error(f"~/segment: {response.message}")
        finally:
            self._slots.release()
        return response

    def _fill(self, request: Segment.Request, response: Segment.Response, timeout_s: float, deadline_s: float) -> None:
        model, worker = self._context.model(), self._worker()
        if model is None or worker is None:
            raise RefusedError("the node has no model yet: configure it first")
        object_ids = list(request.object_ids) or None
        try:
            model.library.subset(object_ids or [])
        except KeyError as error:
            raise RefusedError(f"objects {error.args[0]}") from None
        is_rectified = rectification(self._context.settings().rectified)
        messages = _given_messages(request, is_rectified) or self._newest_of_stream(timeout_s, deadline_s)

        def segment() -> tuple[Detections, float]:
            frame = self._read_frame(messages)
            began_s = time.perf_counter()
            detections = model.segment(frame, object_ids, self._context.settings())
            return in_published_pixels(frame, detections.to("cpu"))[0], time.perf_counter() - began_s

        future = worker.submit(segment)
        try:
            detections, inference_s = future.result(max(0.0, deadline_s - time.monotonic()))
        except KeyError as error:  # an object was removed while the request waited
            raise RefusedError(f"objects {error.args[0]}") from None
        finally:
            future.cancel()
        header = messages.rgb.header
        response.detections = detection_array(detections, header)
        response.mask_image = mask_image(detections, header)
        response.masks = mask_array(detections, header, inference_s)
        response.success = True
        hint = "" if len(model.library) else ": there are no objects to look for, call ~/add_object"
        warnings = "".join(f"; {warning.text}" for warning in detections.warnings)
        response.message = f"{len(detections)} instances{hint}{warnings}"

    def _newest_of_stream(self, timeout_s: float, deadline_s: float) -> RgbdMessages:
        subscriber = self._subscriber()
        if subscriber is None:
            return self._subscribe_for_one(timeout_s, deadline_s)
        with self._arrived:
            self._arrived.wait_for(self._is_fresh, max(0.0, deadline_s - time.monotonic()))
            if self._newest is not None and self._is_fresh():
                return self._newest
        raise self._no_frame_error(subscriber, timeout_s)

    def _subscribe_for_one(self, timeout_s: float, deadline_s: float) -> RgbdMessages:
        """Subscribe for one frame, while the node is not active."""
        frames: queue.SimpleQueue[SyncedFrame] = queue.SimpleQueue()
        settings = self._context.settings()
        subscriber = FrameSubscriber(self._node, settings, self._calls, frames.put, warn=lambda event: None)
        try:
            return frames.get(timeout=max(0.0, deadline_s - time.monotonic())).messages
        except queue.Empty:
            raise self._no_frame_error(subscriber, timeout_s) from None
        finally:
            subscriber.close()

    def _no_frame_error(self, subscriber: FrameSubscriber, timeout_s: float) -> RefusedError:
        slop_s = self._context.settings().slop
        event = why_no_frame(subscriber.topics(), slop_s, timeout_s, subscriber.drop_remedy)
        return RefusedError(f"{event.text}; or give a frame with the request")

    def _is_fresh(self) -> bool:
        return time.monotonic() - self._newest_s <= MAX_FRAME_AGE_S


def _timeout_s(request: Segment.Request) -> float:
    if not math.isfinite(request.timeout) or request.timeout < 0:
        raise RefusedError(f"timeout is {request.timeout:g}: give seconds, or 0 for {DEFAULT_TIMEOUT_S:g} s")
    return min(request.timeout or DEFAULT_TIMEOUT_S, MAX_TIMEOUT_S)


def _given_messages(request: Segment.Request, is_rectified: bool | None) -> RgbdMessages | None:
    """Return the frame in the request, None where the newest of the stream is wanted."""
    if not (request.rgb.width or request.rgb.height):
        if len(request.rgb.data) or request.depth.width or request.depth.height:
            raise RefusedError("rgb is 0 x 0 pixels, yet there is data: give its size, or an entirely empty frame")
        return None
    has_depth = bool(request.depth.width or request.depth.height)
    return RgbdMessages(request.rgb, request.depth if has_depth else None, request.camera_info, is_rectified)
