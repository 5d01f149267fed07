"""Rendered frames with their ground truth on disk, one .npz each, exactly as they were made."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ism_ros.data.camera import Camera
from ism_ros.data.frame import Frame
from ism_ros.runtime.atomic_files import open_atomically
from ism_ros.sim.synthesis.ground_truth import GroundTruth

Observation = tuple[Frame, GroundTruth]
"""A frame and its ground truth."""

_SOURCES = ("sim/benchmark_scenes/**/*.py", "sim/synthesis/*.py", "rendering/*.py", "data/frame.py")
"""Files of the package on which the scenes depend."""


def source_fingerprint() -> str:
    """Compute a hash of the code that makes scenes.

    Returns:
        16 hexadecimal digits, others whenever that code changes.
    """
    package = Path(__file__).resolve().parents[2]
    digest = hashlib.sha256()
    for path in sorted(file for pattern in _SOURCES for file in package.glob(pattern)):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def cached(path: Path, make: Callable[[], Observation]) -> Observation:
    """Read an observation, or make and write it where the file is missing.

    Args:
        path: The file.
        make: Makes the observation.

    Returns:
        The observation.
    """
    if path.is_file():
        return read_observation(path)
    observation = make()
    write_observation(path, *observation)
    return observation


def write_observation(path: Path, frame: Frame, truth: GroundTruth) -> None:
    """Write an observation; the file appears whole or not at all.

    Args:
        path: The .npz file; folders above it are created.
        frame: The frame.
        truth: Its ground truth.
    """
    with open_atomically(path, "wb") as stream:
        np.savez_compressed(
            stream,
            rgb=frame.rgb,
            depth_m=frame.depth_m if frame.depth_m is not None else np.zeros((0, 0), np.float32),
            intrinsics=frame.camera.intrinsics,
            masks=np.packbits(truth.masks, axis=-1),
            names=np.array(truth.names, dtype=str),
            known=truth.known,
            object_to_camera=truth.object_to_camera,
            visible_share=truth.visible_share,
        )


def read_observation(path: Path) -> Observation:
    """Read an observation.

    Args:
        path: What `write_observation` wrote.

    Returns:
        The frame and its ground truth.
    """
    with np.load(path) as stored:
        rgb, depth_m = stored["rgb"], stored["depth_m"]
        height, width = rgb.shape[:2]
        frame = Frame(
            rgb=rgb,
            depth_m=depth_m if depth_m.size else None,
            camera=Camera(stored["intrinsics"], width, height),
            frame_id="camera_color_optical_frame",
        )
        truth = GroundTruth(
            masks=np.unpackbits(stored["masks"], axis=-1, count=width).astype(bool),
            names=tuple(str(name) for name in stored["names"]),
            known=stored["known"],
            object_to_camera=stored["object_to_camera"],
            visible_share=stored["visible_share"],
        )
    return frame, truth
