#!/usr/bin/env python3
"""What a pose estimator (such as the PEM of SAM-6D) needs of each instance, from the topics of ism_ros.

    ros2 run ism_ros crop_instances.py --ros-args -p output:=crops \\
        -r masks:=/ism/masks -r rgb:=/camera/color/image_raw \\
        -r depth:=/camera/aligned_depth_to_color/image_raw -r camera_info:=/camera/color/camera_info

With images of image_rect topics, add -p rectified:=true.

Takes `masks`, `rgb`, `depth` and `camera_info` of one stamp, decodes the masks, and prints a line for every instance.
With `output` it also writes OUTPUT/<sec>_<nanosec>_<id>.npz with

    points_m   (points, 3) float32, camera's optical frame; as many as `points` says, drawn with repetition if need be
    colours    (points, 3) uint8 RGB
    pixels     (points, 2) int32, column and row in the image
    rgb, mask  (h, w, 3) uint8 and (h, w) bool: the crop of the instance's box; left, top: where it was
    intrinsics (3, 3); class_id, score, template_index
    pose       (4, 4) coarse pose, object to camera, from which a refinement may start

Copy this file as a start for your own node: put your estimator in the place of `report`.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import message_filters
import numpy as np
import rclpy
from cv_bridge import CvBridge
from ism_ros.msg import InstanceMask, InstanceMaskArray
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.utilities import remove_ros_args
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import CameraInfo, Image

QUEUE = 60
"""Images wait here until the masks that belong to them have been computed."""
LEAST_POINTS = 32
REACH_SHARE = 3.0
"""Points further from the middle than so many median distances are readings between object and ground."""


@dataclass(frozen=True)
class Crop:
    """One instance. points_m: (P, 3), colors: (P, 3) uint8, pixels: (P, 2) column and row; all that have depth."""

    points_m: NDArray[np.float32]
    colors: NDArray[np.uint8]
    pixels: NDArray[np.int32]
    mask: NDArray[np.bool_]
    left: int
    top: int


def decode(instance: InstanceMask) -> NDArray[np.bool_]:
    """The mask (H, W) of an instance."""
    rle = {"size": [instance.height, instance.width], "counts": instance.rle_counts.encode()}
    return coco_mask.decode(rle).astype(bool)


def depth_in_metres(image: NDArray[Any]) -> NDArray[np.float32]:
    """16UC1 is in millimetres, 32FC1 in metres; what is no reading becomes 0."""
    depth_m = image.astype(np.float32) * (0.001 if image.dtype == np.uint16 else 1.0)
    return np.where(np.isfinite(depth_m) & (depth_m > 0), depth_m, np.float32(0))


def crop(
    mask: NDArray[np.bool_],
    rgb: NDArray[np.uint8],
    depth_m: NDArray[np.float32],
    intrinsics: NDArray[np.float64],
    distortion: NDArray[np.float64],
) -> Crop | None:
    """The points under `mask` without stray ones; None where fewer than LEAST_POINTS have depth.

    distortion: D of a raw image's camera_info, empty for none.
    """
    rows, columns = np.nonzero(mask & (depth_m > 0))
    if len(rows) < LEAST_POINTS:
        return None
    z = depth_m[rows, columns]
    seen = np.stack([columns, rows], axis=1).astype(np.float64)[:, None]
    x, y = cv2.undistortPoints(seen, intrinsics, distortion if distortion.size else None)[:, 0].T
    points_m = np.stack([x * z, y * z, z], axis=1).astype(np.float32)
    distance = np.linalg.norm(points_m - np.median(points_m, axis=0), axis=1)
    near = distance <= REACH_SHARE * np.median(distance)
    all_rows, all_columns = np.nonzero(mask)
    top, bottom, left, right = all_rows.min(), all_rows.max() + 1, all_columns.min(), all_columns.max() + 1
    pixels = np.stack([columns, rows], axis=1).astype(np.int32)
    colors = rgb[rows, columns]
    return Crop(points_m[near], colors[near], pixels[near], mask[top:bottom, left:right], int(left), int(top))


def pose_matrix(instance: InstanceMask) -> NDArray[np.float64]:
    """The coarse pose, object to camera, (4, 4)."""
    p, q = instance.pose.position, instance.pose.orientation
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_quat([q.x, q.y, q.z, q.w]).as_matrix()
    matrix[:3, 3] = p.x, p.y, p.z
    return matrix


class CropInstances(Node):
    """Prints, and saves, what is cropped of each instance."""

    def __init__(self) -> None:
        super().__init__("crop_instances")
        output = str(self.declare_parameter("output", "").value)
        self._output = Path(output).expanduser() if output else None
        self._points = int(self.declare_parameter("points", 2048).value)
        self._rectified = bool(self.declare_parameter("rectified", False).value)
        self._bridge = CvBridge()
        self._random = np.random.default_rng(0)
        if self._output is not None:
            self._output.mkdir(parents=True, exist_ok=True)
        # images best effort, as cameras send them; the masks come reliably
        images = rclpy.qos.qos_profile_sensor_data
        types = (("rgb", Image, images), ("depth", Image, images), ("camera_info", CameraInfo, images))
        filters = [message_filters.Subscriber(self, InstanceMaskArray, "masks")]
        filters += [message_filters.Subscriber(self, kind, name, qos_profile=qos) for name, kind, qos in types]
        # the masks carry the stamp of the color image; depth may be a little beside it
        self._synchronizer = message_filters.ApproximateTimeSynchronizer(filters, QUEUE, slop=0.02)
        self._synchronizer.registerCallback(self._take)

    def _take(self, masks: InstanceMaskArray, rgb: Image, depth: Image, camera_info: CameraInfo) -> None:
        image = self._bridge.imgmsg_to_cv2(rgb, "rgb8")
        depth_m = depth_in_metres(self._bridge.imgmsg_to_cv2(depth))
        # of a raw image K and D count, of a rectified one P
        intrinsics, distortion = np.array(camera_info.k).reshape(3, 3), np.array(camera_info.d)
        if self._rectified:
            intrinsics, distortion = np.array(camera_info.p).reshape(3, 4)[:, :3], np.zeros(0)
        for instance in masks.instances:
            found = crop(decode(instance), image, depth_m, intrinsics, distortion)
            if found is None:
                self.get_logger().info(f"{instance.class_id} {instance.id}: too little depth")
                continue
            self.report(masks, instance, found, image, intrinsics)

    def report(
        self,
        masks: InstanceMaskArray,
        instance: InstanceMask,
        found: Crop,
        rgb: NDArray[np.uint8],
        intrinsics: NDArray[np.float64],
    ) -> None:
        """One instance, ready for a pose estimator."""
        pose = pose_matrix(instance)
        self.get_logger().info(
            f"{instance.class_id} {instance.id}: score {instance.score:.2f}, {len(found.points_m)} points around "
            f"{np.round(found.points_m.mean(axis=0), 3).tolist()} m, coarse pose at {np.round(pose[:3, 3], 3).tolist()}"
        )
        if self._output is None:
            return
        height, width = found.mask.shape
        count = len(found.points_m)
        chosen = self._random.choice(count, self._points, replace=count < self._points)
        stamp = masks.header.stamp
        np.savez_compressed(
            self._output / f"{stamp.sec}_{stamp.nanosec:09d}_{instance.id}.npz",
            points_m=found.points_m[chosen],
            colours=found.colors[chosen],
            pixels=found.pixels[chosen],
            rgb=rgb[found.top : found.top + height, found.left : found.left + width],
            mask=found.mask,
            left=found.left,
            top=found.top,
            intrinsics=intrinsics,
            class_id=instance.class_id,
            score=instance.score,
            template_index=instance.template_index,
            pose=pose,
        )


def main() -> None:
    title, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=title, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args(remove_ros_args(sys.argv)[1:])
    rclpy.init()
    try:
        node = CropInstances()
        try:
            while rclpy.ok():  # rclpy.spin would now and then not notice that it is told to end
                rclpy.spin_once(node, timeout_sec=0.5)
        finally:
            node.destroy_node()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except OSError as error:
        print(f"crop_instances: {error}", file=sys.stderr)
        sys.exit(1)
    finally:
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
