"""What a segmentor is, and which there are: class-agnostic proposals of everything that could be an object.

Imports no PyTorch, which takes seconds: helps of commands list the names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from ism_ros.runtime.model_request import ModelRequest
from ism_ros.runtime.out_of_memory import OutOfMemoryCounter
from ism_ros.runtime.registry import Registry

if TYPE_CHECKING:
    from ism_ros.data.frame import Frame
    from ism_ros.data.proposals import Proposals

PromptSource = Literal["grid", "guided"]
"""How SAM and SAM 2 are prompted (segmentors/sam/prompts.py)."""

TILES = ("auto", "off", *(str(per_side) for per_side in range(2, 9)))
"""Values of the setting `tiles`: auto, off, or the number of tiles along each side of a frame (segmentors/tiled.py)."""

SAM6D_MIN_MASK = -1
"""Value of min_mask_pixels that stands for SAM-6D's smallest fractions of the image (data.masks.large_enough)."""

SAM6D_THRESHOLDS: Mapping[str, Any] = {
    "score_threshold": 0.2,
    "overlap_threshold": 1.0,
    "min_mask_pixels": SAM6D_MIN_MASK,
}
"""Settings of SAM-6D as published: its pose estimation takes detections from a score of 0.2 on; it keeps overlapping
detections of different objects; it drops proposals by the fraction of the image that they cover."""


class Segmentor(Protocol):
    """A source of class-agnostic proposals: what could be an object, without knowing which."""

    @property
    def name(self) -> str:
        """The name it is chosen by."""
        ...

    @property
    def is_small(self) -> bool:
        """Whether several frames, each on one thread of a CPU, take less time than one by one on all threads."""
        ...

    def propose(self, frame: Frame, stability_score_threshold: float | None = None) -> Proposals:
        """Find proposals in a frame.

        Args:
            frame: The frame.
            stability_score_threshold: Least stability of a mask, for segmentors that have such a score; None = their
                own.

        Returns:
            At most about 1,000 proposals, masks at the frame's size on this segmentor's device; none is a valid result.
        """
        ...


@dataclass(frozen=True)
class SegmentorSpec:
    """A segmentor that can be chosen, with the facts that others need to know before it is loaded.

    Attributes:
        load: Loads it; raises ValueError with one line where a checkpoint or package is missing.
        needs_depth: Whether it finds nothing in frames without depth.
        cpu_threads: Most threads of PyTorch that make it faster; None = as many as there are.
        thresholds: Settings that suit its scores, by the name of the descriptor used with it, where the defaults do
            not.
        requires: Python packages that it needs beyond the package's own.
        settings: Settings that suit it beside every descriptor, where the defaults do not.
        tile_pixels: Area of the tiles by which it sees large frames where the setting `tiles` is auto; None = it sees
            them as a whole.
    """

    load: Callable[[ModelRequest], Segmentor]
    needs_depth: bool = False
    cpu_threads: int | None = None
    thresholds: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    requires: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    tile_pixels: int | None = None


SEGMENTORS: Registry[SegmentorSpec] = Registry(
    "segmentor",
    SegmentorSpec,
    "ism_ros.segmentors",
    {
        "tiny": "ism_ros.segmentors.tiny.tiny_segmentor:TINY",
        "sam": "ism_ros.segmentors.sam.sam_segmentor:SAM",
        "sam2": "ism_ros.segmentors.sam.sam2_segmentor:SAM2",
        "fastsam": "ism_ros.segmentors.fastsam.fastsam_segmentor:FASTSAM",
    },
)
"""Segmentors by name. A new one is one new file and one line here, or the entry point or `module:attr` of a
SegmentorSpec elsewhere."""


def create_segmentor(
    name: str,
    device: str = "cpu",
    model: str = "",
    checkpoints_dir: Path | None = None,
    settings: Mapping[str, Any] | None = None,
    recoveries: OutOfMemoryCounter | None = None,
) -> Segmentor:
    """Load a segmentor.

    Args:
        name: One of SEGMENTORS, or `module:attr` of a SegmentorSpec.
        device: PyTorch device.
        model: Size of a neural segmentor, or the path of its checkpoint; empty = its usual size.
        checkpoints_dir: Folder that is searched for checkpoints.
        settings: Settings by name, of which it takes its own.
        recoveries: Counts where memory ran out.

    Returns:
        The segmentor, on `device`.

    Raises:
        ValueError: The name is unknown (the message lists those there are), or a checkpoint is missing.
    """
    request = ModelRequest(device, model, checkpoints_dir or Path(), settings or {}, recoveries or OutOfMemoryCounter())
    return load_segmentor(name, request)


def load_segmentor(name: str, request: ModelRequest) -> Segmentor:
    """Load the segmentor of a request, which sees large frames by tiles where the setting `tiles` says so.

    Args:
        name: One of SEGMENTORS, or `module:attr` of a SegmentorSpec.
        request: Device, model and settings.

    Returns:
        The segmentor.

    Raises:
        ValueError: As `create_segmentor`.
    """
    from ism_ros.segmentors.tiled import with_tiles

    spec = SEGMENTORS.get(name)
    return with_tiles(spec.load(request), request.settings.get("tiles", "auto"), spec.tile_pixels)
