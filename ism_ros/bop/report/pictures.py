"""Pictures of cases: the same part of the image twice, with the truth and with what was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ism_ros.bop.dataset import object_name
from ism_ros.bop.ground_truth import GroundTruth
from ism_ros.bop.predictions import Prediction
from ism_ros.bop.report.worst_cases import Case, image_of
from ism_ros.data.rle import decode_rle
from ism_ros.visualization import draw_instance, draw_label, object_color

WIDTH_PX, HEIGHT_PX = 320, 240
"""Size of one picture; labels in it can be read when it is shown at this size."""
MARGIN_RATIO = 2.6
"""Side of the part shown, as a ratio to what the case is about."""
MIN_SIDE_FRACTION = 0.4
"""Side of the smallest part, as a fraction of the image's."""


@dataclass(frozen=True)
class DrawnMask:
    """One mask in a picture.

    Attributes:
        mask: (H, W) bool.
        number: Number of its object, for the color.
        label: Its label; "" for an outline without a fill.
    """

    mask: NDArray[np.bool_]
    number: int
    label: str


def case_pictures(
    rgb: NDArray[np.uint8], case: Case, truth: GroundTruth, predictions: Sequence[Prediction], threshold: float
) -> tuple[bytes, bytes]:
    """Draw a case.

    What the case is about is filled and labelled; the rest is outlined: all other instances, and all other detections
    of at least `threshold`.

    Args:
        rgb: (H, W, 3) uint8, the case's image.
        case: The case.
        truth: True instances of the dataset.
        predictions: All predictions.
        threshold: Score from which on detections are published.

    Returns:
        JPEGs of the truth and of what was found.
    """
    true = [
        DrawnMask(decode_rle(instance.mask), instance.object_id, object_name(instance.object_id) * (row in case.truth))
        for row, instance in enumerate(truth.instances)
        if instance.image == case.image
    ]
    found = [
        DrawnMask(decode_rle(entry["segmentation"]), entry["category_id"], _label(entry) * (row in case.predictions))
        for row, entry in enumerate(predictions)
        if image_of(entry) == case.image and (row in case.predictions or entry["score"] >= threshold)
    ]
    window = _window([shown.mask for shown in [*true, *found] if shown.label], rgb.shape[:2])
    return _picture(rgb, true, window), _picture(rgb, found, window)


def _label(entry: Prediction) -> str:
    return f"{object_name(entry['category_id'])} {entry['score']:.2f}"


def _window(masks: list[NDArray[np.bool_]], size: tuple[int, ...]) -> tuple[slice, slice]:
    """Rows and columns around all `masks`, of the pictures' shape where the image allows."""
    height, width = size
    v, u = np.nonzero(np.any(masks, axis=0))
    side = max(np.ptp(u) * MARGIN_RATIO, np.ptp(v) * MARGIN_RATIO * WIDTH_PX / HEIGHT_PX, width * MIN_SIDE_FRACTION)
    wide, high = min(round(side), width), min(round(side * HEIGHT_PX / WIDTH_PX), height)
    left = int(np.clip((u.min() + u.max() - wide) // 2, 0, width - wide))
    top = int(np.clip((v.min() + v.max() - high) // 2, 0, height - high))
    return slice(top, top + high), slice(left, left + wide)


def _picture(rgb: NDArray[np.uint8], shown: list[DrawnMask], window: tuple[slice, slice]) -> bytes:
    piece = rgb[window]
    scale = min(WIDTH_PX / piece.shape[1], HEIGHT_PX / piece.shape[0])
    size = round(piece.shape[1] * scale), round(piece.shape[0] * scale)
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    canvas = np.ascontiguousarray(cv2.resize(piece, size, interpolation=way), dtype=np.uint8)
    labels: list[tuple[str, NDArray[np.int64], tuple[int, int, int]]] = []
    masks = [cv2.resize(s.mask[window].astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0 for s in shown]
    for mask, one in sorted(zip(masks, shown, strict=True), key=lambda pair: bool(pair[1].label)):
        v, u = np.nonzero(mask)
        if not len(u):
            continue
        box = np.array((u.min(), v.min(), u.max(), v.max()))
        color = object_color(one.number)
        if not one.label:
            contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
            cv2.drawContours(canvas, contours, -1, (235, 235, 235), 1, cv2.LINE_AA)
            continue
        draw_instance(canvas, mask, box, color, 2)
        labels.append((one.label, box, color))
    taken: list[tuple[int, int, int, int]] = []
    for text, box, color in labels:
        taken.append(draw_label(canvas, text, box, color, taken))
    _, jpeg = cv2.imencode(".jpg", canvas[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 86])
    return jpeg.tobytes()
