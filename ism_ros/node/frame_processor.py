"""The way of a frame from synchronised messages to detections."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from std_msgs.msg import Header

from ism_ros.config.settings import Settings
from ism_ros.data.detections import Detections
from ism_ros.data.frame import Frame
from ism_ros.errors import FrameError
from ism_ros.model import InstanceSegmentationModel
from ism_ros.node.context import NodeContext
from ism_ros.node.conversion.depth_conversion import InvalidDepth
from ism_ros.node.conversion.frame_conversion import frame_from_messages
from ism_ros.node.conversion.rgbd_messages import RgbdMessages
from ism_ros.node.diagnostics.frame_warnings import FrameWarnings
from ism_ros.node.execution.inference_failures import failure_text, free_memory_after
from ism_ros.node.inputs.frame_subscriber import SyncedFrame
from ism_ros.registration.frame_registration import with_registered_depth
from ism_ros.segmentors.base import SEGMENTORS
from ism_ros.tracking.ids import Tracker

REGISTRATION_PERIOD_S = 2.0
"""Time between two checks whether depth is registered, of frames that are followed, seconds: it takes half as long as
the following. Depth that was not registered at the last check is registered in every frame."""
MIN_UNIT_CHECK_PERIOD_S, MAX_UNIT_CHECK_PERIOD_S = 1.0, 30.0
"""Shortest time between two checks of units, seconds, while something is found or a unit is doubted; it doubles with
each check that tells nothing, as each costs two or three passes more, until it is the longest."""


@dataclass(frozen=True)
class ProcessedFrame:
    """A frame and what was found in it.

    Attributes:
        frame: The frame.
        detections: Instances of known objects, best first.
        inference_s: Duration of inference, seconds.
        stage_s: Duration of each stage by name, seconds.
        lost: (id, class id) of instances that were followed and are not seen in this frame.
    """

    frame: Frame
    detections: Detections
    inference_s: float
    stage_s: dict[str, float]
    lost: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True)
class ConvertedFrame:
    """A frame on its way.

    Attributes:
        header: Of the color image.
        frame: The frame.
        stage_s: Duration of the stages so far, seconds.
    """

    header: Header
    frame: Frame
    stage_s: dict[str, float]


class FrameProcessor:
    """Converts, segments and tracks, one frame at a time; what is odd about a frame goes to the event log."""

    def __init__(self, context: NodeContext) -> None:
        """Start without tracks.

        Args:
            context: The settings and the events.
        """
        self._context = context
        self._warnings = FrameWarnings(context.events)
        self._tracker = Tracker()
        self._last_unit_check_s = -float("inf")
        self._unit_check_period_s = MIN_UNIT_CHECK_PERIOD_S
        self._last_registration_s = -float("inf")

    def process(
        self, arrived: SyncedFrame, model: InstanceSegmentationModel, settings: Settings
    ) -> ProcessedFrame | None:
        """Process one frame.

        Args:
            arrived: Its messages.
            model: Finds the instances.
            settings: Thresholds, scoring and tracking.

        Returns:
            None where the frame was rejected.
        """
        converted = self.convert(arrived)
        return None if converted is None else self.search(converted, model, settings)

    def convert(self, arrived: SyncedFrame, is_followed: bool = False) -> ConvertedFrame | None:
        """Convert the messages of a frame.

        Args:
            arrived: Its messages.
            is_followed: Whether it is one of many that are followed: then registration is checked now and then.

        Returns:
            The frame, None where it was rejected.
        """
        taken_s = time.perf_counter()
        try:
            frame, invalid_depth = self._converted(arrived.messages, is_followed)
        except FrameError as error:
            self._context.events.reject_frame(error.reason, str(error))
            return None
        self._warnings.report_depth(invalid_depth)
        stage_s = {
            "synchronisation": arrived.synchronisation_s,
            "waiting": taken_s - arrived.completed_s,
            "conversion": time.perf_counter() - taken_s,
        }
        return ConvertedFrame(arrived.messages.rgb.header, frame, stage_s)

    def search(self, converted: ConvertedFrame, model: InstanceSegmentationModel, settings: Settings) -> ProcessedFrame:
        """Find the instances in a frame.

        Args:
            converted: The frame.
            model: Finds them.
            settings: Thresholds, scoring and tracking.

        Returns:
            What was found.
        """
        began_s, frame = time.perf_counter(), converted.frame
        is_due = self._is_unit_check_due()
        detections = model.segment(frame, settings=settings, with_unit_check=is_due)
        if len(detections) or any(warning.reason == "depth_unit" for warning in detections.warnings):
            self._unit_check_period_s = MIN_UNIT_CHECK_PERIOD_S
        elif is_due:
            self._unit_check_period_s = min(2 * self._unit_check_period_s, MAX_UNIT_CHECK_PERIOD_S)
        self._warnings.report_detections(detections, model.library)
        if settings.tracking == "ids":
            detections = self._tracker.update(detections.to("cpu"), frame.stamp_ns)
        else:
            self._tracker.reset()
        inference_s = time.perf_counter() - began_s
        stage_s = {**converted.stage_s, **detections.stage_s, "inference": inference_s}
        return ProcessedFrame(frame, detections, inference_s, stage_s)

    def read_frame(self, messages: RgbdMessages) -> Frame:
        """Convert messages without reporting what is odd about their depth.

        Raises:
            FrameError: They, or the segmentor, cannot be used.
        """
        return self._converted(messages)[0]

    def report_failure(self, error: Exception) -> None:
        """Report what `process` raised and free the memory that it holds."""
        text = failure_text(error)
        free_memory_after(error)
        self._context.events.fail_inference(text)

    def _converted(self, messages: RgbdMessages, is_followed: bool = False) -> tuple[Frame, InvalidDepth]:
        frame, invalid_depth = frame_from_messages(messages)
        self._warnings.report_undistortion(frame)
        if not frame.has_depth and SEGMENTORS.get(self._context.settings().segmentor).needs_depth:
            raise FrameError("no_depth", "depth has no reading at all: check the depth camera and its range")
        is_checked = is_followed and time.monotonic() - self._last_registration_s < REGISTRATION_PERIOD_S
        if self._context.settings().registers_depth() and not is_checked:
            given = frame
            frame = with_registered_depth(frame)  # not by the model, so that ~/points has that depth as well
            if is_followed and _has_depth_of(frame, given):
                self._last_registration_s = time.monotonic()
        return frame, invalid_depth

    def _is_unit_check_due(self) -> bool:
        now_s = time.monotonic()
        if now_s - self._last_unit_check_s < self._unit_check_period_s:
            return False
        self._last_unit_check_s = now_s
        return True


def _has_depth_of(frame: Frame, given: Frame) -> bool:
    """Tell whether registration left the depth as it was."""
    if frame.depth_m is None or given.depth_m is None:
        return True
    return bool(np.array_equal(frame.depth_m, given.depth_m))
