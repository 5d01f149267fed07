"""Crops of single objects as a robot gets them: turned, badly cut out, half hidden, blurred, in other light."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Rng = np.random.Generator
Mask = NDArray[np.bool_]


def changed_crop(rng: Rng, rgb: NDArray[np.uint8], mask: Mask) -> tuple[NDArray[np.uint8], Mask]:
    """`rgb` (S, S, 3) and `mask` (S, S) changed at random; the mask keeps some pixels."""
    rgb, turned = _turned(rng, rgb, mask)
    mask = turned if turned.sum() > 30 else mask
    changed = _badly_cut(rng, mask)
    mask = changed if changed.sum() > max(30, 0.25 * mask.sum()) else mask
    return _changed_light(rng, _coarser(rng, rgb)), mask


def _turned(rng: Rng, rgb: NDArray[np.uint8], mask: Mask) -> tuple[NDArray[np.uint8], Mask]:
    """Any turn in the plane, a little stretch and shear."""
    size = mask.shape[0]
    angle = rng.uniform(0, 2 * np.pi)
    c, s = np.cos(angle), np.sin(angle)
    linear = np.array(((c, -s), (s, c))) @ (np.eye(2) + rng.normal(0, 0.04, (2, 2))) * rng.uniform(0.75, 0.95)
    middle = np.full(2, (size - 1) / 2)
    matrix = np.c_[linear, middle - linear @ middle]
    out = cv2.warpAffine(rgb, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    turned = cv2.warpAffine(mask.astype(np.uint8), matrix, (size, size), flags=cv2.INTER_NEAREST)
    return np.asarray(out, np.uint8), turned > 0


def _badly_cut(rng: Rng, mask: Mask) -> Mask:
    """The outline moved in or out, wavy, with a part missing or something strange added."""
    size = mask.shape[0]
    out = mask.astype(np.uint8)
    if rng.random() < 0.6:
        side = int(rng.integers(2, 8))
        out = (cv2.dilate if rng.random() < 0.5 else cv2.erode)(out, np.ones((side, side), np.uint8))
    if rng.random() < 0.5:
        field = cv2.resize(rng.normal(0, 1, (16, 16)).astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
        soft = cv2.GaussianBlur(out.astype(np.float32), (0, 0), 2.0)
        out = (soft + rng.uniform(0.05, 0.25) * field > 0.5).astype(np.uint8)
    if rng.random() < 0.35:
        angle = rng.uniform(0, 2 * np.pi)
        y, x = np.mgrid[:size, :size]
        along = (x - size / 2) * np.cos(angle) + (y - size / 2) * np.sin(angle)
        inside = along[mask]
        out[along > np.quantile(inside, rng.uniform(0.5, 0.98))] = 0
    if rng.random() < 0.2:
        centre = int(rng.integers(size)), int(rng.integers(size))
        axes = int(rng.uniform(0.05, 0.2) * size), int(rng.uniform(0.05, 0.2) * size)
        cv2.ellipse(out, centre, axes, float(rng.uniform(0, 180)), 0, 360, int(rng.random() < 0.4), -1)
    return out > 0


def _coarser(rng: Rng, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """As seen from further away, at times, or out of focus."""
    size = rgb.shape[0]
    if rng.random() < 0.5:
        small = int(rng.uniform(0.22, 0.9) * size)
        rgb = cv2.resize(rgb, (small, small), interpolation=cv2.INTER_AREA)
        rgb = cv2.resize(rgb, (size, size), interpolation=int(rng.choice([cv2.INTER_LINEAR, cv2.INTER_NEAREST])))
    if rng.random() < 0.2:
        rgb = cv2.GaussianBlur(rgb, (0, 0), rng.uniform(0.5, 1.8))
    return np.asarray(rgb, np.uint8)


def _changed_light(rng: Rng, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Exposure, contrast, tint, a shade across, noise; hues stay, as they tell objects apart."""
    size = rgb.shape[0]
    image = rgb.astype(np.float32) * np.float32(np.exp(rng.normal(0, 0.25)))
    image *= np.exp(rng.normal(0, 0.05, 3)).astype(np.float32)
    mean = image.mean()
    image = (image - mean) * np.float32(np.exp(rng.normal(0, 0.15))) + mean + np.float32(rng.normal(0, 6))
    if rng.random() < 0.3:
        angle = rng.uniform(0, 2 * np.pi)
        y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j].astype(np.float32)
        image *= (1 + rng.uniform(0, 0.4) * (x * np.cos(angle) + y * np.sin(angle)))[..., None]
    if rng.random() < 0.4:
        image = image + rng.normal(0, rng.uniform(1, 9), image.shape).astype(np.float32)
    return np.clip(image, 0, 255).astype(np.uint8)
