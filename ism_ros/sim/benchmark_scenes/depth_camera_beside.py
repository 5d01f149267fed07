"""Frames whose depth is not registered to color: what a depth camera beside the color camera delivers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ism_ros.data.camera import Camera
from ism_ros.data.frame import Frame
from ism_ros.sim.benchmark_scenes.scene_rendering import render_scene
from ism_ros.sim.benchmark_scenes.table_scene import Scene
from ism_ros.sim.synthesis.sensor_model import SensorModel, sense


@dataclass(frozen=True)
class DepthCameraBeside:
    """A depth camera beside a color camera, turned as it is, with pictures of the same size.

    Attributes:
        focal_ratio: Its focal length to that of the color camera; below 1 it sees more.
        baseline_m: How far it is to the right of the color camera, metres.
        principal_point_px: Columns and rows by which its principal point differs, pixels.
    """

    focal_ratio: float
    baseline_m: float = 0.015
    principal_point_px: tuple[float, float] = (0.0, 0.0)

    def camera(self, color: Camera) -> Camera:
        """Return the depth camera beside a color camera."""
        intrinsics = color.intrinsics.copy()
        intrinsics[:2, :2] *= self.focal_ratio
        intrinsics[:2, 2] += self.principal_point_px
        return Camera(intrinsics, color.width, color.height)

    def scene(self, scene: Scene) -> Scene:
        """Return a scene of the color camera as the depth camera sees it."""
        to_beside = np.eye(4)
        to_beside[0, 3] = -self.baseline_m
        return replace(scene, camera=self.camera(scene.camera), world_to_camera=to_beside @ scene.world_to_camera)

    def similarity(self, color: Camera, depth_m: float) -> tuple[float, tuple[float, float]]:
        """Compute where its pixels belong in the color image.

        Args:
            color: The color camera.
            depth_m: Distance of what is seen, metres.

        Returns:
            Scale and shift in pixels: color = scale * depth + shift, relative to the middle of the image.
        """
        own = self.camera(color)
        scale = 1 / self.focal_ratio
        middle = (color.width - 1) / 2, (color.height - 1) / 2
        shift_x = color.cx - middle[0] - scale * (own.cx - middle[0]) + color.fx * self.baseline_m / depth_m
        return scale, (shift_x, color.cy - middle[1] - scale * (own.cy - middle[1]))


def with_depth_of(frame: Frame, beside: Frame) -> Frame:
    """Return a frame with the depth of another camera, as it is."""
    return Frame(frame.rgb, beside.depth_m, frame.camera, frame.stamp_ns, frame.frame_id)


def observe_with(
    scene: Scene, beside: DepthCameraBeside, model: SensorModel | None = None
) -> tuple[Frame, NDArray[np.float32]]:
    """Simulate a frame of the color camera with the depth of the camera beside it, which is not registered.

    Args:
        scene: The scene.
        beside: The depth camera.
        model: Errors of both cameras; None = the defaults.

    Returns:
        The frame; and the perfect depth that is registered to its image, (H, W) float32 metres.
    """
    own = beside.scene(scene)
    view, own_view = render_scene(scene)[0], render_scene(own, samples=1)[0]
    color = sense(view.rgb, view.depth_m, scene.camera, scene.seed, model=model)
    depth = sense(own_view.rgb, own_view.depth_m, own.camera, scene.seed, model=model)
    return with_depth_of(color, depth), view.depth_m
