"""The stages of runs as stacked bars."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from ism_ros.bench.bench_run import StageBar
from ism_ros.bench.report import milliseconds_text, rate_text

WIDTH, MARGIN, TOP = 1000, 28, 24
"""Width of the picture, empty space beside the bars, and above the first, pixels."""
TEXT_ROOM, BAR_HEIGHT, GAP = 50, 34, 26
"""Height of the two lines above a bar, of the bar, and of the space below, pixels."""
TOTAL_ROOM = 190
"""Width that is kept for the numbers behind the longest bar, pixels."""
LEGEND_ROW = 28
"""Height of a row of the legend, pixels."""
OVERSAMPLING = 2
"""Everything is drawn so many times larger, and scaled down."""
INK, PALE = (30, 34, 40), (105, 112, 122)
"""Colors of text (red, green, blue)."""
COLORS = (
    (78, 121, 167),
    (242, 142, 43),
    (89, 161, 79),
    (176, 122, 161),
    (225, 87, 89),
    (156, 166, 176),
    (118, 183, 178),
    (237, 201, 72),
)
"""Colors of the stages in order (red, green, blue)."""
FONT, FONT_PX = cv2.FONT_HERSHEY_DUPLEX, 30
"""Font, and its size at scale 1, pixels."""


def draw_stages(bars: Sequence[StageBar]) -> NDArray[np.uint8]:
    """Draw the stages of every run as one bar, all on the same scale.

    Args:
        bars: One or more, the first on top.

    Returns:
        (H, WIDTH, 3) uint8 RGB.
    """
    names = list(dict.fromkeys(name for bar in bars for name in bar.stage_ms))
    color_of = {name: COLORS[number % len(COLORS)] for number, name in enumerate(names)}
    longest_ms = max(max(sum(bar.stage_ms.values()) for bar in bars), 1e-9)
    pixels_per_ms = (WIDTH - 2 * MARGIN - TOTAL_ROOM) / longest_ms
    rows = _legend_rows(names)
    height = TOP + len(bars) * (TEXT_ROOM + BAR_HEIGHT + GAP) + len(rows) * LEGEND_ROW + MARGIN // 2
    canvas = Canvas(WIDTH, height)
    top = TOP
    for bar in bars:
        canvas.text(bar.label, MARGIN, top + 14, 15, INK)
        canvas.text(bar.place, MARGIN, top + 38, 12, PALE)
        top += TEXT_ROOM
        _draw_bar(canvas, bar, top, pixels_per_ms, color_of)
        top += BAR_HEIGHT + GAP
    for row in rows:
        for name, left in row:
            canvas.box(left, top, left + 15, top + 15, color_of[name])
            canvas.text(name, left + 22, top + 13, 13, INK)
        top += LEGEND_ROW
    return canvas.picture()


def _draw_bar(
    canvas: Canvas, bar: StageBar, top: int, pixels_per_ms: float, color_of: dict[str, tuple[int, int, int]]
) -> None:
    """Draw one bar: each stage with its milliseconds where there is room, and the frame behind them."""
    left = float(MARGIN)
    for name, ms in bar.stage_ms.items():
        right = left + ms * pixels_per_ms
        canvas.box(left, top, right, top + BAR_HEIGHT, color_of[name])
        number = milliseconds_text(ms)
        width = text_width(number, 13)
        if right - left > width + 8:
            canvas.text(number, (left + right - width) / 2, top + BAR_HEIGHT // 2 + 5, 13, (255, 255, 255))
        left = right
    canvas.text(f"{milliseconds_text(bar.frame_ms)} ms", left + 10, top + 14, 15, INK)
    canvas.text(f"{rate_text(bar.frames_per_s)} frames/s", left + 10, top + 33, 12, PALE)


class Canvas:
    """A white picture to draw on, in pixels of the finished one."""

    def __init__(self, width: int, height: int) -> None:
        """Start with a white picture."""
        self._size = width, height
        self._image = np.full((height * OVERSAMPLING, width * OVERSAMPLING, 3), 255, np.uint8)

    def box(self, left: float, top: float, right: float, bottom: float, color: tuple[int, int, int]) -> None:
        """Fill a rectangle; its right and lower edge belong to its neighbours."""
        first = round(left * OVERSAMPLING), round(top * OVERSAMPLING)
        last = round(right * OVERSAMPLING), round(bottom * OVERSAMPLING)
        self._image[first[1] : last[1], first[0] : last[0]] = color

    def text(self, words: str, left: float, baseline: float, size: int, color: tuple[int, int, int]) -> None:
        """Write a line; characters that the font lacks become question marks."""
        origin = round(left * OVERSAMPLING), round(baseline * OVERSAMPLING)
        cv2.putText(self._image, _plain(words), origin, FONT, OVERSAMPLING * size / FONT_PX, color, 1, cv2.LINE_AA)

    def picture(self) -> NDArray[np.uint8]:
        """Return the finished picture, (H, W, 3) uint8 RGB."""
        return cv2.resize(self._image, self._size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def text_width(words: str, size: int) -> float:
    """Measure a line, pixels."""
    (width, _), _ = cv2.getTextSize(_plain(words), FONT, OVERSAMPLING * size / FONT_PX, 1)
    return width / OVERSAMPLING


def _plain(words: str) -> str:
    return words.encode("ascii", "replace").decode("ascii")


def _legend_rows(names: Sequence[str]) -> list[list[tuple[str, int]]]:
    """Place the names of the stages in rows: each with its left edge, pixels."""
    rows: list[list[tuple[str, int]]] = [[]]
    left = MARGIN
    for name in names:
        width = 22 + round(text_width(name, 13)) + 24
        if left + width > WIDTH and rows[-1]:
            rows.append([])
            left = MARGIN
        rows[-1].append((name, left))
        left += width
    return rows
