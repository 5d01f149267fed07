"""The sensor model of a stereo depth camera: noise, occlusion shadows, holes and color errors on a perfect picture."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from ism_ros.data.camera import Camera
from ism_ros.data.frame import Frame

Array = NDArray[np.float64]
FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class SensorModel:
    """Error model of an RGB-D camera; the defaults are those of an Intel RealSense D435, approximately.

    The standard deviation of depth noise is `disparity_noise_px` * z^2 / (fx * `baseline_m`), most of it correlated
    over some pixels. What only one of the two infrared cameras sees has no reading; dark, grazing and mirroring
    surfaces lose readings as well. Half of the color images go through JPEG.

    Attributes:
        baseline_m: Distance of the two infrared cameras, metres.
        disparity_noise_px: Standard deviation of disparity, pixels.
        disparity_step_px: Disparity is rounded to multiples of this; depth is rounded to millimetres.
        border_px: How far depth borders are displaced, standard deviation in pixels.
        speckle: Fraction of pixels lost in random blobs.
        nearest_m: Least depth that is measured, metres.
        farthest_m: Largest depth that is measured, metres.
        exposure: Standard deviation of the logarithm of the exposure.
        white_balance: Standard deviation of the logarithm of each channel's gain.
        blur_px: Standard deviation of the blur, pixels.
        color_noise: Noise in gray levels.
    """

    baseline_m: float = 0.05
    disparity_noise_px: float = 0.10
    disparity_step_px: float = 1 / 32
    border_px: float = 0.8
    speckle: float = 0.004
    nearest_m: float = 0.25
    farthest_m: float = 6.0
    exposure: float = 0.12
    white_balance: float = 0.04
    blur_px: float = 0.6
    color_noise: float = 3.0


def depth_noise_m(model: SensorModel, depth_m: FloatArray, camera: Camera) -> FloatArray:
    """Compute the standard deviation of depth noise.

    Args:
        model: The camera's errors.
        depth_m: Depth of any shape, metres.
        camera: The camera.

    Returns:
        Standard deviation at each depth, metres.
    """
    return np.asarray(model.disparity_noise_px * depth_m**2 / (camera.fx * model.baseline_m), np.float32)


def sense(
    rgb: NDArray[np.uint8],
    depth_m: FloatArray,
    camera: Camera,
    seed: int,
    *,
    shine: FloatArray | None = None,
    model: SensorModel | None = None,
    stamp_ns: int = 0,
    frame_id: str = "camera_color_optical_frame",
) -> Frame:
    """Simulate what the camera delivers of a perfect picture.

    Args:
        rgb: (H, W, 3) uint8 perfect color image.
        depth_m: (H, W) float32 perfect depth, metres, 0 = no surface.
        camera: The camera.
        seed: Number of the noise; one result per seed.
        shine: (H, W) float32 in [0, 1], how mirror-like each pixel's surface is; None = 0.
        model: The camera's errors; None = the defaults.
        stamp_ns: Stamp of the frame, nanoseconds.
        frame_id: Name of the camera's optical frame.

    Returns:
        The frame, depth registered to color.
    """
    model = model or SensorModel()
    rng = np.random.default_rng([13, seed])
    shine = np.zeros(depth_m.shape, np.float32) if shine is None else shine
    return Frame(
        rgb=_with_color_errors(rgb, model, rng),
        depth_m=_with_depth_errors(rgb, depth_m, shine, camera, model, rng),
        camera=camera,
        stamp_ns=stamp_ns,
        frame_id=frame_id,
    )


def _with_depth_errors(
    rgb: NDArray[np.uint8],
    depth_m: FloatArray,
    shine: FloatArray,
    camera: Camera,
    model: SensorModel,
    rng: np.random.Generator,
) -> FloatArray:
    shape = depth_m.shape
    lost = _shadow(depth_m, camera, model) | _weak_return(rgb, depth_m, shine, camera, rng)
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    columns += model.border_px * smooth_noise(rng, shape, 3)
    rows += model.border_px * smooth_noise(rng, shape, 3)
    depth = cv2.remap(depth_m, columns, rows, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)

    near = cv2.erode(np.where(depth > 0, depth, 1e3).astype(np.float32), np.ones((3, 3)))
    far = cv2.dilate(depth, np.ones((3, 3)))
    jump = far - near > 0.025 * near
    lost |= jump & (rng.random(shape) < 0.4)
    lost |= smooth_noise(rng, shape, 2) > _upper_quantile(model.speckle)

    noise = 0.8 * smooth_noise(rng, shape, 2.5) + 0.6 * rng.normal(0, 1, shape).astype(np.float32)
    depth = depth + noise * depth_noise_m(model, np.asarray(depth, np.float32), camera)
    with np.errstate(divide="ignore"):
        disparity = camera.fx * model.baseline_m / np.maximum(depth, 1e-6)
    disparity = np.rint(disparity / model.disparity_step_px) * model.disparity_step_px
    depth = camera.fx * model.baseline_m / np.maximum(disparity, 1e-6)
    depth = np.rint(depth * 1000) / 1000
    lost |= (depth_m <= 0) | (depth < model.nearest_m) | (depth > model.farthest_m)
    return np.where(lost, 0, depth).astype(np.float32)


def _shadow(depth_m: FloatArray, camera: Camera, model: SensorModel) -> NDArray[np.bool_]:
    """Pixels hidden from the second infrared camera, `baseline_m` to the right of the first.

    A pixel at column u is seen there at u - disparity; it is hidden where something further right in the
    first picture, being nearer, lands at or left of that column.
    """
    disparity = camera.fx * model.baseline_m / np.maximum(depth_m, 0.05)
    landed = np.arange(depth_m.shape[1], dtype=np.float32) - disparity
    leftmost = np.minimum.accumulate(landed[:, ::-1], axis=1)[:, ::-1]
    hidden = np.zeros(depth_m.shape, bool)
    hidden[:, :-1] = landed[:, :-1] >= leftmost[:, 1:]
    return hidden


def _weak_return(
    rgb: NDArray[np.uint8],
    depth_m: FloatArray,
    shine: FloatArray,
    camera: Camera,
    rng: np.random.Generator,
) -> NDArray[np.bool_]:
    """Pixels that return too little of the projected pattern: dark, seen at a grazing angle, or mirroring."""
    ray = camera.rays()
    point = ray * cv2.GaussianBlur(depth_m, (0, 0), 1.0)[..., None]
    normal = np.cross(np.gradient(point, axis=1), np.gradient(point, axis=0))
    normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-12)
    ray /= np.linalg.norm(ray, axis=-1, keepdims=True)
    facing = np.abs((normal * ray).sum(axis=-1))
    dark = np.clip((38.0 - rgb.max(axis=-1).astype(np.float32)) / 38.0, 0, 1)
    grazing = np.clip((0.25 - facing) / 0.25, 0, 1)
    mirror = shine * np.clip((facing - 0.96) / 0.04, 0, 1)
    weakness = 1.1 * dark + 1.5 * grazing + 2.2 * mirror
    return weakness + 0.35 * smooth_noise(rng, depth_m.shape, 2) + 0.25 * rng.normal(0, 1, depth_m.shape) > 1.15


def smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], length_px: float) -> FloatArray:
    """Sample smooth noise of mean 0 and standard deviation 1.

    Args:
        rng: Source of randomness.
        shape: Rows and columns.
        length_px: Length over which it is correlated, about, pixels.

    Returns:
        float32 of that shape.
    """
    smooth = cv2.GaussianBlur(rng.normal(0, 1, shape).astype(np.float32), (0, 0), length_px)
    return np.asarray(smooth / max(float(smooth.std()), 1e-9), np.float32)


def _upper_quantile(share: float) -> float:
    """The level that a standard normal variable exceeds with probability `share`."""
    return float(ndtri(1 - share)) if share > 0 else float("inf")


def _with_color_errors(rgb: NDArray[np.uint8], model: SensorModel, rng: np.random.Generator) -> NDArray[np.uint8]:
    image = rgb.astype(np.float32) / 255
    gain = np.exp(rng.normal(0, model.exposure)) * np.exp(rng.normal(0, model.white_balance, 3))
    image = image * gain.astype(np.float32)
    height, width = image.shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    image *= (1 - 0.06 * (x**2 + y**2))[..., None]
    image = cv2.GaussianBlur(image, (0, 0), model.blur_px) if model.blur_px > 0 else image
    # Shot noise grows with the root of the light, read-out noise does not.
    deviation = model.color_noise / 255 * (0.5 + np.sqrt(np.clip(image, 0, 1)))
    image = image + deviation * rng.normal(0, 1, image.shape).astype(np.float32)
    out = np.clip(np.rint(image * 255), 0, 255).astype(np.uint8)
    if rng.random() < 0.5:
        quality = int(rng.integers(80, 96))
        _, coded = cv2.imencode(".jpg", out[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
        out = np.asarray(
            cv2.cvtColor(np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8), cv2.COLOR_BGR2RGB),
            np.uint8,
        )
    return out
