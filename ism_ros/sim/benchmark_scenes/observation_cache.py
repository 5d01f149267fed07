"""Observed scenes on disk: one .npz each, frame and truth, exactly as they were made."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ism_ros.data.frame import Camera, Frame
from ism_ros.sim.benchmark_scenes.table_scene import Truth

Observation = tuple[Frame, Truth]
_WITHOUT_SCENES = (
    "bop_dataset",
    "camera_node",
    "children",
    "churn",
    "comparison",
    "demo",
    "listener",
    "session",
    "soak",
    "truth_files",
)


def source_fingerprint() -> str:
    """Changes whenever the code that makes scenes does."""
    here = Path(__file__).resolve().parent
    digest = hashlib.sha256()
    package = here.parent
    for path in sorted([*here.glob("*.py"), *(package / "rendering").glob("*.py"), package / "data" / "frame.py"]):
        if path.stem not in _WITHOUT_SCENES:
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def cached(path: Path, make: Callable[[], Observation]) -> Observation:
    """The observation in `path`, made and written there if the file is not."""
    if path.is_file():
        return read_observation(path)
    observation = make()
    write_observation(path, *observation)
    return observation


def write_observation(path: Path, frame: Frame, truth: Truth) -> None:
    """Writes one .npz; the file appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part.npz")
    np.savez_compressed(
        unfinished,
        rgb=frame.rgb,
        depth_m=frame.depth_m if frame.depth_m is not None else np.zeros((0, 0), np.float32),
        intrinsics=frame.camera.intrinsics,
        masks=np.packbits(truth.masks, axis=-1),
        names=np.array(truth.names, dtype=str),
        known=truth.known,
        object_to_camera=truth.object_to_camera,
        visible_share=truth.visible_share,
    )
    unfinished.replace(path)


def read_observation(path: Path) -> Observation:
    """The frame and the truth that `write_observation` wrote."""
    with np.load(path) as stored:
        rgb, depth_m = stored["rgb"], stored["depth_m"]
        height, width = rgb.shape[:2]
        frame = Frame(
            rgb=rgb,
            depth_m=depth_m if depth_m.size else None,
            camera=Camera(stored["intrinsics"], width, height),
            frame_id="camera_color_optical_frame",
        )
        truth = Truth(
            masks=np.unpackbits(stored["masks"], axis=-1, count=width).astype(bool),
            names=tuple(str(name) for name in stored["names"]),
            known=stored["known"],
            object_to_camera=stored["object_to_camera"],
            visible_share=stored["visible_share"],
        )
    return frame, truth
