"""A folder with all that a node needs: an objects file, CAD files and a rendered frame."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import yaml
from scipy.spatial.transform import Rotation

from ism_ros.data.camera import Camera
from ism_ros.sim.benchmark_scenes.known_objects import make_scene_object
from ism_ros.sim.benchmark_scenes.objects.object_catalog import export_cad, make_object
from ism_ros.sim.benchmark_scenes.scene_rendering import observe, render_scene
from ism_ros.sim.benchmark_scenes.table_scene import Scene, make_scene


def with_separate_depth_camera(scene: Scene) -> Scene:
    """Return the scene from a separate depth camera: wider, with fewer pixels, and rotated a little."""
    color_to_depth = np.eye(4)
    color_to_depth[:3, :3] = Rotation.from_rotvec([0.01, -0.03, 0.02]).as_matrix()
    color_to_depth[:3, 3] = 0.059, -0.004, 0.002
    camera = Camera(np.array([[385.0, 0, 318], [0, 385.0, 242], [0, 0, 1]]), 640, 480)
    return replace(scene, camera=camera, world_to_camera=color_to_depth @ scene.world_to_camera)


def make_workspace(folder: Path) -> Path:
    """Write objects.yaml (duck and drill) and frame.npz (a rendered scene with both) into `folder`."""
    meshes = [make_object("duck", 1), make_object("drill", 2)]
    entries = [
        {"id": kind, "cad": export_cad(mesh, folder).name, "units": "m"}
        for kind, mesh in zip(("duck", "drill"), meshes, strict=True)
    ]
    (folder / "objects.yaml").write_text(yaml.safe_dump({"objects": entries}))
    scene = make_scene(4, [make_scene_object(mesh) for mesh in meshes], objects=(3, 3), known_in_scene=(2, 2))
    frame, truth = observe(scene)
    known = [index for index, is_known in enumerate(truth.known) if is_known]
    separate = with_separate_depth_camera(scene)
    np.savez(
        folder / "frame.npz",
        rgb=frame.rgb,
        depth_m=frame.depth_m,
        intrinsics=frame.camera.intrinsics,
        beside_m=render_scene(separate, samples=1)[0].depth_m,
        beside_intrinsics=separate.camera.intrinsics,
        beside_to_color=scene.world_to_camera @ np.linalg.inv(separate.world_to_camera),
        truth_masks=truth.masks[known],
        truth_ids=[truth.names[index].split("_")[0] for index in known],
    )
    return folder
