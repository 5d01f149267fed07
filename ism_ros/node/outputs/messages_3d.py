"""3D detections: boxes of the CAD models as messages and as markers, and the points of each instance."""

from __future__ import annotations

import array
import itertools

import numpy as np
from geometry_msgs.msg import Point, Pose, TransformStamped, Vector3
from numpy.typing import NDArray
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import ColorRGBA, Header
from vision_msgs.msg import BoundingBox3D, Detection3D, Detection3DArray
from visualization_msgs.msg import Marker, MarkerArray

from ism_ros.data.detections import Detections
from ism_ros.data.frame import Frame
from ism_ros.io.result_files import label_image
from ism_ros.node.outputs.detection_messages import Poses, hypothesis
from ism_ros.visualization import instance_colors, label_of

POINT = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("rgb", "<u4"), ("instance_id", "<u4")])
"""Layout of a point: metres in the camera's optical frame, 0x00RRGGBB as point clouds have it, the instance's id."""
FIELDS = [
    PointField(name="x", offset=0, datatype=PointField.FLOAT32, count=1),
    PointField(name="y", offset=4, datatype=PointField.FLOAT32, count=1),
    PointField(name="z", offset=8, datatype=PointField.FLOAT32, count=1),
    # FLOAT32 by custom: rviz and PCL take the bits for a color
    PointField(name="rgb", offset=12, datatype=PointField.FLOAT32, count=1),
    PointField(name="instance_id", offset=16, datatype=PointField.UINT32, count=1),
]
"""Layout of a point for PointCloud2."""
BOX_CORNERS = list(itertools.product((0, 1), repeat=3))
"""Corners of a box by their side of each axis; 0 low, 1 high."""
BOX_EDGES = [
    (a, b)
    for a, b in itertools.combinations(range(8), 2)
    if sum(i != j for i, j in zip(BOX_CORNERS[a], BOX_CORNERS[b], strict=True)) == 1
]
"""Edges of a box as pairs of corners: those that differ in one axis."""
EDGE_WIDTH_M = 0.002
"""Width of a box's lines, metres."""
TEXT_HEIGHT_M = 0.02
"""Height of a name's capital letter, metres."""


def detection_array_3d(detections: Detections, header: Header, poses: Poses) -> Detection3DArray:
    """Return `~/detections_3d`: those of `~/detections` that have a pose, each with the box of its CAD model."""
    message = Detection3DArray(header=header)
    boxes_m = _boxes_m(detections)
    for row, (pose, number) in enumerate(zip(poses, detections.instance_ids(), strict=True)):
        if pose is not None and np.isfinite(boxes_m[row]).all():
            message.detections.append(
                Detection3D(
                    header=header,
                    results=[hypothesis(detections, row, pose)],
                    bbox=_bounding_box(detections, row, boxes_m[row], pose),
                    id=str(number),
                )
            )
    return message


def instance_transforms(detections: Detections, header: Header, poses: Poses) -> list[TransformStamped]:
    """Return the pose of each instance as a frame `<class id>_<id>` below that of the camera."""
    transforms = []
    for row, (pose, number) in enumerate(zip(poses, detections.instance_ids(), strict=True)):
        if pose is None:
            continue
        one = TransformStamped(header=header, child_frame_id=f"{detections.class_id(row)}_{number}")
        place = one.transform.translation
        place.x, place.y, place.z = pose.position.x, pose.position.y, pose.position.z
        one.transform.rotation = pose.orientation
        transforms.append(one)
    return transforms


def marker_array(detections: Detections, header: Header, poses: Poses) -> MarkerArray:
    """Return `~/markers`: the boxes of `~/detections_3d` as lines, with names; rviz2 shows them without a plugin.

    The first marker deletes those of the frame before.
    """
    markers = [Marker(header=header, action=Marker.DELETEALL)]
    boxes_m, colors = _boxes_m(detections), instance_colors(detections)
    for row, (pose, number) in enumerate(zip(poses, detections.instance_ids(), strict=True)):
        if pose is None or not np.isfinite(boxes_m[row]).all():
            continue
        red, green, blue = (channel / 255 for channel in colors[row])
        color = ColorRGBA(r=red, g=green, b=blue, a=1.0)
        corners = [
            Point(x=float(boxes_m[row, i, 0]), y=float(boxes_m[row, j, 1]), z=float(boxes_m[row, k, 2]))
            for i, j, k in BOX_CORNERS
        ]
        lines = Marker(header=header, ns="boxes", id=number, type=Marker.LINE_LIST, pose=pose, color=color)
        lines.scale.x = EDGE_WIDTH_M
        lines.points = [corners[end] for edge in BOX_EDGES for end in edge]
        text = Marker(header=header, ns="names", id=number, type=Marker.TEXT_VIEW_FACING, color=color)
        text.pose.position = _centre(detections, row, boxes_m[row])
        text.scale.z = TEXT_HEIGHT_M
        text.text = label_of(detections, row)
        markers += [lines, text]
    return MarkerArray(markers=markers)


def point_cloud(frame: Frame, detections: Detections, header: Header) -> PointCloud2:
    """Return `~/points`: every pixel of the mask image that has depth, as a point with its color and instance id."""
    points = points_of(frame, detections)
    return PointCloud2(
        header=header,
        height=1,
        width=len(points),
        fields=FIELDS,
        is_bigendian=False,
        point_step=POINT.itemsize,
        row_step=POINT.itemsize * len(points),
        data=array.array("B", points.tobytes()),
        is_dense=True,
    )


def points_of(frame: Frame, detections: Detections) -> NDArray[np.void]:
    """Return the points (P,) of type POINT, row by row of the image; none without depth."""
    if frame.depth_m is None:
        return np.zeros(0, POINT)
    labels = label_image(detections).ravel()
    pixels = np.flatnonzero(labels != 0)  # of booleans, many times faster
    depth_m = frame.depth_m.ravel()[pixels]
    pixels, depth_m = pixels[depth_m > 0], depth_m[depth_m > 0]
    rows, columns = np.divmod(pixels, frame.width)
    red, green, blue = frame.rgb.reshape(-1, 3)[pixels].astype(np.uint32).T
    points = np.empty(len(pixels), POINT)
    points_m: NDArray[np.float64] = frame.camera.back_project(columns, rows, depth_m)
    points["x"], points["y"], points["z"] = points_m.T
    points["rgb"] = red << 16 | green << 8 | blue
    points["instance_id"] = labels[pixels]
    return points


def _boxes_m(detections: Detections) -> NDArray[np.float64]:
    """Return the lower and upper corner of each CAD model (N, 2, 3), metres; NaN where there is none."""
    if detections.model_box_m is None:
        return np.full((len(detections), 2, 3), np.nan)
    return detections.model_box_m.double().numpy()


def _bounding_box(detections: Detections, row: int, box_m: NDArray[np.float64], pose: Pose) -> BoundingBox3D:
    """Return the box of the CAD model, (2, 3) metres, at the pose of the object: its own centre, the object's axes."""
    size_x, size_y, size_z = (box_m[1] - box_m[0]).tolist()
    centre = Pose(position=_centre(detections, row, box_m), orientation=pose.orientation)
    return BoundingBox3D(center=centre, size=Vector3(x=size_x, y=size_y, z=size_z))


def _centre(detections: Detections, row: int, box_m: NDArray[np.float64]) -> Point:
    """Return the centre of the box of the CAD model, (2, 3) metres, in the camera's optical frame."""
    rotation, translation_m = detections.rotation[row].double().numpy(), detections.translation_m[row].double().numpy()
    x, y, z = (rotation @ ((box_m[0] + box_m[1]) / 2) + translation_m).tolist()
    return Point(x=x, y=y, z=z)
