"""Class-agnostic proposals: everything in a frame that could be an object. One file a segmentor."""

from __future__ import annotations

from typing import Protocol

from ism_ros.detections import Proposals
from ism_ros.frame import Frame


class Segmentor(Protocol):
    """Finds what could be an object, without knowing which."""

    @property
    def name(self) -> str: ...

    def propose(self, frame: Frame) -> Proposals:
        """Proposals of `frame`, at most about 1,000, masks at the frame's size on this segmentor's device.

        A frame in which nothing is found gives an empty result.
        """
        ...


def create_segmentor(name: str, device: str = "cpu") -> Segmentor:
    """The segmentor called `name`; ValueError lists the names there are."""
    if name == "depth":
        from ism_ros.segmentors.depth import DepthSegmentor

        return DepthSegmentor(device=device)
    raise ValueError(f"segmentor '{name}' is unknown; choose one of: {', '.join(SEGMENTORS)}")


SEGMENTORS = ("depth",)
