"""Answers that identical requests get again."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Any

from ism_ros.server.model_process.inference_runner import Ask
from ism_ros.server.model_process.object_cache import signature


class ResultCache:
    """The least recently used go beyond `budget_bytes`; 0 keeps nothing. For one thread."""

    def __init__(self, budget_bytes: int) -> None:
        self.hits = self.misses = 0
        self._budget_bytes = budget_bytes
        self._size = 0
        self._kept: OrderedDict[bytes, tuple[dict[str, Any], int]] = OrderedDict()

    @property
    def is_on(self) -> bool:
        return self._budget_bytes > 0

    def get(self, key: bytes) -> dict[str, Any] | None:
        """The answer that was put under `key`, or None."""
        kept = self._kept.get(key)
        if kept is None:
            self.misses += 1
            return None
        self.hits += 1
        self._kept.move_to_end(key)
        return kept[0]

    def put(self, key: bytes, answer: dict[str, Any]) -> None:
        size = _size(answer)
        if size > self._budget_bytes or key in self._kept:
            return
        self._kept[key] = answer, size
        self._size += size
        while self._size > self._budget_bytes:
            self._size -= self._kept.popitem(last=False)[1][1]


def key_of(ask: Ask, library_version: int) -> bytes:
    """Of everything that an answer depends on: pixels, camera, options, and the objects with their files."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(ask.rgb)
    digest.update(ask.depth or b"")
    named = None if ask.named is None else (ask.named, signature(ask.named.spec()))
    options = (len(ask.rgb), ask.depth is None, ask.intrinsics, ask.depth_scale, named, ask.object_ids)
    choices = (ask.segmentor, ask.stability_score_threshold, ask.score_threshold, ask.min_mask_pixels)
    digest.update(repr((options, choices, ask.visualization, library_version)).encode())
    return digest.digest()


def _size(answer: dict[str, Any]) -> int:
    """About so many bytes: run lengths and the picture are nearly all of it."""
    runs = sum(len(found["segmentation"]["counts"]) + 600 for found in answer["detections"])
    return 1000 + runs + len(answer["visualization"] or "")
