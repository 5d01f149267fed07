"""The loops over colors and edges (verification.color_agreement and verification.image_edges have the formulas).

H poses, K samples of an object, A cells of a padded window.
"""

from __future__ import annotations

import math

import numpy as np

from ism_ros.runtime.compilation import HALF, ONE, ZERO, Float, Floats, compiled, compiled_part
from ism_ros.verification import color_agreement
from ism_ros.verification.evidence.compiled_layout import (
    AREA,
    CELLS,
    PADDING,
    STRIDE,
    Bytes,
    Comparison,
    Edges,
    Image,
    Indices,
    Integers,
    Surfaces,
    Vector,
    Windows,
)

MIN_MODEL_VARIANCE = Float(color_agreement.MIN_MODEL_DEVIATION**2)
MIN_SEEN_VARIANCE = Float(color_agreement.MIN_SEEN_DEVIATION**2)
CONTRAST, MIN_BRIGHTNESS = Float(color_agreement.CONTRAST), Float(color_agreement.MIN_BRIGHTNESS)
TWO, THREE, WHITE, TINY = Float(2), Float(3), Float(255), Float(1e-6)
GRAY = (ONE, ONE, ONE)


@compiled
def compare_appearance(
    windows: Windows, comparison: Comparison, samples: Surfaces, image: Image, edges: Edges, terms: Floats
) -> None:
    """Compare the colors of poses with the image, and their outlines with its edges.

    Args:
        windows: Of H poses.
        comparison: Of the same.
        samples: Of their objects.
        image: What they are compared with.
        edges: Of the same.
        terms: (H, 6) that is filled in, in the order of terms.TERMS.
    """
    height, width, _ = image.rgb.shape
    rgb = image.rgb.reshape(height * width, 3)
    colors = np.empty((6, CELLS * CELLS), np.float32)
    relief, work = np.zeros(AREA, np.float32), np.zeros(AREA, np.float32)
    rows, columns = np.empty(CELLS + 2, np.int64), np.empty(CELLS + 2, np.int64)
    light = image.light[0], image.light[1], image.light[2]
    for pose in range(len(windows.cell_px)):
        sample, pixel, values = windows.sample[pose], windows.pixel[pose], terms[pose]
        count = _collect_colors(comparison.compared[pose], sample, pixel, samples.colors[pose], rgb, colors)
        values[0], values[1], values[2], values[3] = _color_agreement(colors, count, light)
        _smooth(comparison.visible[pose], 1, work)
        _smooth(work, STRIDE, relief)
        _find_edge_pixels(windows.origin[pose], windows.cell_px[pose], edges, rows, columns)
        values[4], values[5] = _outline_agreement(comparison.line[pose], relief, edges.levels, rows, columns)


@compiled_part
def _collect_colors(
    compared: Floats, sample: Integers, pixel: Integers, model: Floats, rgb: Bytes, colors: Floats
) -> int:
    """Collect the colors, in [0, 1], of the model and of the image in the cells that are compared; count these."""
    count = 0
    for at in range(AREA):
        if compared[at] > ZERO:
            for channel in range(3):
                colors[channel, count] = model[sample[at], channel]
                colors[channel + 3, count] = Float(rgb[pixel[at], channel]) / WHITE
            count += 1
    return count


@compiled_part
def _color_agreement(colors: Floats, count: int, light: Vector) -> tuple[float, float, float, float]:
    """Compute color_correlation, chroma, balanced_chroma and saturation."""
    red = _channel_agreement(colors[0], colors[3], count)
    green = _channel_agreement(colors[1], colors[4], count)
    blue = _channel_agreement(colors[2], colors[5], count)
    contrast = min((red[3] + green[3] + blue[3]) / THREE / CONTRAST, ONE)
    correlation = (red[2] + green[2] + blue[2]) / THREE
    model, seen = _shares((red[0], green[0], blue[0])), _shares((red[1], green[1], blue[1]))
    balanced = _shares((seen[0] / light[0], seen[1] / light[1], seen[2] / light[2]))
    return correlation * contrast, _difference(model, seen), _difference(model, balanced), _difference(model, GRAY)


@compiled_part
def _channel_agreement(model: Floats, seen: Floats, count: int) -> tuple[float, float, float, float]:
    """Compute the means of a channel of model and image, their correlation, and the model's standard deviation."""
    number = max(Float(count), ONE)
    mean_model = mean_seen = var_model = var_seen = covariance = ZERO
    for index in range(count):
        mean_model += model[index]
        mean_seen += seen[index]
    mean_model, mean_seen = mean_model / number, mean_seen / number
    for index in range(count):
        off_model, off_seen = model[index] - mean_model, seen[index] - mean_seen
        var_model += off_model * off_model
        var_seen += off_seen * off_seen
        covariance += off_model * off_seen
    var_model, var_seen, covariance = var_model / number, var_seen / number, covariance / number
    is_comparable = (var_model > MIN_MODEL_VARIANCE) & (var_seen > MIN_SEEN_VARIANCE)
    correlation = covariance / math.sqrt(max(var_model * var_seen, Float(1e-10))) if is_comparable else ZERO
    return mean_model, mean_seen, correlation, math.sqrt(var_model)


@compiled_part
def _shares(color: Vector) -> Vector:
    """Channels relative to their mean."""
    mean = max((color[0] + color[1] + color[2]) / THREE, MIN_BRIGHTNESS)
    return color[0] / mean, color[1] / mean, color[2] / mean


@compiled_part
def _difference(shares: Vector, others: Vector) -> float:
    total = abs(shares[0] - others[0]) + abs(shares[1] - others[1]) + abs(shares[2] - others[2])
    return min(total / THREE, ONE)


@compiled_part
def _smooth(values: Floats, step: int, smooth: Floats) -> None:
    """Add up five cells `step` apart around each, and three such sums around each."""
    for at in range(3 * STRIDE, AREA - 3 * STRIDE):
        near = values[at - step] + values[at] + values[at + step]
        farther = values[at - 2 * step] + values[at + 2 * step]
        smooth[at] = THREE * near + TWO * farther + values[at - 3 * step] + values[at + 3 * step]


@compiled_part
def _find_edge_pixels(corner: Floats, cell_px: float, edges: Edges, rows: Indices, columns: Indices) -> None:
    """Find the pixels of cells, from one before the window to one behind it, in the level that has about as large ones.

    `rows` has the first pixel of their rows, `columns` their number in it.
    """
    level = min(max(int(np.rint(math.log2(cell_px))) - 1, 0), len(edges.first) - 1)
    scale = HALF ** Float(level + 1)
    for cell in range(CELLS + 2):
        at_px = (Float(cell) - HALF) * cell_px + HALF
        row = min(max(int((corner[1] + at_px) * scale), 0), edges.height[level] - 1)
        columns[cell] = min(max(int((corner[0] + at_px) * scale), 0), edges.width[level] - 1)
        rows[cell] = edges.first[level] + row * edges.width[level]


@compiled_part
def _outline_agreement(
    line: Floats, relief: Floats, levels: Floats, rows: Indices, columns: Indices
) -> tuple[float, float]:
    """Compute edges and inner_edges of lines along the slopes of a smoothed silhouette."""
    outlines = edges = inner_lines = inner_edges = ZERO
    for row in range(CELLS):
        for column in range(CELLS):
            at = (row + PADDING) * STRIDE + column + PADDING
            if line[at] > ZERO:
                across, along = relief[at + 1] - relief[at - 1], relief[at + STRIDE] - relief[at - STRIDE]
                # cos 2b and sin 2b, times the square of the slope
                cosine, sine = across * across - along * along, TWO * across * along
                best = ZERO
                for down in range(3):
                    for right in range(3):
                        pixel = rows[row + down] + columns[column + right]
                        best = max(best, levels[pixel, 0] * cosine + levels[pixel, 1] * sine)
                best /= max(across * across + along * along, TINY)
                if line[at] == ONE:
                    outlines, edges = outlines + ONE, edges + best
                else:
                    inner_lines, inner_edges = inner_lines + ONE, inner_edges + best
    return edges / max(outlines, ONE), inner_edges / max(inner_lines, ONE)
