"""Detections drawn over their image: fill, outline or box, name and score."""

from __future__ import annotations

import colorsys
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from ism_ros.data.detections import Detections

FILL_OPACITY = 0.4
"""Opacity of the color inside a mask."""
GOLDEN_RATIO = 0.618034
"""Step of the hue from one object to the next, in turns of the color circle: neighbours differ most."""
OverlayStyle = Literal["outline", "filled", "boxes"]
"""Styles: outline draws the edge of each mask, filled tints its inside as well, boxes draws rectangles alone."""
TONES = ((0.85, 1.0), (0.4, 1.0), (0.9, 0.6), (0.5, 0.7))
"""Saturation and value of the first, second, ... instance of one object."""


def draw_overlay(rgb: NDArray[np.uint8], detections: Detections, style: OverlayStyle = "filled") -> NDArray[np.uint8]:
    """Draw every instance over the image, the better score on top.

    Colors stay from frame to frame, as of `instance_colors`.

    Args:
        rgb: (H, W, 3) uint8, left unchanged.
        detections: Of this image, on any device.
        style: How.

    Returns:
        (H, W, 3) uint8.
    """
    canvas = np.ascontiguousarray(rgb).copy()
    if len(detections) == 0:
        return canvas
    detections = detections.to("cpu")
    masks = detections.masks.numpy()
    boxes = detections.boxes_xyxy.numpy()
    scores = detections.score.numpy()
    colors = instance_colors(detections)
    line = max(1, round(min(canvas.shape[:2]) / 320))

    worst_first = np.argsort(scores, kind="stable")
    for row in worst_first:
        draw_instance(canvas, masks[row], boxes[row], colors[row], line, style)
    taken: list[tuple[int, int, int, int]] = []
    for row in worst_first[::-1]:
        taken.append(draw_label(canvas, label_of(detections, int(row)), boxes[row], colors[row], taken))
    return canvas


def label_of(detections: Detections, row: int) -> str:
    """Make the label of one detection.

    Args:
        detections: Of one image.
        row: Which one.

    Returns:
        Name and score, with the number of an instance that is tracked.
    """
    number = "" if detections.instance_id is None else f" #{int(detections.instance_id[row])}"
    return f"{detections.class_id(row)}{number} {float(detections.score[row]):.2f}"


def instance_colors(detections: Detections) -> list[tuple[int, int, int]]:
    """Choose a color for every instance.

    Tracked ones have that of their id. Others have that of their object; further instances of the same object have
    other tones of it, from left to right.

    Args:
        detections: N of one image.

    Returns:
        N colors (red, green, blue), 0 to 255.
    """
    if detections.instance_id is not None:
        return [object_color(number) for number in detections.instance_id.tolist()]
    objects = detections.object_index.tolist()
    boxes = detections.boxes_xyxy.tolist()
    colors = [(0, 0, 0)] * len(objects)
    number_of: dict[int, int] = {}
    for row in sorted(range(len(objects)), key=lambda row: (boxes[row][0] + boxes[row][2], boxes[row][1])):
        number = number_of.get(objects[row], 0)
        number_of[objects[row]] = number + 1
        colors[row] = object_color(objects[row], number)
    return colors


def object_color(object_index: int, tone: int = 0) -> tuple[int, int, int]:
    """Choose a bright color, far from those of the neighbouring indices.

    Args:
        object_index: Number of the object or instance.
        tone: Other tones are paler or darker.

    Returns:
        (red, green, blue), 0 to 255.
    """
    hue = (0.04 + object_index * GOLDEN_RATIO) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, *TONES[tone % len(TONES)])
    return round(255 * red), round(255 * green), round(255 * blue)


def draw_instance(
    canvas: NDArray[np.uint8],
    mask: NDArray[np.bool_],
    box_xyxy: NDArray[np.int64],
    color: tuple[int, int, int],
    line: int,
    style: OverlayStyle = "filled",
) -> None:
    """Draw one mask into an image.

    Args:
        canvas: (H, W, 3) uint8, which is changed.
        mask: (H, W) bool.
        box_xyxy: (4,) its tight box, inclusive pixels.
        color: (red, green, blue), 0 to 255.
        line: Width of outlines, pixels.
        style: How.
    """
    x_first, y_first, x_last, y_last = (int(side) for side in box_xyxy)
    window = slice(y_first, y_last + 1), slice(x_first, x_last + 1)
    part, inside = canvas[window], mask[window].astype(np.uint8)
    if part.size == 0 or not inside.any():
        return
    if style == "boxes":
        cv2.rectangle(canvas, (x_first, y_first), (x_last, y_last), (0, 0, 0), line + 2)
        cv2.rectangle(canvas, (x_first, y_first), (x_last, y_last), color, line)
        return
    if style == "filled":
        tinted = cv2.addWeighted(part, 1 - FILL_OPACITY, np.full_like(part, color), FILL_OPACITY, 0)
        cv2.copyTo(tinted, inside, part)
    contours, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_TC89_L1, offset=(x_first, y_first))
    # a dark rim keeps the outline visible on a ground of its own color
    cv2.drawContours(canvas, contours, -1, (0, 0, 0), line + 2, cv2.LINE_AA)
    cv2.drawContours(canvas, contours, -1, color, line, cv2.LINE_AA)


def draw_label(
    canvas: NDArray[np.uint8],
    text: str,
    box_xyxy: NDArray[np.int64],
    color: tuple[int, int, int],
    taken: list[tuple[int, int, int, int]],
) -> tuple[int, int, int, int]:
    """Write a label above a box, or at the nearest free height below.

    Args:
        canvas: (H, W, 3) uint8, which is changed.
        text: The label.
        box_xyxy: (4,) inclusive pixels.
        color: (red, green, blue) of the background.
        taken: Rectangles (left, top, right, bottom) of earlier labels.

    Returns:
        The rectangle that it occupies, in the same form.
    """
    # OpenCV crashes on half a surrogate pair, which names of files can hold where the locale is not UTF-8
    text = text.encode("utf-8", "replace").decode("utf-8")
    height, width = canvas.shape[:2]
    scale = max(0.4, min(height, width) / 1000)
    pad = max(2, round(4 * scale))
    (text_width, text_height), base = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    label_width, label_height = text_width + 2 * pad, text_height + base + 2 * pad
    left = int(np.clip(box_xyxy[0], 0, max(0, width - label_width)))
    highest = max(0, int(box_xyxy[1]) - label_height)
    top = next(
        (
            y
            for y in range(highest, height - label_height, label_height // 2)
            if _free(left, y, label_width, label_height, taken)
        ),
        highest,
    )
    right, bottom = left + label_width, top + label_height
    cv2.rectangle(canvas, (left, top), (right - 1, bottom - 1), color, cv2.FILLED)
    ink = (0, 0, 0) if np.dot(color, (0.299, 0.587, 0.114)) > 110 else (255, 255, 255)
    origin = (left + pad, top + pad + text_height)
    cv2.putText(canvas, text, origin, cv2.FONT_HERSHEY_SIMPLEX, scale, ink, 1, cv2.LINE_AA)
    return left, top, right, bottom


def _free(left: int, top: int, width: int, height: int, taken: list[tuple[int, int, int, int]]) -> bool:
    return all(left >= r or left + width <= l or top >= b or top + height <= t for l, t, r, b in taken)  # noqa: E741
