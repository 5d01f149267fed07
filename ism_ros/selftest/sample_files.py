"""The sample scene that comes with the package: two objects with CAD models among others on a table.

Made by tools/make_sample_scene.py; used by the self-test, by the examples of the HTTP server, and by tests.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ism_ros.data.frame import Frame

SCENE = Path(__file__).parent / "sample_scene"
"""Folder of the sample scene: rgb.jpg, depth.png, camera.json, objects.yaml with its CAD models, truth.png."""


def read_sample_frame(folder: Path = SCENE) -> Frame:
    """Read the frame of the sample scene.

    Args:
        folder: The scene, or a changed copy of it.

    Returns:
        Color, depth and camera.

    Raises:
        FrameFileError: A file is missing or damaged.
    """
    from ism_ros.io.frame_files import read_frame  # loads OpenCV, which those who only want SCENE do not need

    return read_frame(folder / "rgb.jpg", folder / "depth.png", folder / "camera.json")


def read_sample_labels(folder: Path = SCENE) -> NDArray[np.uint8]:
    """Read the true label image of the sample scene.

    Args:
        folder: The scene, or a changed copy of it.

    Returns:
        (H, W) uint8: 0 background, k the k-th object of objects.yaml, 255 another object.

    Raises:
        FileNotFoundError: It is missing or damaged.
    """
    from ism_ros.io.image_decoding import decode_unchanged

    path = folder / "truth.png"
    labels = decode_unchanged(np.fromfile(path, dtype=np.uint8)) if path.is_file() else None
    if labels is None:
        raise FileNotFoundError(f"{path} is missing or damaged: install the package again")
    return labels
