"""Random textures: plain, noise, stripes, checks, dots, gradients, prints with text-like marks, metal."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Rng = np.random.Generator

_LETTERS = "ABCDEFGHIKLMNOPRSTUVWXYZabcdeghklmnoprstu0123456789&%"


def random_color(rng: Rng) -> NDArray[np.float32]:
    """Sample a color: a third grays, white and black; the others of any hue, from pale to saturated.

    Args:
        rng: Source of randomness.

    Returns:
        (3,) float32 RGB in [0, 255].
    """
    kind = rng.random()
    if kind < 0.12:
        return np.full(3, rng.uniform(200, 250), np.float32)
    if kind < 0.22:
        return np.full(3, rng.uniform(12, 50), np.float32)
    if kind < 0.34:
        return np.clip(rng.uniform(60, 210) + rng.normal(0, 6, 3), 0, 255).astype(np.float32)
    hsv = np.uint8([[[rng.integers(180), int(255 * rng.uniform(0.2, 1) ** 0.7), rng.integers(60, 256)]]])
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0].astype(np.float32)


def smooth_noise(rng: Rng, height: int, width: int, grain_px: tuple[float, float]) -> NDArray[np.float32]:
    """Sample smooth noise.

    Args:
        rng: Source of randomness.
        height: Pixels.
        width: Pixels.
        grain_px: Size of its grain along x and y, pixels.

    Returns:
        (height, width) float32, mean about 0, standard deviation about 1.
    """
    small = rng.normal(0, 1, (max(2, int(height / grain_px[1])), max(2, int(width / grain_px[0])))).astype(np.float32)
    big = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    return (big - big.mean()) / max(float(big.std()), 1e-6)


def _mix(first: NDArray[np.float32], second: NDArray[np.float32], share: NDArray[np.float32]) -> NDArray[np.float32]:
    return first * (1 - share[..., None]) + second * share[..., None]


def _plain(rng: Rng, height: int, width: int, palette: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.broadcast_to(palette[0], (height, width, 3)).copy()


def _noise(rng: Rng, height: int, width: int, palette: NDArray[np.float32]) -> NDArray[np.float32]:
    grain = float(np.exp(rng.uniform(np.log(3), np.log(60))))
    stretch = float(rng.choice([1, 1, 1, 4, 12]))
    field = smooth_noise(rng, height, width, (grain * stretch, grain)) + 0.5 * smooth_noise(
        rng, height, width, (grain / 3 + 1,) * 2
    )
    soft = rng.uniform(0.3, 6)
    return _mix(palette[0], palette[1], 1 / (1 + np.exp(-soft * field)))


def _stripes(rng: Rng, height: int, width: int, palette: NDArray[np.float32]) -> NDArray[np.float32]:
    y, x = np.mgrid[:height, :width].astype(np.float32)
    angle = float(rng.choice([0, np.pi / 2, np.pi / 4, rng.uniform(0, np.pi)]))
    along = x * np.cos(angle) + y * np.sin(angle)
    pitch = rng.uniform(0.08, 0.5) * height
    phase = (
        along / pitch + rng.random() + rng.choice([0, 0.15]) * smooth_noise(rng, height, width, (width / 3, height / 3))
    )
    band = (np.floor(phase * 3) % 3).astype(int) if rng.random() < 0.4 else (np.floor(phase * 2) % 2).astype(int)
    return palette[band]


def _checks(rng: Rng, height: int, width: int, palette: NDArray[np.float32]) -> NDArray[np.float32]:
    y, x = np.mgrid[:height, :width]
    pitch = max(4, int(rng.uniform(0.06, 0.3) * height))
    return palette[((x // pitch + y // pitch) % 2).astype(int)]


def _dots(rng: Rng, height: int, width: int, palette: NDArray[np.float32]) -> NDArray[np.float32]:
    out = _plain(rng, height, width, palette)
    for _ in range(int(rng.integers(4, 40))):
        centre = int(rng.integers(width)), int(rng.integers(height))
        radius = max(2, int(rng.uniform(0.02, 0.12) * height))
        cv2.circle(out, centre, radius, palette[rng.integers(1, 3)].tolist(), -1, cv2.LINE_AA)
    return out


def _gradient(rng: Rng, height: int, width: int, palette: NDArray[np.float32]) -> NDArray[np.float32]:
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j].astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    along = (x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle)
    return _mix(palette[0], palette[1], np.clip(along * rng.uniform(0.8, 3) + 0.5, 0, 1).astype(np.float32))


def _print(rng: Rng, height: int, width: int, palette: NDArray[np.float32]) -> NDArray[np.float32]:
    """A printed panel: blocks of color, a picture of blobs, words, lines of small print, a bar code."""
    out = _plain(rng, height, width, palette).astype(np.uint8)
    for _ in range(int(rng.integers(0, 4))):
        x0, y0 = int(rng.integers(-width // 4, width)), int(rng.integers(-height // 4, height))
        x1, y1 = x0 + int(rng.uniform(0.1, 0.9) * width), y0 + int(rng.uniform(0.05, 0.6) * height)
        cv2.rectangle(out, (x0, y0), (x1, y1), palette[rng.integers(1, 4)].tolist(), -1)
    for _ in range(int(rng.integers(0, 6))):
        centre = int(rng.integers(width)), int(rng.integers(height))
        axes = max(2, int(rng.uniform(0.04, 0.3) * width)), max(2, int(rng.uniform(0.04, 0.3) * height))
        cv2.ellipse(out, centre, axes, float(rng.uniform(0, 180)), 0, 360, palette[rng.integers(4)].tolist(), -1)
    for _ in range(int(rng.integers(1, 5))):
        text = "".join(rng.choice(list(_LETTERS), int(rng.integers(2, 9))))
        place = int(rng.integers(-width // 8, width * 2 // 3)), int(rng.integers(height // 8, height))
        scale, font = rng.uniform(0.012, 0.03) * height / 2, int(rng.integers(0, 8))
        ink = palette[rng.integers(1, 4)].tolist()
        cv2.putText(out, text, place, font, float(scale), ink, max(1, round(scale * 2)), cv2.LINE_AA)
    if rng.random() < 0.6:
        x0, y0, pitch = int(rng.integers(width // 2)), int(rng.integers(height // 2)), max(3, height // 20)
        for line in range(int(rng.integers(2, 8))):
            end = x0 + int(width * rng.uniform(0.15, 0.45))
            cv2.line(out, (x0, y0 + line * pitch), (end, y0 + line * pitch), palette[2].tolist(), max(1, pitch // 4))
    if rng.random() < 0.25:
        x0, y0 = int(rng.integers(width * 3 // 4)), int(rng.integers(height * 3 // 4))
        code = np.where(rng.random(width // 4) < 0.5, 20, 240).astype(np.uint8)
        out[y0 : y0 + height // 6, x0 : x0 + len(code)] = code[None, : out[y0 : y0 + 1, x0:].shape[1], None]
    return out.astype(np.float32)


def _brushed(rng: Rng, height: int, width: int, palette: NDArray[np.float32]) -> NDArray[np.float32]:
    gray = np.full(3, rng.uniform(110, 200), np.float32) * rng.uniform(0.94, 1.06, 3).astype(np.float32)
    shade = 0.05 * smooth_noise(rng, height, width, (width, 1.5)) + 0.18 * smooth_noise(
        rng, height, width, (width / 2, height / 3)
    )
    return gray * (1 + shade[..., None])


STYLES: dict[str, Callable[[Rng, int, int, NDArray[np.float32]], NDArray[np.float32]]] = {
    "plain": _plain,
    "noise": _noise,
    "stripes": _stripes,
    "checks": _checks,
    "dots": _dots,
    "gradient": _gradient,
    "print": _print,
    "metal": _brushed,
}
"""How each style is drawn."""


def draw_tile(rng: Rng, style: str, height: int, width: int, palette: NDArray[np.float32]) -> Picture:
    """Draw a texture.

    Args:
        rng: Source of randomness.
        style: One of STYLES.
        height: Pixels.
        width: Pixels.
        palette: (4, 3) RGB in [0, 255].

    Returns:
        (height, width, 3) uint8 RGB, slightly uneven.
    """
    out = STYLES[style](rng, height, width, palette)
    if height >= 32:
        out = out * (1 + rng.uniform(0, 0.04) * smooth_noise(rng, height, width, (width / 4, height / 4))[..., None])
    return np.clip(out, 0, 255).astype(np.uint8)


def sample_palette(rng: Rng) -> NDArray[np.float32]:
    """Sample four colors: unrelated, or two of them shades of the first.

    Args:
        rng: Source of randomness.

    Returns:
        (4, 3) float32 RGB in [0, 255].
    """
    palette = np.stack([random_color(rng) for _ in range(4)])
    if rng.random() < 0.3:
        palette[1] = np.clip(palette[0] * rng.uniform(0.4, 1.6), 0, 255)
    return palette.astype(np.float32)
