"""Class-agnostic proposals: everything in a frame that could be an object. One file a segmentor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ism_ros.checkpoints.catalog import find_checkpoint
from ism_ros.data.frame import Frame
from ism_ros.data.proposals import Proposals

if TYPE_CHECKING:
    from ism_ros.runtime.out_of_memory import OutOfMemoryCounter
    from ism_ros.segmentors.sam.automatic_masks import MaskOptions

SEGMENTORS = ("depth", "tiny", "sam", "sam2", "fastsam")
SMALL_SEGMENTORS = {"depth", "tiny"}
"""Several frames at once, each on one thread of a CPU, take these less time than one after the other on all threads."""


class Segmentor(Protocol):
    """Finds what could be an object, without knowing which."""

    @property
    def name(self) -> str: ...

    def propose(self, frame: Frame, stability_score_threshold: float | None = None) -> Proposals:
        """Proposals of `frame`, at most about 1,000, masks at the frame's size on this segmentor's device.

        stability_score_threshold: least stability of a mask, where the segmentor knows such a thing; None = its own.
        A frame in which nothing is found gives an empty result.
        """
        ...


def create_segmentor(
    name: str,
    device: str = "cpu",
    model: str = "",
    checkpoints_dir: Path | None = None,
    options: MaskOptions | None = None,
    recoveries: OutOfMemoryCounter | None = None,
) -> Segmentor:
    """The segmentor called `name`; ValueError lists the names there are, or says which checkpoint is missing.

    model: size of a neural segmentor, or the path of its checkpoint; empty = its usual size. checkpoints_dir: where
    checkpoints are looked for. options: of segmentors of the SAM family. recoveries: counts where memory ran out.
    """
    if name == "depth":
        from ism_ros.segmentors.depth import DepthSegmentor

        return DepthSegmentor(device=device)
    if name == "tiny":
        from ism_ros.segmentors.tiny.tiny_segmentor import TinySegmentor

        return TinySegmentor(device, Path(model) if model else None)
    if name == "sam":
        from ism_ros.segmentors.sam.sam_segmentor import sam_segmentor

        path = find_checkpoint(checkpoints_dir or Path(), name, model or "vit_h")
        return sam_segmentor(path, device, options, recoveries=recoveries)
    if name == "sam2":
        from ism_ros.segmentors.sam.sam2_segmentor import sam2_segmentor

        path = find_checkpoint(checkpoints_dir or Path(), name, model or "base_plus")
        return sam2_segmentor(path, device, options, recoveries)
    if name == "fastsam":
        from ism_ros.segmentors.fastsam.fastsam_segmentor import FastSamSegmentor
        from ism_ros.segmentors.sam.automatic_masks import MaskOptions

        path = find_checkpoint(checkpoints_dir or Path(), name, model or "x")
        options = options or MaskOptions()
        return FastSamSegmentor(path, device, options.fastsam_confidence, options.fastsam_nms)
    raise ValueError(f"segmentor '{name}' is unknown; choose one of: {', '.join(SEGMENTORS)}")
