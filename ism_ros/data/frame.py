"""One RGB-D frame: checked once, then valid everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from warnings import warn

import numpy as np
from numpy.typing import NDArray

from ism_ros.checks.camera_checks import intrinsics_error, intrinsics_warnings
from ism_ros.checks.depth_checks import no_reading_values
from ism_ros.checks.image_checks import exposure_warnings, has_no_colors
from ism_ros.checks.input_warnings import InputWarning, unique_warnings
from ism_ros.data.camera import Camera
from ism_ros.errors import FrameError


@dataclass(frozen=True)
class Frame:
    """One color image with its registered depth.

    Attributes:
        rgb: (H, W, 3) uint8.
        depth_m: (H, W) float32 metres along the optical axis, 0 = no reading; None without a depth sensor. NaN,
            infinite and negative readings become 0, and so does what stands for 'no reading', such as the largest
            float.
        camera: The camera of both.
        stamp_ns: Nanoseconds of the sensor's clock.
        frame_id: Optical frame (x right, y down, z forward).
        warnings: Doubts of whoever made the frame, and about its camera matrix and exposure.
        is_registration_checked: Whether depth was registered, or its registration checked, so that it is taken as is.
        invalid_depth_share: Fraction of the pixels without a depth reading; 0 without a depth sensor.

    Raises:
        FrameError: Sizes disagree, or the camera matrix cannot be that of an image of this size.
    """

    rgb: NDArray[np.uint8]
    depth_m: NDArray[np.float32] | None
    camera: Camera
    stamp_ns: int = 0
    frame_id: str = ""
    warnings: tuple[InputWarning, ...] = ()
    is_registration_checked: bool = False
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
        intrinsics = self.camera.intrinsics
        is_cropped = self.camera.is_cropped
        if fault := intrinsics_error(intrinsics, width, height, is_cropped):
            raise FrameError("bad_intrinsics", fault)
        doubts = () if is_cropped else intrinsics_warnings(intrinsics, width, height)
        doubts += exposure_warnings(self.rgb)
        object.__setattr__(self, "warnings", unique_warnings((*self.warnings, *doubts)))
        if self.depth_m is not None:
            if self.depth_m.shape != (height, width):
                raise FrameError(
                    "size_mismatch",
                    f"depth is {self.depth_m.shape[1]} x {self.depth_m.shape[0]} but rgb is {width} x {height}: "
                    "use depth registered to rgb (RealSense: align_depth.enable:=true)",
                )
            depth = np.nan_to_num(self.depth_m.astype(np.float32, copy=False), nan=0.0, posinf=0.0, neginf=0.0)
            np.maximum(depth, 0.0, out=depth)
            if (missing := no_reading_values(depth)) is not None:
                depth[missing] = 0.0
            object.__setattr__(self, "depth_m", depth)
            object.__setattr__(self, "invalid_depth_share", 1.0 - float(np.count_nonzero(depth)) / depth.size)

    @property
    def height(self) -> int:
        """Rows of the image."""
        return int(self.rgb.shape[0])

    @property
    def width(self) -> int:
        """Columns of the image."""
        return int(self.rgb.shape[1])

    @cached_property
    def is_gray(self) -> bool:
        """Whether the image has no colors at all, as of a monochrome camera or after a conversion to mono8."""
        return has_no_colors(self.rgb)

    @property
    def is_grey(self) -> bool:
        """Deprecated name of `is_gray`."""
        warn("Frame.is_grey is now Frame.is_gray", DeprecationWarning, stacklevel=2)
        return self.is_gray

    @property
    def has_depth(self) -> bool:
        """Whether any pixel has a depth reading."""
        return self.depth_m is not None and self.invalid_depth_share < 1.0

    def observed_size_m(self, box_xyxy: Sequence[int], mask: NDArray[np.bool_] | None = None) -> float:
        """Measure the diagonal of a box at the median depth of what is in it.

        Args:
            box_xyxy: First and last column and row, inclusive, pixels.
            mask: (H, W) bool; where given, only depth under it counts.

        Returns:
            Metres; NaN without a depth reading.
        """
        if self.depth_m is None:
            return float("nan")
        x_first, y_first, x_last, y_last = box_xyxy
        window = slice(y_first, y_last + 1), slice(x_first, x_last + 1)
        readings_m = self.depth_m[window] if mask is None else self.depth_m[window][mask[window]]
        readings_m = readings_m[readings_m > 0]
        if not readings_m.size:
            return float("nan")
        width, height = (x_last - x_first + 1) / self.camera.fx, (y_last - y_first + 1) / self.camera.fy
        return float(np.hypot(width, height) * np.median(readings_m))
