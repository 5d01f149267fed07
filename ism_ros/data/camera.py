"""The pinhole camera of a frame: pixels to rays and points, and back.

Conventions: pixel (u, v) is column and row, and pixel centres lie at whole numbers, so that the picture reaches from
-0.5 to width - 0.5. Points are metres in the camera's optical frame (REP 103: x right, y down, z forward). Depth is z,
the distance along the optical axis (REP 118), not along the ray.

Formulas (Hartley and Zisserman, Multiple View Geometry, chapter 6): u = fx x / z + cx, v = fy y / z + cy.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ism_ros.errors import FrameError

if TYPE_CHECKING:
    from torch import Tensor

Numbers = TypeVar("Numbers", NDArray[Any], "Tensor")
"""A NumPy array or a PyTorch tensor: what comes back is of the kind, and on the device, of what is given."""


@dataclass(frozen=True)
class Camera:
    """A pinhole camera without distortion.

    Attributes:
        intrinsics: (3, 3) float64 camera matrix, pixels.
        width: Columns of its picture.
        height: Rows of its picture.
        is_cropped: Whether its picture is a part of what the lens shows, so that the principal point may lie anywhere.

    Raises:
        FrameError: The matrix has not nine numbers, or focal lengths that are not finite and above 0.
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
        """Focal length in pixel columns."""
        return float(self.intrinsics[0, 0])

    @property
    def fy(self) -> float:
        """Focal length in pixel rows."""
        return float(self.intrinsics[1, 1])

    @property
    def cx(self) -> float:
        """Column of the principal point."""
        return float(self.intrinsics[0, 2])

    @property
    def cy(self) -> float:
        """Row of the principal point."""
        return float(self.intrinsics[1, 2])

    def normalized(self, u: Numbers, v: Numbers, shift_px: tuple[float, float] = (0.0, 0.0)) -> tuple[Numbers, Numbers]:
        """Compute normalised image coordinates: where the rays through pixels meet the plane z = 1.

        Args:
            u: Columns, of any shape.
            v: Rows, of any shape.
            shift_px: Added to all columns and rows, as for samples off the pixel centres.

        Returns:
            x = (u - cx) / fx, of the shape of u, and y = (v - cy) / fy, of the shape of v.
        """
        return (u - (self.cx - shift_px[0])) / self.fx, (v - (self.cy - shift_px[1])) / self.fy

    def rays(self) -> NDArray[np.float32]:
        """Compute the viewing rays of all pixels.

        Returns:
            (height, width, 3) float32, directions with z = 1 in the camera frame; times the depth they are the points.
        """
        v, u = np.mgrid[: self.height, : self.width].astype(np.float32)
        x, y = self.normalized(u, v)
        return np.stack([x, y, np.ones_like(x)], axis=-1)

    def back_project(self, u: Numbers, v: Numbers, depth_m: Numbers) -> Numbers:
        """Compute the points that pixels see.

        Args:
            u: Columns.
            v: Rows.
            depth_m: Distance along the optical axis, metres; the three shapes broadcast.

        Returns:
            (..., 3) metres in the camera frame.
        """
        x, y = self.normalized(u, v)
        if isinstance(depth_m, np.ndarray):
            return np.stack(np.broadcast_arrays(x * depth_m, y * depth_m, depth_m), axis=-1)
        import torch  # only where a tensor is given

        return torch.stack(torch.broadcast_tensors(x * depth_m, y * depth_m, depth_m), dim=-1)

    def project(self, points_m: Numbers) -> tuple[Numbers, Numbers]:
        """Compute the pixels in which points are seen, also beyond the edges of the picture.

        Args:
            points_m: (..., 3) metres in the camera frame, z above 0.

        Returns:
            Columns u and rows v, (...) each, not rounded.
        """
        x, y, z = points_m[..., 0], points_m[..., 1], points_m[..., 2]
        return x / z * self.fx + self.cx, y / z * self.fy + self.cy
