"""Films as pictures: a moving scene rendered once into a folder, and read again with its truth.

A film is a folder of N_rgb.png, N_depth.png (millimetres) and camera.json, which the fake camera publishes as well, and
truth.npz.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ism_ros.data.camera import Camera
from ism_ros.data.frame import Frame
from ism_ros.sim.benchmark_scenes.moving_scene import MovingScene

Array = NDArray[np.float64]

RATE_HZ = 30.0
"""Frames a second."""


@dataclass(frozen=True)
class FilmFrame:
    """One frame of a film with its truth.

    Attributes:
        frame: The frame.
        names: (B,) of the bodies that are there.
        numbers: (B,) of each, the same all over the film.
        object_to_camera: (B, 4, 4) metres.
        visible_share: (B,) in [0, 1].
    """

    frame: Frame
    names: list[str]
    numbers: NDArray[np.int64]
    object_to_camera: Array
    visible_share: Array


@dataclass(frozen=True)
class Film:
    """A scene and how long it is looked at.

    Attributes:
        name: Its name, also that of its folder.
        scene: The scene.
        duration_s: Its length, seconds.
    """

    name: str
    scene: MovingScene
    duration_s: float


def render_film(film: Film, folder: Path) -> None:
    """Render a film into a folder, but for frames that are there.

    Args:
        film: The film.
        folder: Where to.
    """
    folder = folder / film.name
    if (folder / "truth.npz").is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    count = round(film.duration_s * RATE_HZ)
    truths = []
    for index in range(count):
        frame, truth = film.scene.observe(index / RATE_HZ, 1000 + index)
        assert frame.depth_m is not None
        fast = [cv2.IMWRITE_PNG_COMPRESSION, 1]
        cv2.imwrite(str(folder / f"{index}_rgb.png"), frame.rgb[..., ::-1], fast)
        cv2.imwrite(str(folder / f"{index}_depth.png"), np.rint(frame.depth_m * 1000).astype(np.uint16), fast)
        numbers = [
            number for number, body in enumerate(film.scene.bodies) if body.object_to_world(index / RATE_HZ) is not None
        ]
        truths.append((truth.names, numbers, truth.object_to_camera, truth.visible_share))
    camera = film.scene.camera
    text = json.dumps({"cam_K": camera.intrinsics.ravel().tolist(), "depth_scale": 1.0})
    (folder / "camera.json").write_text(text, encoding="utf-8")
    np.savez(
        folder / "truth.npz",
        counts=[len(numbers) for _, numbers, _, _ in truths],
        names=np.concatenate([np.array(names) for names, _, _, _ in truths]),
        numbers=np.concatenate([np.array(numbers) for _, numbers, _, _ in truths]),
        object_to_camera=np.concatenate([poses for _, _, poses, _ in truths]),
        visible_share=np.concatenate([shares for _, _, _, shares in truths]),
    )


def read_film(folder: Path) -> Iterator[FilmFrame]:
    """Read a film.

    Args:
        folder: What `render_film` wrote.

    Yields:
        Its frames, stamps from 1 s on.
    """
    intrinsics = np.array(json.loads((folder / "camera.json").read_text(encoding="utf-8"))["cam_K"]).reshape(3, 3)
    with np.load(folder / "truth.npz") as stored:
        truth = dict(stored)
    ends = np.cumsum(truth["counts"])
    for index, end in enumerate(ends):
        own = slice(end - truth["counts"][index], end)
        bgr = cv2.imread(str(folder / f"{index}_rgb.png"))
        depth = cv2.imread(str(folder / f"{index}_depth.png"), cv2.IMREAD_UNCHANGED)
        rgb = np.ascontiguousarray(bgr[..., ::-1])
        camera = Camera(intrinsics, rgb.shape[1], rgb.shape[0])
        stamp_ns = round((1.0 + index / RATE_HZ) * 1e9)
        frame = Frame(rgb, depth.astype(np.float32) / 1000, camera, stamp_ns, "camera_color_optical_frame")
        yield FilmFrame(
            frame,
            [str(name) for name in truth["names"][own]],
            truth["numbers"][own],
            truth["object_to_camera"][own],
            truth["visible_share"][own],
        )
