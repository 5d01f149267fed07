"""Where the frames of the fake camera come from: a simulated table seen from a moving camera, or a folder."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ism_ros.data.frame import Frame
from ism_ros.io.frame_files import read_frame
from ism_ros.sim.benchmark_scenes.observation_cache import cached, source_fingerprint
from ism_ros.sim.benchmark_scenes.table_scene import Truth, known_objects, make_scene, make_thing, observe, orbited


def scene_views(
    scene: int, object_set: int, views: int, sweep_deg: float, cache: Path
) -> Iterator[tuple[Frame, Truth]]:
    """`views` views of scene number `scene`, the camera swinging over `sweep_deg` about the table and back.

    The known objects are set number `object_set`. Views are kept in `cache`; each new one takes about a second.
    """
    things = [make_thing(mesh) for mesh in known_objects(object_set)]
    table = make_scene(scene, things)
    folder = cache / "simulated" / source_fingerprint()
    for view in range(views):
        angle = np.deg2rad(sweep_deg) / 2 * np.sin(2 * np.pi * view / views)
        path = folder / f"scene_{scene}_objects_{object_set}_turn_{np.rad2deg(angle):.2f}_noise_{view}.npz"
        yield cached(path, lambda angle=angle, view=view: observe(orbited(table, angle), 1000 * scene + view))  # type: ignore[misc]


def folder_views(folder: Path) -> Iterator[Frame]:
    """The frames in `folder`: rgb.png and depth.png, or pairs N_rgb.png and N_depth.png, with one camera.json.

    Raises FileNotFoundError where they are missing, FrameFileError and FrameError where they cannot be used.
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
