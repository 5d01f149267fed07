"""Shards of training data as PyTorch datasets."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from ism_ros.segmentors.tiny_input import encode

Rng = np.random.Generator
VALIDATION_EVERY = 25
"""One shard in so many is not trained on. (Its objects are; evaluation on unseen ones is benchmarks/bench_default.)"""


@lru_cache(maxsize=4096)
def _array(file: Path) -> NDArray[Any]:
    return np.load(file, mmap_mode="r")


def find_shards(data: Path) -> list[Path]:
    """Finished shards, in order."""
    return sorted(path for path in (data / "scenes").glob("[0-9]*") if path.suffix != ".part")


def held_back(shard: Path) -> bool:
    """Whether a shard is for validation."""
    return int(shard.name) % VALIDATION_EVERY == VALIDATION_EVERY - 1


class SceneDataset(Dataset[tuple[Tensor, Tensor]]):
    """Encoded scenes (10, 240, 320) float32 and their instances (120, 160) uint8, at random changed.

    augment: flips, cuts, colours, and depth or colour left out at times; the same for the same (seed, index, epoch).
    """

    def __init__(self, shards: list[Path], augment: bool, seed: int = 0) -> None:
        self._places = [(shard, row) for shard in shards for row in range(len(_array(shard / "camera.npy")))]
        self._augment = augment
        self._seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        shard, row = self._places[index]
        rgb, depth, instance, lens = (
            np.array(_array(shard / f"{name}.npy")[row]) for name in ("rgb", "depth_mm", "instance", "camera")
        )
        depth_m = depth.astype(np.float32) / 1000
        kept: tuple[bool, bool] = (True, True)
        if self._augment:
            rng = np.random.default_rng([31, self._seed, self.epoch, index])
            rgb, depth_m, instance, lens = _cut(rng, rgb, depth_m, instance, lens)
            rgb = changed_colours(rng, rgb)
            kept = ((True, True), (True, False), (False, True))[rng.choice(3, p=[0.76, 0.14, 0.1])]
        fx, fy, cx, cy = (float(value) for value in lens)
        pixels = encode(rgb if kept[0] else None, depth_m if kept[1] else None, (fx, fy, cx, cy))
        return torch.from_numpy(pixels), torch.from_numpy(np.ascontiguousarray(instance[::2, ::2]))


def _cut(
    rng: Rng, rgb: NDArray[np.uint8], depth: NDArray[np.float32], instance: NDArray[np.uint8], lens: NDArray[np.float32]
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.uint8], NDArray[np.float32]]:
    """A part of the scene at the size of the whole, mirrored half of the time."""
    height, width = depth.shape
    fx, fy, cx, cy = lens
    if rng.random() < 0.5:
        rgb, depth, instance = (np.ascontiguousarray(image[:, ::-1]) for image in (rgb, depth, instance))
        cx = width - 1 - cx
    if rng.random() < 0.6:
        scale = float(np.exp(rng.uniform(0, np.log(1.8))))
        left, top = rng.uniform(0, width - width / scale), rng.uniform(0, height - height / scale)
        matrix = np.array(((scale, 0, -left * scale), (0, scale, -top * scale)))
        size = (width, height)
        rgb = cv2.warpAffine(rgb, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        depth = cv2.warpAffine(depth, matrix, size, flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT)
        instance = cv2.warpAffine(instance, matrix, size, flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT)
        # a nearer camera, so that metric sizes stay with the picture
        fx, fy, cx, cy = fx * scale, fy * scale, (cx - left) * scale, (cy - top) * scale
    return rgb, depth, instance, np.array((fx, fy, cx, cy))


def changed_colours(rng: Rng, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Brightness, contrast, tint, channels in another order, blur and noise, each at random."""
    image = rgb.astype(np.float32)
    if rng.random() < 0.3:
        image = image[..., rng.permutation(3)]
    if rng.random() < 0.1:
        image = np.repeat(image.mean(axis=-1, keepdims=True), 3, axis=-1)
    mean = image.mean()
    gain = np.exp(rng.normal(0, 0.3)) * np.exp(rng.normal(0, 0.07, 3))
    image = (image - mean) * np.exp(rng.normal(0, 0.25)) + mean
    image = image * gain.astype(np.float32) + np.float32(rng.normal(0, 10))
    if rng.random() < 0.3:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.3))
    if rng.random() < 0.4:
        image = image + rng.normal(0, rng.uniform(1, 10), image.shape).astype(np.float32)
    return np.clip(image, 0, 255).astype(np.uint8)
