"""Responses that identical requests get again."""

from __future__ import annotations

import hashlib

from cachetools import LRUCache

from ism_ros.server.model_process.messages import ResponseFields
from ism_ros.server.objects.file_signature import file_signature
from ism_ros.server.requests.inference_input import InferenceInput


class ResultCache:
    """A cache of responses within a budget; the least recently used go first. Not thread-safe.

    Attributes:
        hits: How often a response was there.
        misses: How often it was not.
    """

    def __init__(self, budget_bytes: int) -> None:
        """Initialize.

        Args:
            budget_bytes: Memory for responses, bytes; 0 keeps nothing.
        """
        self.hits = self.misses = 0
        self._responses: LRUCache[bytes, ResponseFields] = LRUCache(budget_bytes, getsizeof=_size_bytes)

    @property
    def is_on(self) -> bool:
        """Whether anything is kept."""
        return self._responses.maxsize > 0

    def get(self, key: bytes) -> ResponseFields | None:
        """Return the response to a request, or None.

        Args:
            key: As of `request_key`.
        """
        response = self._responses.get(key)
        if response is None:
            self.misses += 1
        else:
            self.hits += 1
        return response

    def put(self, key: bytes, response: ResponseFields) -> None:
        """Keep a response, unless it is larger than the budget.

        Args:
            key: As of `request_key`.
            response: The response's fields.
        """
        if _size_bytes(response) <= self._responses.maxsize:
            self._responses[key] = response


def request_key(request: InferenceInput, library_version: int) -> bytes:
    """Hash everything that a response depends on: pixels, camera, options, and the objects with their files.

    Args:
        request: The request.
        library_version: Version of the server's objects.

    Returns:
        16 bytes.
    """
    digest = hashlib.blake2b(digest_size=16)
    digest.update(request.rgb)
    digest.update(request.depth or b"")
    named = None if request.path_object is None else (request.path_object, file_signature(request.path_object.spec()))
    inputs = (
        len(request.rgb),
        request.depth is None,
        request.intrinsics,
        request.depth_scale,
        named,
        request.object_ids,
    )
    options = (
        request.segmentor, request.stability_score_threshold, request.score_threshold, request.min_mask_pixels
    )  # fmt: skip
    digest.update(repr((inputs, options, request.visualization, library_version)).encode())
    return digest.digest()


def _size_bytes(response: ResponseFields) -> int:
    """Estimate the size of a response: run lengths and the picture are nearly all of it."""
    runs = sum(len(found["segmentation"]["counts"]) + 600 for found in response["detections"])
    return 1000 + runs + len(response["visualization"] or "")
