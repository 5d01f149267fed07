"""Scenes in which camera and objects move: frames one after the other, with exact truth of each.

Each body is rendered alone, in its own part of the picture, and put before or behind what is there by its depth, so
that a second of thirty frames takes seconds. Bodies shade themselves, but cast no shadows upon others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ism_ros.cad.surfaces import Surface
from ism_ros.data.camera import Camera
from ism_ros.data.frame import Frame
from ism_ros.rendering.renderer import View, render
from ism_ros.rendering.scene import Lighting
from ism_ros.sim.benchmark_scenes.known_objects import SceneObject
from ism_ros.sim.synthesis.ground_truth import GroundTruth
from ism_ros.sim.synthesis.sensor_model import SensorModel, sense

Array = NDArray[np.float64]
PoseOverTime = Callable[[float], Array | None]
"""(4, 4) pose at a time, seconds; None while a body is not there."""

STEADY_SENSOR = SensorModel(exposure=0.0, white_balance=0.0)
"""A camera whose exposure and white balance do not change from frame to frame."""


@dataclass(frozen=True)
class MovingBody:
    """A body and its way.

    Attributes:
        scene_object: The body.
        object_to_world: Its pose over time.
        known: Whether it is one of the objects that are to be found.
    """

    scene_object: SceneObject
    object_to_world: PoseOverTime
    known: bool


@dataclass
class MovingScene:
    """A room, bodies and a camera, all of which may move; world frame z up, table top at z = 0.

    Attributes:
        room: Surfaces of table, floor and wall.
        bodies: The bodies.
        camera: The camera.
        world_to_camera: (4, 4) its pose over time, metres.
        lighting: Intensities of the light.
        sun_direction: (3,) direction in the world in which the light travels.
        sensor: The camera's errors.
    """

    room: Sequence[Surface]
    bodies: Sequence[MovingBody]
    camera: Camera
    world_to_camera: Callable[[float], Array]
    lighting: Lighting
    sun_direction: Array
    sensor: SensorModel = STEADY_SENSOR
    _room_view: tuple[Array, View] | None = field(default=None, repr=False)

    def observe(self, time_s: float, seed: int) -> tuple[Frame, GroundTruth]:
        """Simulate one frame of the camera.

        Args:
            time_s: When, seconds.
            seed: Number of the sensor's noise.

        Returns:
            The frame, with that time as its stamp, and its truth; of known bodies also those that are wholly hidden,
            with a visible share of 0.
        """
        world_to_camera = self.world_to_camera(time_s)
        view = self._room(world_to_camera)
        rgb, depth_m = view.rgb.copy(), view.depth_m.copy()
        owner = np.full(depth_m.shape, -1)
        shine = np.zeros(depth_m.shape, np.float32)
        lighting = self._lighting(world_to_camera)
        present = [(body, at) for body in self.bodies if (at := body.object_to_world(time_s)) is not None]
        poses = [world_to_camera @ at for _, at in present]
        alone = np.zeros(len(present))
        for index, (body, _) in enumerate(present):
            part = _rendered_alone(body.scene_object.surface, poses[index], self.camera, lighting)
            if part is None:
                continue
            picture, rows, columns, alone[index] = part
            nearer = (picture.depth_m > 0) & (
                (depth_m[rows, columns] <= 0) | (picture.depth_m < depth_m[rows, columns])
            )
            rgb[rows, columns][nearer] = picture.rgb[nearer]
            depth_m[rows, columns][nearer] = picture.depth_m[nearer]
            owner[rows, columns][nearer] = index
            shine[rows, columns][nearer] = body.scene_object.shine
        frame = sense(rgb, depth_m, self.camera, seed, shine=shine, model=self.sensor, stamp_ns=round(time_s * 1e9))
        return frame, _truth(present, poses, owner, alone)

    def _room(self, world_to_camera: Array) -> View:
        """Render the room, or take the last picture of it where the camera has not moved."""
        if self._room_view is None or not np.array_equal(self._room_view[0], world_to_camera):
            lighting = replace(self._lighting(world_to_camera), shadows=False)
            poses = [world_to_camera] * len(self.room)
            picture = render(self.room, poses, self.camera, lighting=lighting, background=(120, 120, 124), samples=1)
            self._room_view = world_to_camera, picture
        return self._room_view[1]

    def _lighting(self, world_to_camera: Array) -> Lighting:
        sun = world_to_camera[:3, :3] @ self.sun_direction
        return replace(self.lighting, sun_direction=(float(sun[0]), float(sun[1]), float(sun[2])))


def _rendered_alone(
    surface: Surface, pose: Array, camera: Camera, lighting: Lighting
) -> tuple[View, slice, slice, float] | None:
    """Render one body in the part of the picture that it can cover.

    Returns:
        The picture; its rows and columns; and the number of pixels that the body would cover if nothing were before it
        and the picture had no border, by the share of its corners that are inside. None where it is out of view.
    """
    points = surface.triangles_m.reshape(-1, 3) @ pose[:3, :3].T + pose[:3, 3]
    if points[:, 2].min() < 0.05:
        return None
    u, v = camera.project(points)
    left, top = max(int(np.floor(u.min())) - 1, 0), max(int(np.floor(v.min())) - 1, 0)
    right, bottom = min(int(np.ceil(u.max())) + 2, camera.width), min(int(np.ceil(v.max())) + 2, camera.height)
    if left >= right or top >= bottom:
        return None
    shifted = camera.intrinsics - np.array([[0, 0, left], [0, 0, top], [0, 0, 0]])
    part = Camera(shifted, right - left, bottom - top, is_cropped=True)
    picture = render([surface], [pose], part, lighting=lighting, samples=1)
    inside = (u > -0.5) & (u < camera.width - 0.5) & (v > -0.5) & (v < camera.height - 0.5)
    pixels = np.count_nonzero(picture.depth_m) / max(float(inside.mean()), 1e-3)
    return picture, slice(top, bottom), slice(left, right), pixels


def _truth(
    present: Sequence[tuple[MovingBody, Array]], poses: Sequence[Array], owner: NDArray[np.int64], alone: Array
) -> GroundTruth:
    masks = owner[None] == np.arange(len(present))[:, None, None]
    visible = masks.sum(axis=(1, 2)) / np.maximum(alone, 1)
    return GroundTruth(
        masks=masks,
        names=tuple(body.scene_object.name for body, _ in present),
        known=np.array([body.known for body, _ in present], bool),
        object_to_camera=np.array(poses).reshape(-1, 4, 4),
        visible_share=np.minimum(visible, 1.0),
    )
