"""Detections to ROS messages; an instance has the same id in all of them, and as its value in the mask image."""

from __future__ import annotations

import array
import json
from collections.abc import Sequence

import numpy as np
from geometry_msgs.msg import Pose
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from vision_msgs.msg import BoundingBox2D, Detection2D, Detection2DArray, ObjectHypothesisWithPose, VisionInfo

from ism_ros.config.settings import Settings
from ism_ros.data.boxes import xyxy_to_xywh
from ism_ros.data.detections import Detections
from ism_ros.data.rle import encode_rle
from ism_ros.io.result_files import label_image
from ism_ros.msg import InstanceMask, InstanceMaskArray
from ism_ros.objects.library import ObjectLibrary
from ism_ros.refinement.covariance import unknown_covariance

Poses = Sequence[Pose | None]
UNKNOWN_VARIANCE = -1.0
"""First element of the covariance where there is no pose, as in sensor_msgs/Imu."""


def detection_array(detections: Detections, header: Header, poses: Poses | None = None) -> Detection2DArray:
    """Return `~/detections`: one hypothesis a detection, with the coarse pose in the camera's optical frame.

    Args:
        detections: On the CPU.
        header: Header of the color image.
        poses: Of `poses_of`, where they are there already.
    """
    message = Detection2DArray(header=header)
    poses = poses_of(detections) if poses is None else poses
    for row, (pose, number) in enumerate(zip(poses, detections.instance_ids(), strict=True)):
        result = hypothesis(detections, row, pose)
        message.detections.append(
            Detection2D(header=header, results=[result], bbox=_box(detections, row), id=str(number))
        )
    return message


def hypothesis(detections: Detections, row: int, pose: Pose | None) -> ObjectHypothesisWithPose:
    """Return class, score and pose of one detection, with the pose's covariance.

    Args:
        detections: All of the frame, on the CPU.
        row: Index of the one.
        pose: Its pose, None where there is none.
    """
    result = ObjectHypothesisWithPose()
    result.hypothesis.class_id = detections.class_id(row)
    result.hypothesis.score = float(detections.score[row])
    covariance = np.zeros((6, 6))
    covariance[0, 0] = UNKNOWN_VARIANCE
    if pose is not None:
        result.pose.pose = pose
        of_all = detections.pose_covariance
        covariance = unknown_covariance() if of_all is None else of_all[row].double().numpy()
    result.pose.covariance = covariance.ravel()
    return result


def mask_image(detections: Detections, header: Header) -> Image:
    """Return `~/mask_image`: mono16, 0 background, else the id of the instance; higher score on top."""
    labels = label_image(detections)
    return image_message(labels, "mono16", header)


def mask_array(
    detections: Detections,
    header: Header,
    inference_s: float,
    lost: Sequence[tuple[int, str]] = (),
    poses: Poses | None = None,
) -> InstanceMaskArray:
    """Return `~/masks`: each instance whole, with all parts of its score and the evidence that it was made of.

    Args:
        detections: On the CPU.
        header: Header of the color image.
        inference_s: Duration of inference, seconds.
        lost: (id, class id) of instances that were followed and are not seen in this frame.
        poses: Of `poses_of`, where they are there already.
    """
    height, width = detections.masks.shape[1:]
    masks = detections.masks.numpy()
    poses = poses_of(detections) if poses is None else poses
    ids = detections.instance_ids()
    evidence = [detections.evidence_of(row) or {} for row in range(len(detections))]
    instances = [
        InstanceMask(
            id=ids[row],
            class_id=detections.class_id(row),
            score=float(detections.score[row]),
            semantic_score=float(detections.semantic_score[row]),
            appearance_score=float(detections.appearance_score[row]),
            geometric_score=float(detections.geometric_score[row]),
            visible_ratio=float(detections.visible_ratio[row]),
            fit_score=float(detections.fit_score[row]),
            bbox=_box(detections, row),
            height=height,
            width=width,
            rle_counts=encode_rle(masks[row])["counts"],
            template_index=int(detections.template_index[row]),
            pose=poses[row] or Pose(),
            evidence_names=list(evidence[row]),
            evidence_values=[numbers["value"] for numbers in evidence[row].values()],
            evidence_contributions=[numbers["contribution"] for numbers in evidence[row].values()],
        )
        for row in range(len(detections))
    ]
    return InstanceMaskArray(
        header=header,
        instances=instances,
        inference_time=float(inference_s),
        lost_ids=[number for number, _ in lost],
        lost_class_ids=[name for _, name in lost],
    )


def image_message(pixels: NDArray[np.uint8] | NDArray[np.uint16], encoding: str, header: Header) -> Image:
    """Return an image (H, W) or (H, W, C) as a message of this encoding."""
    message = Image(header=header, height=pixels.shape[0], width=pixels.shape[1], encoding=encoding)
    message.is_bigendian = 0
    message.step = int(pixels.nbytes // pixels.shape[0])
    # an array.array is used as it is; bytes or a list would be checked element by element
    message.data = array.array("B", np.ascontiguousarray(pixels).tobytes())
    return message


def vision_info(library: ObjectLibrary, settings: Settings, header: Header) -> VisionInfo:
    """Return `~/vision_info`: how objects are found, which, where they came from, and the version of the library."""
    objects = [{"id": known.id, "category_id": known.category_id, "source": known.source} for known in library.objects]
    return VisionInfo(
        header=header,
        method=f"SAM-6D instance segmentation, segmentor {settings.segmentor}, descriptor {settings.descriptor}",
        database_location=json.dumps({"objects_file": settings.objects_file, "objects": objects}),
        database_version=library.version,
    )


def _box(detections: Detections, row: int) -> BoundingBox2D:
    """Return centre and size in pixels; pixel centres are at whole numbers."""
    x, y, width, height = (float(number) for number in xyxy_to_xywh(detections.boxes_xyxy[row].tolist()))
    box = BoundingBox2D(size_x=width, size_y=height)
    box.center.position.x, box.center.position.y = x + (width - 1) / 2, y + (height - 1) / 2
    return box


def poses_of(detections: Detections) -> list[Pose | None]:
    """Return the pose of each detection in the camera's optical frame, None where there is none."""
    rotation = detections.rotation.double().cpu().numpy()
    translations_m = detections.translation_m.double().cpu().numpy()
    posed = np.isfinite(rotation).all(axis=(1, 2)) & np.isfinite(translations_m).all(axis=1)
    quaternions = np.zeros((len(posed), 4))
    if posed.any():  # all at once: one rotation takes scipy as long as a hundred
        quaternions[posed] = Rotation.from_matrix(rotation[posed]).as_quat()
    return [
        pose_message(quaternion, translation_m) if is_posed else None
        for is_posed, quaternion, translation_m in zip(posed, quaternions, translations_m, strict=True)
    ]


def pose_message(quaternion: NDArray[np.float64], translation_m: NDArray[np.float64]) -> Pose:
    """Return a quaternion (4,), x y z w, and a translation (3,), metres, as a message."""
    pose = Pose()
    pose.orientation.x, pose.orientation.y, pose.orientation.z, pose.orientation.w = (float(q) for q in quaternion)
    pose.position.x, pose.position.y, pose.position.z = (float(x) for x in translation_m)
    return pose
