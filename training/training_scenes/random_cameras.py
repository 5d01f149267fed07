"""Random depth cameras, from nearly perfect to bad, and what they deliver of a perfect picture."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ism_ros.data.camera import Camera
from ism_ros.data.frame import Frame
from ism_ros.registration.frame_registration import resampled_depth
from ism_ros.sim.synthesis.sensor_model import SensorModel, depth_noise_m, sense, smooth_noise

Rng = np.random.Generator


WAVE_PX = 6.0, 16.0
"""Least and largest length over which wave-like errors of depth change, pixels."""
MAX_SHIFT_PX = 6
"""Largest displacement of depth, pixels."""
WINDOWS_PX = 3, 5, 7, 9, 11
"""Sides of the windows over which stereo cameras spread near surfaces, pixels."""


@dataclass(frozen=True)
class RandomCamera:
    """Errors of one camera.

    Attributes:
        model: Noise, shadows and holes.
        smooth_px: Window over which depth is smoothed across borders, as stereo matching does, pixels.
        patchy: Share of the picture in which blobs of depth are lost.
        shift_px: (2,) columns and rows by which depth is displaced, as where its registration to color is not exact.
        waves: Standard deviation of errors of depth that change over WAVE_PX, relative to that of its noise.
        spread_px: Window over which near surfaces are spread, pixels: what is before something else looks larger in
            depth, by half the window of stereo matching on each side; 0 = not.
    """

    model: SensorModel
    smooth_px: int
    patchy: float
    shift_px: tuple[int, int] = (0, 0)
    waves: float = 0.0
    spread_px: int = 0


def sample_camera(rng: Rng) -> RandomCamera:
    """Sample a stereo camera, a structured-light camera (finer steps, wider shadows) or a nearly perfect one.

    Args:
        rng: Source of randomness.

    Returns:
        The camera.
    """
    kind = rng.choice(["stereo", "light", "clean"], p=[0.48, 0.32, 0.2])
    has_cast = rng.random() < 0.25
    color = {
        "exposure": float(rng.uniform(0, 0.3)),
        "white_balance": float(rng.uniform(0.08, 0.25) if has_cast else rng.uniform(0, 0.08)),
        "blur_px": float(rng.uniform(0.3, 1.2)),
        "color_noise": float(rng.uniform(0.5, 6)),
    }
    if kind == "clean":
        model = SensorModel(disparity_noise_px=0.02, border_px=0.2, speckle=0.0, **color)
        return RandomCamera(model, 0, 0.0)
    shift_px = tuple(int(px) for px in np.clip(np.rint(rng.normal(0, 2, 2)), -MAX_SHIFT_PX, MAX_SHIFT_PX))
    waves = float(rng.uniform(0, 1.5))
    if kind == "light":
        model = SensorModel(
            baseline_m=float(rng.uniform(0.06, 0.09)),
            disparity_noise_px=float(rng.uniform(0.04, 0.12)),
            disparity_step_px=float(rng.choice([1 / 16, 1 / 8])),
            border_px=float(rng.uniform(0.5, 1.5)),
            speckle=float(rng.uniform(0, 0.01)),
            nearest_m=0.35,
            **color,
        )
        patchy = float(rng.choice([0, rng.uniform(0, 0.05)]))
        return RandomCamera(model, int(rng.choice([0, 3])), patchy, shift_px, 0.5 * waves)
    model = SensorModel(
        baseline_m=float(rng.uniform(0.045, 0.06)),
        disparity_noise_px=float(rng.uniform(0.05, 0.25)),
        border_px=float(rng.uniform(0.4, 2.0)),
        speckle=float(rng.uniform(0, 0.02)),
        **color,
    )
    patchy = float(rng.choice([0, rng.uniform(0, 0.08)]))
    spread_px = int(rng.choice(WINDOWS_PX)) if rng.random() < 0.5 else 0
    return RandomCamera(model, int(rng.choice([0, 3, 5, 7])), patchy, shift_px, waves, spread_px)


def observe(
    rgb: NDArray[np.uint8], depth_m: NDArray[np.float32], shine: NDArray[np.float32], camera: Camera, seed: int
) -> Frame:
    """Simulate the frame that a random camera delivers.

    Args:
        rgb: (H, W, 3) uint8 perfect color image.
        depth_m: (H, W) float32 perfect depth, metres, 0 = no surface.
        shine: (H, W) float32 in [0, 1], how mirror-like each pixel's surface is.
        camera: The camera matrix.
        seed: Number of the camera's errors.

    Returns:
        The frame.
    """
    rng = np.random.default_rng([25, seed])
    errors = sample_camera(rng)
    depth = depth_m
    if errors.spread_px:
        window = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (errors.spread_px, errors.spread_px))
        nearest = cv2.erode(np.where(depth > 0, depth, np.float32(np.inf)), window)
        depth = np.where((depth > 0) & np.isfinite(nearest), nearest, 0).astype(np.float32)
    if errors.smooth_px:
        # behind and before a border mix where the matching window holds both
        smooth = cv2.blur(depth, (errors.smooth_px, errors.smooth_px))
        depth = np.where((depth > 0) & (rng.random() < 0.5), 0.6 * depth + 0.4 * smooth, cv2.medianBlur(depth, 5))
        depth = np.where(depth_m > 0, depth, 0).astype(np.float32)
    if errors.waves:
        waves = errors.waves * smooth_noise(rng, depth.shape, rng.uniform(*WAVE_PX))
        depth = np.where(depth > 0, depth + waves * depth_noise_m(errors.model, depth, camera), 0).astype(np.float32)
    frame = sense(rgb, depth, camera, seed, shine=shine, model=errors.model)
    found = frame.depth_m
    if errors.patchy and found is not None:
        field = cv2.resize(rng.normal(0, 1, (24, 32)).astype(np.float32), (camera.width, camera.height))
        found = np.where(field > np.quantile(field, 1 - errors.patchy), 0, found).astype(np.float32)
    if any(errors.shift_px) and found is not None:
        found = resampled_depth(found, 1.0, errors.shift_px)
    return Frame(rgb=frame.rgb, depth_m=found, camera=camera)
