"""Search for the scale and shift by which borders in depth lie on edges of color.

A depth camera beside the color camera sees the same picture in another scale, by its focal length, and shifted, by its
principal point and by its distance from the color camera: u_color = scale * u_depth + shift, relative to the middle of
the picture. The shift depends on how far things are as well; the one found is that of most borders.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from ism_ros.registration.edges import EDGE_SIDE_PX, DepthEdges

SEARCHED_SCALES = (0.9, 1.75)
"""Range of the ratio of the focal lengths: 1.55 is a RealSense D435, 1.34 an L515, 0.95 a Kinect v1, about 1 a D455."""
SCALE_STEP_RATIO = 1.025
"""Ratio of two scales in the search: half a step moves the outer edges of the picture by 2 pixels."""
FINE_SCALES = tuple(1 + step / 200 for step in range(-6, 7))
"""Factors of the best scale in the second search: a step of the first each way, by less than a pixel at the sides."""
PEAK_RATIO = 0.95
"""Ratio to the best score from which on scales of the second search count in the mean: peaks are flat, and shifts whole
pixels, so that their mean is nearer to the truth than the best of them."""
MAX_SHIFT_PX = round(0.06 * EDGE_SIDE_PX)
"""Largest shift, 6 % of the longer side: 15 mm between the cameras are 3 % at half a metre, and principal
points differ by 2 %."""
WINDOW_PX = EDGE_SIDE_PX // 8
"""Shifts by which the score is compared with chance, in each direction."""
PEAK_PX = 8
"""Distance from a peak within which shifts do not count as chance, pixels of the scaled picture."""
NEAR_SHIFT_PX = round(8 / 640 * EDGE_SIDE_PX)
"""Shift up to which depth counts as registered: registered depth of many cameras is off by some pixels."""
NEAR_SCALE_RATIO = 1.03
"""Ratio of scales up to which depth counts as registered."""
MIN_INSIDE = 100
"""Number of borders that must lie in the image: a mean over so many random directions is 0 within 0.1."""
MAX_EDGES = 6000
"""Number of borders above which every second, third, ... one is taken; noisy depth has up to 20,000."""
SMOOTH_PX = 3
"""Side of the window over which edges of color are averaged, so that steps of the search do not leap over a peak."""


FITS_SIGNIFICANCE = 5.0
"""Significance of depth as it is from which on nothing is searched for: of depth that is not registered it is at most
4, in rendered scenes and frames of real cameras, of registered depth 5 to 16."""
MIN_SIGNIFICANCE = 6.0
"""Least significance of another scale or shift: the best of all that are searched has 3 to 5 by chance, where color and
depth are of different scenes, and above 6 in two of a hundred; depth that is not registered has 6 to 18."""
MIN_SCORE_RATIO = 1.5
"""Least ratio of the score to that of depth as it is: finer scales and shifts of registered depth gain up to 1.1."""


@dataclass(frozen=True)
class Similarity:
    """A scale and a shift, and how well borders in depth lie on edges of color by them.

    Attributes:
        scale: Times that things are larger in color than in depth.
        shift_px: Columns and rows by which the middle of depth is moved, pixels of the scaled picture.
        score: Of `EdgeMatcher.scores`, in [-1, 1].
        significance: Standard deviations of the scores of other shifts by which the score is above their mean.
    """

    scale: float
    shift_px: tuple[float, float]
    score: float
    significance: float


class EdgeMatcher:
    """Scores of scales and shifts of one frame."""

    def __init__(self, color: NDArray[np.complex64], depth: DepthEdges) -> None:
        """Transform the edges of color.

        Args:
            color: (h, w) complex64, of `color_edges`.
            depth: Borders in depth.
        """
        stride = -(-len(depth) // MAX_EDGES) or 1
        self._points, self._directions = depth.points_px[::stride], depth.directions[::stride]
        self._height, self._width = color.shape
        parts = color.view(np.float32).reshape(self._height, self._width, 2)
        smooth = cv2.blur(parts, (SMOOTH_PX, SMOOTH_PX))
        rows = cv2.getOptimalDFTSize(self._height + 2 * WINDOW_PX) - self._height - WINDOW_PX
        columns = cv2.getOptimalDFTSize(self._width + 2 * WINDOW_PX) - self._width - WINDOW_PX
        padded = cv2.copyMakeBorder(smooth, WINDOW_PX, rows, WINDOW_PX, columns, cv2.BORDER_CONSTANT)
        self._shape = padded.shape[:2]
        self._spectrum = cv2.dft(padded, flags=cv2.DFT_COMPLEX_OUTPUT).view(np.complex64)[..., 0]
        self._borders = np.empty(self._shape, np.complex64)  # kept, as large new arrays cost more than what is done
        self._counts = np.empty(self._shape, np.float32)

    def scores(self, scale: float) -> NDArray[np.float32]:
        """Score one scale with all shifts.

        S(s, t) = 1 / n * sum over the n borders that lie in the image at q = s p + t of |E(q)| cos(2 (theta_E(q) -
        theta)), with the edges E of color and the directions theta of the borders at p. Where there is no relation it
        is about 0 on average, however much texture there is.

        Args:
            scale: Times that things are larger in color than in depth.

        Returns:
            (2 WINDOW_PX + 1, 2 WINDOW_PX + 1) float32 by the shift of rows and columns from -WINDOW_PX on; NaN where
            fewer than MIN_INSIDE borders lie in the image.
        """
        height, width = self._shape
        middle = np.array([(self._width - 1) / 2, (self._height - 1) / 2])
        columns, rows = np.rint(self._points * scale + middle).astype(np.intp).T + WINDOW_PX
        near = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
        places = rows[near] * width + columns[near]
        shifts = np.arange(-WINDOW_PX, WINDOW_PX + 1)
        inside = self._inside(places, shifts)
        correlation = self._correlation(places, self._directions[near])[np.ix_(shifts, shifts)]
        return np.where(inside >= MIN_INSIDE, correlation / np.maximum(inside, 1), np.float32(np.nan))

    def _correlation(self, places: NDArray[np.intp], directions: NDArray[np.complex64]) -> NDArray[np.float32]:
        """Correlate borders at flat places of the padded picture with the edges of color, for all cyclic shifts."""
        self._borders.fill(0)
        np.add.at(self._borders.reshape(-1), places, directions)
        parts = self._borders.view(np.float32).reshape(*self._shape, 2)
        cv2.dft(parts, dst=parts, flags=cv2.DFT_COMPLEX_OUTPUT)
        np.conjugate(self._borders, out=self._borders)
        np.multiply(self._borders, self._spectrum, out=self._borders)
        cv2.dft(parts, dst=parts, flags=cv2.DFT_INVERSE | cv2.DFT_SCALE)
        return self._borders.real

    def _inside(self, places: NDArray[np.intp], shifts: NDArray[np.intp]) -> NDArray[np.float32]:
        """Count the borders that lie in the image at each shift of rows and columns."""
        self._counts.fill(0)
        np.add.at(self._counts.reshape(-1), places, 1)
        sums = cv2.integral(self._counts, sdepth=cv2.CV_32F)
        tops, lefts = WINDOW_PX - shifts, WINDOW_PX - shifts
        bottoms, rights = tops + self._height, lefts + self._width
        high = sums[np.ix_(bottoms, rights)] - sums[np.ix_(tops, rights)]
        low = sums[np.ix_(bottoms, lefts)] - sums[np.ix_(tops, lefts)]
        return np.asarray(high - low, np.float32)

    def best(self, scale: float, max_shift_px: int) -> Similarity | None:
        """Find the best shift at one scale.

        Args:
            scale: Times that things are larger in color than in depth.
            max_shift_px: Largest shift in each direction, pixels of the scaled picture.

        Returns:
            The best one; None where too few borders lie in the image.
        """
        scores = self.scores(scale)
        first, last = WINDOW_PX - max_shift_px, WINDOW_PX + max_shift_px + 1
        allowed = scores[first:last, first:last]
        if np.isnan(allowed).all():
            return None
        row, column = np.unravel_index(int(np.nanargmax(allowed)), allowed.shape)
        return Similarity(
            scale,
            (float(column - max_shift_px), float(row - max_shift_px)),
            float(allowed[row, column]),
            _significance(scores, int(row) + first, int(column) + first),
        )


def find_similarity(color: NDArray[np.complex64], depth: DepthEdges) -> Similarity | None:
    """Find how depth lies to color, if certainly otherwise than registered.

    Depth that fits as it is, at scale 1 within NEAR_SHIFT_PX, ends the matter. Else the most significant of all scales
    and shifts must be MIN_SIGNIFICANCE standard deviations above chance and score MIN_SCORE_RATIO times what depth
    scores as it is, within NEAR_SCALE_RATIO and NEAR_SHIFT_PX.

    Args:
        color: (h, w) complex64, of `color_edges`.
        depth: Borders in depth.

    Returns:
        The scale and shift; None where depth fits as it is, or where that cannot be told.
    """
    if len(depth) < MIN_INSIDE:
        return None
    matcher = EdgeMatcher(color, depth)
    as_it_is = matcher.best(1.0, NEAR_SHIFT_PX)
    if as_it_is is None or as_it_is.significance >= FITS_SIGNIFICANCE:
        return None
    scales = searched_scales()
    best = _most_significant([matcher.best(scale, MAX_SHIFT_PX) for scale in scales])
    if best is None:
        return None
    fine = [found for factor in FINE_SCALES if (found := matcher.best(best.scale * factor, MAX_SHIFT_PX)) is not None]
    peak = _most_significant(fine) or best
    near_scales = [scale for scale in scales if abs(math.log(scale)) <= math.log(NEAR_SCALE_RATIO)]
    near = [found.score for scale in near_scales if (found := matcher.best(scale, NEAR_SHIFT_PX)) is not None]
    is_clear = peak.score > MIN_SCORE_RATIO * max([0.0, *near])
    is_inside = max(map(abs, peak.shift_px)) < MAX_SHIFT_PX  # else the peak is one of shifts beyond
    return _middle(peak, fine) if is_clear and is_inside and peak.significance >= MIN_SIGNIFICANCE else None


def searched_scales() -> list[float]:
    """Return the scales of the search, 1 among them."""
    step = math.log(SCALE_STEP_RATIO)
    low, high = (math.log(scale) / step for scale in SEARCHED_SCALES)
    return [math.exp(step * number) for number in range(math.ceil(low), math.floor(high) + 1)]


def _middle(peak: Similarity, around: Sequence[Similarity]) -> Similarity:
    """Average scale and shift over the top of a peak, `around` it, weighted by the score above PEAK_RATIO of it."""
    least_score = PEAK_RATIO * peak.score
    top = [one for one in around if one.score > least_score and _is_near(one.shift_px, peak.shift_px)]
    weights = [one.score - least_score for one in top]
    scale, x, y = np.average([(one.scale, *one.shift_px) for one in top], axis=0, weights=weights).tolist()
    return replace(peak, scale=scale, shift_px=(x, y))


def _is_near(shift_px: tuple[float, float], peak_px: tuple[float, float]) -> bool:
    return max(abs(shift_px[0] - peak_px[0]), abs(shift_px[1] - peak_px[1])) <= PEAK_PX


def _most_significant(candidates: Iterable[Similarity | None]) -> Similarity | None:
    found = [candidate for candidate in candidates if candidate is not None]
    return max(found, key=lambda candidate: candidate.significance) if found else None


def _significance(scores: NDArray[np.float32], row: int, column: int) -> float:
    """Compute the standard deviations by which a score is above those of other shifts."""
    others = scores.copy()
    others[max(0, row - PEAK_PX) : row + PEAK_PX + 1, max(0, column - PEAK_PX) : column + PEAK_PX + 1] = np.nan
    others = others[np.isfinite(others)]
    return float((scores[row, column] - others.mean()) / max(float(others.std()), 1e-6)) if others.size else 0.0
