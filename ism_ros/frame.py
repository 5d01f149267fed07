"""One RGB-D frame and the camera that took it: what goes in at the door."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ism_ros.input_warnings import InputWarning


class FrameError(ValueError):
    """A frame that cannot be used.

    `reason` is a short stable word for counting (`size_mismatch`, `bad_intrinsics`, ...); the message says what
    was wrong and what to do about it.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Camera:
    """A pinhole camera without distortion.

    intrinsics: (3, 3) float64, pixels. width, height: pixels. is_cropped: whether its picture is a part of what the
    lens shows, so that the principal point may lie anywhere.
    """

    intrinsics: NDArray[np.float64]
    width: int
    height: int
    is_cropped: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        k = np.array(self.intrinsics, dtype=np.float64)
        if k.size != 9:
            raise FrameError("bad_intrinsics", f"the camera matrix has {k.size} numbers; give 9 (row by row)")
        k = k.reshape(3, 3)
        if not np.isfinite(k).all() or k[0, 0] <= 0 or k[1, 1] <= 0:
            raise FrameError(
                "bad_intrinsics",
                f"the camera matrix has focal lengths fx={k[0, 0]:g}, fy={k[1, 1]:g}; both must be finite and above 0: "
                "calibrate the camera or publish its camera_info",
            )
        object.__setattr__(self, "intrinsics", k)

    @property
    def fx(self) -> float:
        return float(self.intrinsics[0, 0])

    @property
    def fy(self) -> float:
        return float(self.intrinsics[1, 1])

    @property
    def cx(self) -> float:
        return float(self.intrinsics[0, 2])

    @property
    def cy(self) -> float:
        return float(self.intrinsics[1, 2])


@dataclass(frozen=True)
class Frame:
    """One colour image with its registered depth.

    rgb: (H, W, 3) uint8. depth_m: (H, W) float32 metres along the optical axis, 0 = no reading, or None without a
    depth sensor; NaN, infinite and negative readings become 0. stamp_ns: nanoseconds of the sensor's clock.
    frame_id: the optical frame (x right, y down, z forward). warnings: what whoever made the frame doubts about it.

    Raises FrameError where sizes disagree.
    """

    rgb: NDArray[np.uint8]
    depth_m: NDArray[np.float32] | None
    camera: Camera
    stamp_ns: int = 0
    frame_id: str = ""
    warnings: tuple[InputWarning, ...] = ()
    invalid_depth_share: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        if self.rgb.ndim != 3 or self.rgb.shape[2] != 3 or self.rgb.dtype != np.uint8:
            raise FrameError("bad_rgb", f"rgb must be (H, W, 3) uint8, not {self.rgb.shape} {self.rgb.dtype}")
        height, width = self.rgb.shape[:2]
        if height == 0 or width == 0:
            raise FrameError("empty_image", "the rgb image has no pixels: check the camera driver")
        if (self.camera.width, self.camera.height) != (width, height):
            raise FrameError(
                "camera_info_size",
                f"camera_info is for {self.camera.width} x {self.camera.height} but rgb is {width} x {height}: "
                "use the camera_info of the rgb stream",
            )
        if self.depth_m is not None:
            if self.depth_m.shape != (height, width):
                raise FrameError(
                    "size_mismatch",
                    f"depth is {self.depth_m.shape[1]} x {self.depth_m.shape[0]} but rgb is {width} x {height}: "
                    "use depth registered to rgb (RealSense: align_depth.enable:=true)",
                )
            depth = np.nan_to_num(self.depth_m.astype(np.float32, copy=False), nan=0.0, posinf=0.0, neginf=0.0)
            np.maximum(depth, 0.0, out=depth)
            object.__setattr__(self, "depth_m", depth)
            object.__setattr__(self, "invalid_depth_share", 1.0 - float(np.count_nonzero(depth)) / depth.size)

    @property
    def height(self) -> int:
        return int(self.rgb.shape[0])

    @property
    def width(self) -> int:
        return int(self.rgb.shape[1])

    @property
    def has_depth(self) -> bool:
        """Whether any pixel has a depth reading."""
        return self.depth_m is not None and self.invalid_depth_share < 1.0
