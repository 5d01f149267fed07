"""What is known of the camera at one moment."""

from __future__ import annotations

from dataclasses import dataclass

from ism_ros.node.event_log import DiagnosticEvent


@dataclass(frozen=True)
class CameraStatus:
    """Result of `CameraMonitor.status`.

    Attributes:
        problem: Why no frame comes, once the timeout is over, else None.
        is_gone: Whether nothing at all comes any more, on no topic.
        dropped: Messages that are lost on the way, while frames come.
        had_frames: Whether a frame has come since the node became active.
        rate_hz: Frames a second.
        last_frame_age_s: Seconds since the last frame, None before the first.
        silence_s: Seconds since the last frame, or since the node became active.
        timeout_s: Seconds without a frame after which something is wrong.
        stamp_age_s: The node's clock minus the stamp of the last frame, seconds; None before the first.
    """

    problem: DiagnosticEvent | None = None
    is_gone: bool = False
    dropped: tuple[DiagnosticEvent, ...] = ()
    had_frames: bool = False
    rate_hz: float = 0.0
    last_frame_age_s: float | None = None
    silence_s: float = 0.0
    timeout_s: float = 1.0
    stamp_age_s: float | None = None
