"""Pictures of real frames, side by side: what is there, and what is found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from accuracy.real_frames import RealFrame
from accuracy.real_judging import MIN_ASKED_SHARE, JudgedFrame, JudgedInstance
from ism_ros.data.detections import Detections
from ism_ros.visualization import draw_instance, draw_label

TRUE, RIGHT, MISSED, FALSE, UNJUDGED = (60, 220, 60), (40, 140, 255), (255, 40, 40), (255, 160, 0), (190, 190, 190)
"""Colors of what is there, found, missed, falsely found, and found where not all of the truth is known."""
VERDICT_COLORS = {"right": RIGHT, "false": FALSE, "unjudged": UNJUDGED}
HEADER, GAP = 26, 6
"""Height of the line of text above a picture, and width of the gap in its middle, pixels."""
MARGIN, MIN_WINDOW_SHARE = 0.25, 0.3
"""Room around what is drawn, as a share of its size, and the least share of a frame's sides that a picture shows."""
Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Window:
    """The part of a frame that is drawn, in the frame's proportions.

    Attributes:
        left: First column.
        top: First row.
        width: Columns, pixels of the frame.
        height: Rows.
        scale: Pixels of the picture for one of the frame.
    """

    left: int
    top: int
    width: int
    height: int
    scale: float

    def cut(self, image: NDArray[Any], interpolation: int) -> NDArray[Any]:
        """Cut the window out of an image or mask of the frame, as large as the picture."""
        part = image[self.top : self.top + self.height, self.left : self.left + self.width]
        size = round(self.width * self.scale), round(self.height * self.scale)
        return np.asarray(cv2.resize(part, size, interpolation=interpolation))

    def box(self, box_xyxy: NDArray[np.int64]) -> NDArray[np.int64]:
        """Convert a box of the frame to pixels of the picture."""
        moved = (box_xyxy - np.array([self.left, self.top] * 2)) * self.scale
        most = np.array([self.width, self.height] * 2) * self.scale - 1
        return np.clip(np.rint(moved), 0, np.floor(most)).astype(np.int64)


def window_of(truth: RealFrame, boxes_xyxy: NDArray[np.int64], width: int) -> Window:
    """Choose the part of a frame that shows what is there and what is found.

    Args:
        truth: The frame.
        boxes_xyxy: (N, 4) of the detections.
        width: Of the picture, pixels.

    Returns:
        The window; all of the frame where things are all over it.
    """
    boxes = np.concatenate([[instance.box_xyxy for instance in truth.instances], boxes_xyxy.reshape(-1, 4)])
    first, last = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    size = np.array([truth.frame.width, truth.frame.height])
    share = float(np.clip(((1 + 2 * MARGIN) * (last - first) / size).max(), MIN_WINDOW_SHARE, 1.0))
    extent = np.rint(share * size).astype(int)
    left, top = np.clip((first + last - extent) // 2, 0, size - extent)
    return Window(int(left), int(top), int(extent[0]), int(extent[1]), width / int(extent[0]))


def draw_truth_and_found(truth: RealFrame, found: Detections, judged: JudgedFrame, width: int) -> Picture:
    """Draw the part of a frame where something is, twice, with a line of text above.

    Args:
        truth: The frame.
        found: Its detections above the threshold.
        judged: What is said about it.
        width: Of each of the two, pixels.

    Returns:
        (H, 2 * width + GAP, 3) uint8 RGB: the truth | what is found.
    """
    masks, boxes = found.masks.cpu().numpy(), found.boxes_xyxy.cpu().numpy()
    window = window_of(truth, boxes, width)
    there = [Shown(x.object_id, x.mask, x.box_xyxy, TRUE) for x in truth.instances]
    asked = [instance for instance in truth.instances if instance.visible_share >= MIN_ASKED_SHARE]
    seen = [
        Shown(_missed(result), instance.mask, instance.box_xyxy, MISSED)
        for instance, result in zip(asked, judged.instances, strict=True)
        if not result.is_found
    ]
    for row, verdict in enumerate(judged.verdicts):
        text = f"{found.class_id(row)} {float(found.score[row]):.2f}"
        seen.append(Shown(text, masks[row], boxes[row], VERDICT_COLORS[verdict]))
    sides = [_drawn(truth.frame.rgb, things, window) for things in (there, seen)]
    gap = np.full((len(sides[0]), GAP, 3), 32, np.uint8)
    picture = np.hstack([sides[0], gap, sides[1]])
    return np.vstack([_header(judged, picture.shape[1]), picture])


def sheet(pictures: Sequence[Picture], columns: int = 3) -> Picture:
    """Put pictures into one.

    Args:
        pictures: Of equal width.
        columns: How many lie side by side.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    width, height = pictures[0].shape[1], max(len(picture) for picture in pictures)
    tiles = np.zeros((math.ceil(len(pictures) / columns) * columns, height + 6, width + 6, 3), np.uint8)
    for tile, picture in zip(tiles, pictures, strict=False):
        tile[: len(picture), :width] = picture
    return np.vstack([np.hstack(list(tiles[row : row + columns])) for row in range(0, len(tiles), columns)])


@dataclass(frozen=True)
class Shown:
    """Something that is outlined: its label, (H, W) mask or None, (4,) inclusive box, and color."""

    label: str
    mask: NDArray[np.bool_] | None
    box_xyxy: NDArray[np.int64]
    color: tuple[int, int, int]


def _drawn(rgb: Picture, things: Sequence[Shown], window: Window) -> Picture:
    picture = window.cut(rgb, cv2.INTER_AREA if window.scale < 1 else cv2.INTER_CUBIC)
    height, width = picture.shape[:2]
    whole, line = np.array([0, 0, width - 1, height - 1]), max(1, round(width / 500))
    for shown in things:
        if shown.mask is None:
            draw_instance(
                picture, np.ones((height, width), bool), window.box(shown.box_xyxy), shown.color, line, "boxes"
            )
        else:
            mask = window.cut(shown.mask.astype(np.uint8), cv2.INTER_NEAREST) > 0
            draw_instance(picture, mask, whole, shown.color, line, "outline")
    # After all outlines, so that none runs through a text.
    taken: list[tuple[int, int, int, int]] = []
    for shown in things:
        taken.append(draw_label(picture, shown.label, window.box(shown.box_xyxy), shown.color, taken))
    return picture


def _missed(result: JudgedInstance) -> str:
    """Name a missed object, with the score of the detection that would find it if there is one."""
    return f"missed {result.object_id}" + (f" {result.score:.2f}" if result.score else "")


def _header(judged: JudgedFrame, width: int) -> Picture:
    header = np.full((HEADER, width, 3), 32, np.uint8)
    found, verdicts = sum(x.is_found for x in judged.instances), judged.verdicts
    left = _write(header, f"{judged.name}: there", TRUE, 6)
    left = _write(header, f"found {found} of {len(judged.instances)}", RIGHT, max(left, (width + GAP) // 2))
    for text, color, count in (
        ("missed", MISSED, len(judged.instances) - found),
        ("false", FALSE, verdicts.count("false")),
        ("not judged", UNJUDGED, verdicts.count("unjudged")),
    ):
        if count:
            left = _write(header, f"{text} {count}", color, left)
    return header


def _write(header: Picture, text: str, color: tuple[int, int, int], left: int) -> int:
    """Write a text that begins at a column; returns where the next one may begin."""
    font, size = cv2.FONT_HERSHEY_SIMPLEX, 0.5
    cv2.putText(header, text, (left, HEADER - 8), font, size, color, 1, cv2.LINE_AA)
    return left + cv2.getTextSize(text, font, size, 1)[0][0] + 16
