"""A stored frame as the messages of a camera, and ways to spoil them: what camera_process.py publishes."""

from __future__ import annotations

import array
import itertools
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, RegionOfInterest

TURNING_DEG, TURNING_FRAMES = 8.0, 90
"""Largest angle of the camera that turns about its axis, degrees, and frames of a period."""
BARREL = (-0.30, 0.10, 0.001, -0.001, 0.0)
"""D of a lens that moves the corners by some forty pixels."""


@dataclass
class Messages:
    """What is published at one moment."""

    rgb: Image | CompressedImage
    depth: Image | CompressedImage
    camera_info: CameraInfo


def image(pixels: np.ndarray, encoding: str) -> Image:
    message = Image(height=pixels.shape[0], width=pixels.shape[1], encoding=encoding)
    message.step = pixels.nbytes // pixels.shape[0]
    message.data = array.array("B", np.ascontiguousarray(pixels).tobytes())
    return message


def camera_info(intrinsics: np.ndarray, width: int, height: int) -> CameraInfo:
    return CameraInfo(width=width, height=height, k=[float(k) for k in intrinsics.ravel()])


def projection(intrinsics: np.ndarray) -> list[float]:
    return [float(p) for p in np.hstack([intrinsics, np.zeros((3, 1))]).ravel()]


class Stored:
    """The frame on disk: rgb (H, W, 3) uint8, depth_m (H, W) float32 metres, intrinsics (3, 3).

    first_mask: where the first known object is (H, W).
    beside_m, beside_intrinsics, beside_to_color: the depth that a camera beside it sees, and where that is.
    """

    def __init__(self, path: str) -> None:
        with np.load(path) as stored:
            self.rgb, self.depth_m, self.intrinsics = stored["rgb"], stored["depth_m"], stored["intrinsics"]
            self.beside_m, self.beside_intrinsics = stored["beside_m"], stored["beside_intrinsics"]
            self.beside_to_color = stored["beside_to_color"]
            self.first_mask = stored["truth_masks"][0]
        self.depth_mm = np.round(self.depth_m * 1000).astype(np.uint16)

    def messages(self) -> Messages:
        height, width = self.rgb.shape[:2]
        return Messages(
            image(self.rgb, "rgb8"), image(self.depth_mm, "16UC1"), camera_info(self.intrinsics, width, height)
        )


def alterations(stored: Stored) -> dict[str, Callable[[], Messages]]:
    """Ways to spoil a frame, by name."""
    height, width = stored.rgb.shape[:2]

    def changed(topic: str, **fields: object) -> Callable[[], Messages]:
        def make() -> Messages:
            messages = stored.messages()
            for name, value in fields.items():
                setattr(getattr(messages, topic), name, value)
            return messages

        return make

    def with_depth(depth: np.ndarray, encoding: str) -> Callable[[], Messages]:
        def make() -> Messages:
            messages = stored.messages()
            messages.depth = image(depth, encoding)
            return messages

        return make

    def with_holes_of_every_kind() -> Messages:
        depth = stored.depth_m.copy()
        depth[depth == 0] = np.nan
        depth[:4], depth[4:8] = np.inf, -0.5
        return with_depth(depth, "32FC1")()

    def swapped() -> Messages:
        messages = stored.messages()
        messages.rgb, messages.depth = messages.depth, messages.rgb
        return messages

    def plane() -> Messages:
        """A tilted, evenly gray table and nothing on it."""
        inverse_depth = np.linspace(1 / 1.2, 1 / 0.7, height, dtype=np.float32)
        messages = with_depth(np.tile(1 / inverse_depth[:, None], (1, width)), "32FC1")()
        messages.rgb = image(np.full((height, width, 3), 128, np.uint8), "rgb8")
        return messages

    def bgr() -> Messages:
        messages = stored.messages()
        messages.rgb = image(stored.rgb[..., ::-1], "bgr8")
        return messages

    def scaled(scale: float) -> tuple[np.ndarray, np.ndarray, CameraInfo]:
        size = round(width * scale), round(height * scale)
        intrinsics = stored.intrinsics * np.array([[scale, 1, scale], [1, scale, scale], [1, 1, 1]])
        rgb, depth_mm = (cv2.resize(a, size, interpolation=cv2.INTER_NEAREST) for a in (stored.rgb, stored.depth_mm))
        return rgb, depth_mm, camera_info(intrinsics, *size)

    def resized(scale: float) -> Callable[[], Messages]:
        def make() -> Messages:
            rgb, depth_mm, info = scaled(scale)
            return Messages(image(rgb, "rgb8"), image(depth_mm, "16UC1"), info)

        return make

    random = np.random.default_rng(0)

    def noisy() -> Messages:
        """No two of them are the same."""
        rgb, depth_mm, info = scaled(1.0)
        rgb = np.clip(rgb + random.normal(0.0, 3.0, rgb.shape), 0, 255).astype(np.uint8)
        depth_mm = np.round(depth_mm * random.normal(1.0, 0.002, depth_mm.shape)).astype(np.uint16)
        depth_mm[random.random(depth_mm.shape) < 0.005] = 0
        return Messages(image(rgb, "rgb8"), image(depth_mm, "16UC1"), info)

    turned = itertools.count()

    def turning() -> Messages:
        """Frame n, from 0 on, of a camera that turns about its axis to TURNING_DEG * sin(2 pi n / TURNING_FRAMES)."""
        angle_deg = TURNING_DEG * math.sin(2 * math.pi * next(turned) / TURNING_FRAMES)
        middle = float(stored.intrinsics[0, 2]), float(stored.intrinsics[1, 2])
        turn = cv2.getRotationMatrix2D(middle, -angle_deg, 1.0)  # OpenCV counts angles counter-clockwise
        rgb = cv2.warpAffine(stored.rgb, turn, (width, height), borderMode=cv2.BORDER_REPLICATE)
        depth_mm = cv2.warpAffine(stored.depth_mm, turn, (width, height), flags=cv2.INTER_NEAREST)
        return Messages(image(rgb, "rgb8"), image(depth_mm, "16UC1"), camera_info(stored.intrinsics, width, height))

    def first_covered() -> Messages:
        """A board before the first known object."""
        rows, columns = np.nonzero(stored.first_mask)
        board = np.s_[max(rows.min() - 20, 0) : rows.max() + 20, max(columns.min() - 20, 0) : columns.max() + 20]
        rgb, depth_mm = stored.rgb.copy(), stored.depth_mm.copy()
        rgb[board], depth_mm[board] = (90, 120, 160), 300
        return Messages(image(rgb, "rgb8"), image(depth_mm, "16UC1"), camera_info(stored.intrinsics, width, height))

    def one_pixel() -> Messages:
        return Messages(
            image(stored.rgb[:1, :1], "rgb8"),
            image(stored.depth_mm[:1, :1], "16UC1"),
            camera_info(stored.intrinsics, 1, 1),
        )

    def compressed() -> Messages:
        messages = stored.messages()
        jpeg = cv2.imencode(".jpg", stored.rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 98])[1].tobytes()
        png = cv2.imencode(".png", stored.depth_mm)[1].tobytes()
        messages.rgb = CompressedImage(format="rgb8; jpeg compressed bgr8", data=array.array("B", jpeg))
        header = struct.pack("<iff", 0, 0.0, 0.0)
        messages.depth = CompressedImage(format="16UC1; compressedDepth png", data=array.array("B", header + png))
        return messages

    def with_lens() -> Messages:
        """As the sensor behind a lens sees it: K is that of the pinhole camera, P of the rectified image another."""
        columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
        flat = np.stack([columns, rows], axis=-1).reshape(-1, 1, 2)
        for _ in range(4):  # each call undoes what is left
            source = cv2.undistortPoints(flat, stored.intrinsics, np.array(BARREL), None, None, stored.intrinsics)
        x, y = (source.reshape(height, width, 2)[..., axis].astype(np.float32) for axis in (0, 1))
        messages = stored.messages()
        messages.rgb = image(cv2.remap(stored.rgb, x, y, cv2.INTER_LINEAR), "rgb8")
        messages.depth = image(cv2.remap(stored.depth_mm, x, y, cv2.INTER_NEAREST), "16UC1")
        messages.camera_info.distortion_model, messages.camera_info.d = "plumb_bob", list(BARREL)
        messages.camera_info.p = projection(stored.intrinsics * np.array([[0.8, 1, 1], [1, 0.8, 1], [1, 1, 1]]))
        return messages

    def rectified() -> Messages:
        """A rectified image: P is its matrix, K and D are those of the raw one."""
        messages = stored.messages()
        info = messages.camera_info
        info.distortion_model, info.d, info.p = "plumb_bob", list(BARREL), projection(stored.intrinsics)
        raw = stored.intrinsics + np.array([[90.0, 0, 25], [0, 90.0, -20], [0, 0, 0]])
        info.k = [float(k) for k in raw.ravel()]
        return messages

    def fisheye() -> Messages:
        messages = stored.messages()
        messages.camera_info.distortion_model, messages.camera_info.d = "equidistant", [0.1, 0.0, 0.0, 0.0]
        return messages

    def binned() -> Messages:
        """Every other pixel in both directions, with the camera_info of the whole sensor."""
        messages = Messages(
            image(stored.rgb[::2, ::2], "rgb8"),
            image(stored.depth_mm[::2, ::2], "16UC1"),
            stored.messages().camera_info,
        )
        messages.camera_info.binning_x = messages.camera_info.binning_y = 2
        return messages

    def region() -> Messages:
        """A part of the sensor, with the camera_info of the whole."""
        top, left = height // 8, width // 8
        messages = Messages(
            image(stored.rgb[top:, left:], "rgb8"),
            image(stored.depth_mm[top:, left:], "16UC1"),
            stored.messages().camera_info,
        )
        messages.camera_info.roi = RegionOfInterest(
            x_offset=left, y_offset=top, width=width - left, height=height - top, do_rectify=True
        )
        return messages

    def mono() -> Messages:
        messages = stored.messages()
        messages.rgb = image(cv2.cvtColor(stored.rgb, cv2.COLOR_RGB2GRAY), "mono8")
        return messages

    half = stored.depth_mm[: height // 2, : width // 2]
    return {
        "nothing": stored.messages,
        "rgb_unknown_encoding": changed("rgb", encoding="nonsense"),
        "depth_unknown_encoding": changed("depth", encoding="64FC1"),
        "rgb_truncated": changed("rgb", data=array.array("B", bytes(1000))),
        "depth_truncated": changed("depth", data=array.array("B", bytes(1000))),
        "rgb_step_too_small": changed("rgb", step=7),
        "depth_half_size": with_depth(half, "16UC1"),
        "zero_k": changed("camera_info", k=[0.0] * 9),
        "camera_info_other_size": changed("camera_info", width=width * 2, height=height * 2),
        "depth_all_zero": with_depth(np.zeros((height, width), np.uint16), "16UC1"),
        "depth_float_with_holes": with_holes_of_every_kind,
        "swapped": swapped,
        "plane": plane,
        "depth_negative": with_depth(np.where(np.arange(width) < 8, -0.5, stored.depth_m), "32FC1"),
        "bgr": bgr,
        "one_pixel": one_pixel,
        "half_size": resized(0.5),
        "noisy": noisy,
        "turning": turning,
        "first_covered": first_covered,
        "4k": resized(3840 / width),
        "depth_in_decimetres": with_depth(np.round(stored.depth_m * 10).astype(np.uint16), "16UC1"),
        "depth_in_tenths_of_a_millimetre": with_depth(np.round(stored.depth_m * 10_000).astype(np.uint16), "16UC1"),
        "depth_holes_65535": with_depth(
            np.where(stored.depth_mm == 0, 65535, stored.depth_mm).astype(np.uint16), "16UC1"
        ),
        "k_by_column": changed("camera_info", k=stored.intrinsics.T.flatten().tolist()),
        "k_normalised": changed(
            "camera_info", k=(stored.intrinsics / np.array([[width], [height], [1.0]])).flatten().tolist()
        ),
        "depth_float_in_millimetres": with_depth(stored.depth_m * 1000, "32FC1"),
        "compressed": compressed,
        "with_lens": with_lens,
        "rectified": rectified,
        "fisheye": fisheye,
        "binned": binned,
        "region": region,
        "mono": mono,
    }
