"""What the model is given for one request."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ism_ros.checks.depth_checks import depth_scale_warnings
from ism_ros.data.camera import Camera
from ism_ros.data.frame import Frame
from ism_ros.server.errors import RequestError
from ism_ros.server.requests.images import decode_depth_m, decode_rgb
from ism_ros.server.requests.path_object import PathObject


@dataclass(frozen=True)
class InferenceInput:
    """A checked inference request: images still encoded, paths inside of the data directories.

    Attributes:
        rgb: A PNG or JPEG file.
        depth: A 16-bit PNG file, metres = number * depth_scale / 1000, or None.
        intrinsics: Camera matrix, pixels, 9 numbers row by row.
        depth_scale: Millimetres a unit of `depth`.
        max_pixels: Most pixels of each image.
        path_object: The object to look for, named by path, or None.
        object_ids: Ids of the objects to look for, or None = `path_object`, or all that the server has.
        segmentor: Name of a segmentor instead of the server's, or None.
        stability_score_threshold: Instead of the server's setting, or None.
        score_threshold: Instead of the server's setting, or None.
        min_mask_pixels: Instead of the server's setting, or None.
        output_dir: Folder to write the results into, or None.
        visualization: Whether the response has the overlay.
    """

    rgb: bytes
    depth: bytes | None
    intrinsics: tuple[float, ...]
    depth_scale: float = 1.0
    max_pixels: int = 16_000_000
    path_object: PathObject | None = None
    object_ids: tuple[str, ...] | None = None
    segmentor: str | None = None
    stability_score_threshold: float | None = None
    score_threshold: float | None = None
    min_mask_pixels: int | None = None
    output_dir: Path | None = None
    visualization: bool = False

    def frame(self, executor: Executor) -> Frame:
        """Decode the images.

        Args:
            executor: Decodes depth while this thread decodes color.

        Returns:
            The frame, with doubts about its depth scale as warnings.

        Raises:
            RequestError: 400 or 413 where the images or the camera cannot be used.
        """
        decoding = None
        if self.depth is not None:
            decoding = executor.submit(decode_depth_m, self.depth, self.depth_scale, self.max_pixels)
        rgb = decode_rgb(self.rgb, self.max_pixels)
        depth_m = None if decoding is None else decoding.result()
        doubts = () if depth_m is None else depth_scale_warnings(depth_m, self.depth_scale, "cam_params")
        try:
            camera = Camera(np.reshape(self.intrinsics, (3, 3)), rgb.shape[1], rgb.shape[0])
            return Frame(rgb, depth_m, camera, warnings=doubts)
        except ValueError as error:
            raise RequestError(400, str(error)) from None
