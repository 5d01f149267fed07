"""The pinhole camera of a frame."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ism_ros.errors import FrameError


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
