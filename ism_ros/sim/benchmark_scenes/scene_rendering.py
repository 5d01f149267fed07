"""Pictures of a scene: the perfect one with its ground truth, and what a depth camera delivers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ism_ros.data.frame import Frame
from ism_ros.rendering.renderer import View, render
from ism_ros.sim.benchmark_scenes.table_scene import Scene
from ism_ros.sim.synthesis.ground_truth import GroundTruth
from ism_ros.sim.synthesis.sensor_model import SensorModel, sense
from ism_ros.sim.synthesis.silhouettes import unoccluded_pixels


def render_scene(scene: Scene, samples: int = 2) -> tuple[View, GroundTruth]:
    """Render a perfect picture.

    Args:
        scene: The scene.
        samples: Supersampling of the picture along each axis.

    Returns:
        The picture, its `instance` an index into scene.placed and then the room; and its ground truth.
    """
    poses = [scene.world_to_camera @ placed.object_to_world for placed in scene.placed]
    surfaces = [placed.scene_object.surface for placed in scene.placed]
    sun = scene.world_to_camera[:3, :3] @ scene.sun_direction
    lighting = replace(scene.lighting, sun_direction=(float(sun[0]), float(sun[1]), float(sun[2])))
    view = render(
        [*surfaces, *scene.room],
        [*poses, *([scene.world_to_camera] * len(scene.room))],
        scene.camera,
        lighting=lighting,
        background=(120, 120, 124),
        samples=samples,
    )
    masks = view.instance[None] == np.arange(len(scene.placed))[:, None, None]
    seen = np.flatnonzero(masks.any(axis=(1, 2)))
    alone = np.array([unoccluded_pixels(surfaces[i], poses[i], scene.camera) for i in seen])
    visible = masks[seen].sum(axis=(1, 2)) / np.maximum(alone, 1)
    return view, GroundTruth(
        masks=masks[seen],
        names=tuple(scene.placed[i].scene_object.name for i in seen),
        known=np.array([scene.placed[i].known for i in seen], bool),
        object_to_camera=np.array([poses[i] for i in seen]).reshape(-1, 4, 4),
        visible_share=np.minimum(visible, 1.0),
    )


def observe(scene: Scene, seed: int | None = None, model: SensorModel | None = None) -> tuple[Frame, GroundTruth]:
    """Simulate the frame of a depth camera.

    Args:
        scene: The scene.
        seed: Number of the sensor's noise; None = that of the scene.
        model: The sensor's errors; None = the defaults.

    Returns:
        The frame and its ground truth.
    """
    view, truth = render_scene(scene)
    shine = np.zeros(view.depth_m.shape, np.float32)
    for index, placed in enumerate(scene.placed):
        shine[view.instance == index] = placed.scene_object.shine
    frame = sense(
        view.rgb,
        view.depth_m,
        scene.camera,
        scene.seed if seed is None else seed,
        shine=shine,
        model=model,
    )
    return frame, truth
