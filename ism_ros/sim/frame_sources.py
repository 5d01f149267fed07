"""Sources of frames for the fake camera: a simulated table seen from a moving camera, or a folder of recorded ones."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ism_ros.data.frame import Frame
from ism_ros.io.frame_files import read_frame
from ism_ros.sim.benchmark_scenes.known_objects import known_objects, make_scene_object
from ism_ros.sim.benchmark_scenes.observation_cache import cached, source_fingerprint
from ism_ros.sim.benchmark_scenes.scene_rendering import observe
from ism_ros.sim.benchmark_scenes.table_scene import make_scene, orbit_camera
from ism_ros.sim.synthesis.ground_truth import GroundTruth


def scene_views(
    scene: int, object_set: int, views: int, sweep_deg: float, cache: Path
) -> Iterator[tuple[Frame, GroundTruth]]:
    """Render views of a simulated table, the camera swinging about it and back.

    Args:
        scene: Number of the table.
        object_set: Number of the set of known objects.
        views: How many views.
        sweep_deg: Angle over which the camera swings, degrees.
        cache: Folder that keeps the views; each new one takes about a second.

    Yields:
        Each frame with its ground truth.
    """
    known = [make_scene_object(mesh) for mesh in known_objects(object_set)]
    table = make_scene(scene, known)
    folder = cache / "simulated" / source_fingerprint()
    for view in range(views):
        angle = np.deg2rad(sweep_deg) / 2 * np.sin(2 * np.pi * view / views)
        path = folder / f"scene_{scene}_objects_{object_set}_turn_{np.rad2deg(angle):.2f}_noise_{view}.npz"
        yield cached(path, lambda angle=angle, view=view: observe(orbit_camera(table, angle), 1000 * scene + view))  # type: ignore[misc]


def folder_views(folder: Path) -> Iterator[Frame]:
    """Read recorded frames.

    Args:
        folder: Holds rgb.png and depth.png, or pairs N_rgb.png and N_depth.png, with one camera.json.

    Yields:
        The frames, in the order of their numbers.

    Raises:
        FileNotFoundError: The folder or its files are missing.
        FrameFileError: A file cannot be read.
        FrameError: A frame cannot be used.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"folder {folder} does not exist: give one with rgb.png, depth.png and camera.json")
    pairs = [(folder / "rgb.png", folder / "depth.png")] if (folder / "rgb.png").exists() else []
    numbered = [(int(m[1]), p) for p in folder.iterdir() if (m := re.fullmatch(r"(\d+)_rgb\.png", p.name))]
    pairs += [(path, folder / f"{number}_depth.png") for number, path in sorted(numbered)]
    if not pairs:
        raise FileNotFoundError(f"folder {folder} holds neither rgb.png nor N_rgb.png")
    for rgb, depth in pairs:
        yield read_frame(rgb, depth, folder / "camera.json")
