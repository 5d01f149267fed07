"""Reports of what is odd about frames that can be used."""

from __future__ import annotations

from ism_ros.checks.input_warnings import InputWarning
from ism_ros.data.detections import Detections
from ism_ros.data.frame import Frame
from ism_ros.node.conversion.depth_conversion import InvalidDepth
from ism_ros.node.conversion.frame_conversion import UndistortedFrame
from ism_ros.node.event_log import ONCE_S, DiagnosticEvent, EventLog
from ism_ros.objects.library import ObjectLibrary

REPORTED_ONCE = ("empty_frame_id", "grey_image")
"""Reasons that hold for all frames of a camera, with which it can be used for good."""


class FrameWarnings:
    """Reports to the event log what comes with a frame."""

    def __init__(self, events: EventLog) -> None:
        """Report to `events`."""
        self._events = events

    def report_undistortion(self, frame: Frame) -> None:
        """Log once that lens distortion is corrected."""
        if isinstance(frame, UndistortedFrame):
            shift_px = frame.undistortion.largest_shift_px
            text = (
                f"rgb is raw: its lens, which moves pixels by up to {shift_px:.0f}, is corrected by D of camera_info; "
                "masks and boxes are in the pixels of rgb as it comes"
            )
            self._events.log("undistortion", text, "info", ONCE_S)

    def report_depth(self, invalid: InvalidDepth) -> None:
        """Count invalid readings of depth; negative ones are a warning."""
        if invalid.nonfinite_fraction > 0:
            self._events.count_event("nonfinite_depth")
            text = (
                f"depth has NaN or infinite readings ({invalid.nonfinite_fraction:.0%} of this frame): "
                "they count as no reading"
            )
            self._events.log("nonfinite_depth", text, "info", ONCE_S)
        if invalid.negative_fraction > 0:
            text = (
                f"depth has negative readings ({invalid.negative_fraction:.0%} of this frame), taken as no reading: "
                "check the depth driver"
            )
            self._events.warn(DiagnosticEvent("negative_depth", text))

    def report_detections(self, detections: Detections, library: ObjectLibrary) -> None:
        """Report the warnings that came with a result; those about an object were reported when it was onboarded."""
        of_objects = {warning for known in library.objects for warning in known.warnings}
        for warning in detections.warnings:
            if warning not in of_objects and self._is_due(warning):
                self._events.warn(DiagnosticEvent(warning.reason, warning.text))
        if len(detections) == 0:
            self._events.count_event("nothing_found")

    def _is_due(self, warning: InputWarning) -> bool:
        return warning.reason not in REPORTED_ONCE or self._events.is_first(warning.text)
