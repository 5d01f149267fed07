"""What a stereo depth camera makes of a perfect picture: noise, shadows, holes, errors of colour."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from ism_ros.data.frame import Camera, Frame

Array = NDArray[np.float64]
FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class SensorModel:
    """How bad the camera is; the defaults are about an Intel RealSense D435, 640 x 480, registered to colour.

    Depth: the deviation of the noise is `disparity_noise_px` * z^2 / (fx * baseline_m), most of it as waves
    some pixels long; disparity is rounded to `disparity_step_px` and depth to millimetres; borders wander by
    about `border_px`; what only one of the two infrared cameras sees has no reading. speckle: share of pixels
    lost in blobs at random. Dark, grazing and mirroring surfaces lose readings besides.
    Colour: exposure and white balance are off by the factors given (deviation), blur and noise in pixels and
    grey levels, JPEG in half of the frames.
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
    colour_noise: float = 3.0


def depth_noise_m(model: SensorModel, depth_m: FloatArray, camera: Camera) -> FloatArray:
    """Standard deviation of the noise at each depth, metres."""
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
    """What the camera delivers of a perfect picture (depth 0 = nothing there); one result per seed.

    shine: (H, W) 0..1, how mirror-like each pixel's surface is; none = 0.
    """
    model = model or SensorModel()
    rng = np.random.default_rng([13, seed])
    shine = np.zeros(depth_m.shape, np.float32) if shine is None else shine
    return Frame(
        rgb=_colour(rgb, model, rng),
        depth_m=_depth(rgb, depth_m, shine, camera, model, rng),
        camera=camera,
        stamp_ns=stamp_ns,
        frame_id=frame_id,
    )


def _depth(
    rgb: NDArray[np.uint8],
    depth_m: FloatArray,
    shine: FloatArray,
    camera: Camera,
    model: SensorModel,
    rng: np.random.Generator,
) -> FloatArray:
    shape = depth_m.shape
    lost = _shadow(depth_m, camera, model) | _faint(rgb, depth_m, shine, camera, rng)
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    columns += model.border_px * _waves(rng, shape, 3)
    rows += model.border_px * _waves(rng, shape, 3)
    depth = cv2.remap(depth_m, columns, rows, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)

    near = cv2.erode(np.where(depth > 0, depth, 1e3).astype(np.float32), np.ones((3, 3)))
    far = cv2.dilate(depth, np.ones((3, 3)))
    jump = far - near > 0.025 * near
    lost |= jump & (rng.random(shape) < 0.4)
    lost |= _waves(rng, shape, 2) > _upper_quantile(model.speckle)

    waves = 0.8 * _waves(rng, shape, 2.5) + 0.6 * rng.normal(0, 1, shape).astype(np.float32)
    depth = depth + waves * depth_noise_m(model, np.asarray(depth, np.float32), camera)
    with np.errstate(divide="ignore"):
        disparity = camera.fx * model.baseline_m / np.maximum(depth, 1e-6)
    disparity = np.rint(disparity / model.disparity_step_px) * model.disparity_step_px
    depth = camera.fx * model.baseline_m / np.maximum(disparity, 1e-6)
    depth = np.rint(depth * 1000) / 1000
    lost |= (depth_m <= 0) | (depth < model.nearest_m) | (depth > model.farthest_m)
    return np.where(lost, 0, depth).astype(np.float32)


def _shadow(depth_m: FloatArray, camera: Camera, model: SensorModel) -> NDArray[np.bool_]:
    """Pixels hidden from the second infrared camera, which stands `baseline_m` to the right.

    A pixel at column u is seen there at u - disparity; it is hidden where something further right in the
    first picture, being nearer, lands at or left of that column.
    """
    disparity = camera.fx * model.baseline_m / np.maximum(depth_m, 0.05)
    landed = np.arange(depth_m.shape[1], dtype=np.float32) - disparity
    leftmost = np.minimum.accumulate(landed[:, ::-1], axis=1)[:, ::-1]
    hidden = np.zeros(depth_m.shape, bool)
    hidden[:, :-1] = landed[:, :-1] >= leftmost[:, 1:]
    return hidden


def _faint(
    rgb: NDArray[np.uint8],
    depth_m: FloatArray,
    shine: FloatArray,
    camera: Camera,
    rng: np.random.Generator,
) -> NDArray[np.bool_]:
    """Pixels that return too little of the projected pattern: dark, seen at a grazing angle, or mirroring."""
    rows, columns = np.mgrid[: depth_m.shape[0], : depth_m.shape[1]].astype(np.float32)
    ray = np.stack([(columns - camera.cx) / camera.fx, (rows - camera.cy) / camera.fy, np.ones_like(rows)], axis=-1)
    point = ray * cv2.GaussianBlur(depth_m, (0, 0), 1.0)[..., None]
    normal = np.cross(np.gradient(point, axis=1), np.gradient(point, axis=0))
    normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-12)
    ray /= np.linalg.norm(ray, axis=-1, keepdims=True)
    facing = np.abs((normal * ray).sum(axis=-1))
    dark = np.clip((38.0 - rgb.max(axis=-1).astype(np.float32)) / 38.0, 0, 1)
    grazing = np.clip((0.25 - facing) / 0.25, 0, 1)
    mirror = shine * np.clip((facing - 0.96) / 0.04, 0, 1)
    weakness = 1.1 * dark + 1.5 * grazing + 2.2 * mirror
    return weakness + 0.35 * _waves(rng, depth_m.shape, 2) + 0.25 * rng.normal(0, 1, depth_m.shape) > 1.15


def _waves(rng: np.random.Generator, shape: tuple[int, ...], length_px: float) -> FloatArray:
    """Smooth noise of mean 0 and deviation 1, correlated over about `length_px`."""
    smooth = cv2.GaussianBlur(rng.normal(0, 1, shape).astype(np.float32), (0, 0), length_px)
    return np.asarray(smooth / max(float(smooth.std()), 1e-9), np.float32)


def _upper_quantile(share: float) -> float:
    """The level that a standard normal variable exceeds with probability `share`."""
    return float(ndtri(1 - share)) if share > 0 else float("inf")


def _colour(rgb: NDArray[np.uint8], model: SensorModel, rng: np.random.Generator) -> NDArray[np.uint8]:
    image = rgb.astype(np.float32) / 255
    gain = np.exp(rng.normal(0, model.exposure)) * np.exp(rng.normal(0, model.white_balance, 3))
    image = image * gain.astype(np.float32)
    height, width = image.shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    image *= (1 - 0.06 * (x**2 + y**2))[..., None]
    image = cv2.GaussianBlur(image, (0, 0), model.blur_px) if model.blur_px > 0 else image
    # Shot noise grows with the root of the light, read-out noise does not.
    deviation = model.colour_noise / 255 * (0.5 + np.sqrt(np.clip(image, 0, 1)))
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
