"""What a matcher is, and which there are: how proposals and known objects are compared and scored.

N proposals, M of them matched, O objects, T templates an object, P patches a crop. Imports no PyTorch, which takes
seconds: helps of commands list the names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from ism_ros.runtime.out_of_memory import OutOfMemoryCounter
from ism_ros.runtime.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

    from ism_ros.data.detection_evidence import DetectionEvidence
    from ism_ros.data.frame import Frame
    from ism_ros.data.proposals import Proposals
    from ism_ros.descriptors.base import Descriptors
    from ism_ros.objects.library import ObjectLibrary
    from ism_ros.pose.alignment import ObjectAlignments


@dataclass(frozen=True)
class MatchInputs:
    """Inputs of a matcher: everything known of a frame's proposals.

    Attributes:
        frame: The frame.
        proposals: Its N proposals.
        descriptors: N rows, of the proposals' crops.
        library: The O known objects, at least one.
        similarity: (N, O, T) cosines of class tokens in [0, 1].
        confidence_threshold: Least semantic score of a proposal that is scored further.
        view_prior_weight: Weight of `similarity` in the choice of a view, a property of the descriptor.
        recoveries: Counts where memory ran out.
        is_sought: (O,) bool, which objects are verified, by `verified`; None = all.
    """

    frame: Frame
    proposals: Proposals
    descriptors: Descriptors
    library: ObjectLibrary
    similarity: Tensor
    confidence_threshold: float = 0.2
    view_prior_weight: float = 0.0
    recoveries: OutOfMemoryCounter = field(default_factory=OutOfMemoryCounter)
    is_sought: Tensor | None = None


@dataclass(frozen=True)
class Matches:
    """The M of N proposals that are scored further, each with its object.

    Attributes:
        rows: (N,) bool, which proposals.
        object_index: (M,) int64, index of the object.
        template_index: (M,) int64, its best template.
        semantic: (M,) float32 in [0, 1], semantic score.
        appearance: (M,) float32 in [0, 1], appearance score.
        visible_ratio: (M,) float32 in [0, 1], fraction of the template's valid patches that are visible.
        shape: Shape scores; None where the matcher does not align shapes with the depth.
        verified: Probabilities, poses and masks; None where the matcher does not verify poses.
    """

    rows: Tensor
    object_index: Tensor
    template_index: Tensor
    semantic: Tensor
    appearance: Tensor
    visible_ratio: Tensor
    shape: ShapeMatches | None = None
    verified: VerifiedMatches | None = None

    @property
    def is_posed(self) -> Tensor:
        """(M,) bool, whether the matcher refined a pose."""
        if self.verified is None:
            return self.object_index < 0  # none
        return self.verified.rotation.isfinite().flatten(1).all(dim=1)


@dataclass(frozen=True)
class ShapeMatches:
    """Agreement of the shapes of M matched objects with the depth.

    Attributes:
        score: (M,) float32 in [0, 1]; 0 where it is not known.
        template_index: (M,) int64, the template nearest to the best aligned view.
        alignments: Alignments of all candidate objects with the N proposals.
    """

    score: Tensor
    template_index: Tensor
    alignments: ObjectAlignments


@dataclass(frozen=True)
class VerifiedMatches:
    """What verification says of M matches.

    Attributes:
        probability: (M,) float32 in [0, 1], that the object is there.
        rotation: (M, 3, 3) object-to-camera; NaN where the object could not be verified, and without depth.
        translation_m: (M, 3) position of the object's origin in the camera frame, metres; NaN likewise.
        pose_covariance: (M, 6, 6) of x, y, z (metres) and rotations about x, y, z (radians); NaN likewise.
        masks: (M, H, W) bool, the visible silhouettes; the proposals' masks where these are nearly the same or more
            probable, and where there is no pose.
        evidence: Of M matches, what the probability was made of; NaN where the object could not be verified.
    """

    probability: Tensor
    rotation: Tensor
    translation_m: Tensor
    pose_covariance: Tensor
    masks: Tensor
    evidence: DetectionEvidence


class Matcher(Protocol):
    """A method that finds the object of each proposal and scores the match."""

    def match(self, inputs: MatchInputs) -> Matches:
        """Choose the proposals that are scored further, and the object of each.

        Args:
            inputs: At least one proposal and one object.

        Returns:
            The matches.
        """
        ...

    def final_score(self, matches: Matches, geometric: Tensor, visible_ratio: Tensor, confidence: Tensor) -> Tensor:
        """Combine the scores of the matches.

        Args:
            matches: M matches of this matcher.
            geometric: (M,) geometric score in [0, 1].
            visible_ratio: (M,) in [0, 1]; 0 where there is no geometric score.
            confidence: (M,) of the segmentor, in [0, 1].

        Returns:
            (M,) final score in [0, 1].
        """
        ...


@dataclass(frozen=True)
class MatcherSpec:
    """A matcher that can be chosen.

    Attributes:
        matcher: The matcher, which has no state.
        prepare_cpu: Is called once before the first frame on a CPU; None = there is nothing to prepare.
        searches_by_shape: Whether what it did not find is searched by shape: it can tell what is really there.
        colorless_in_gray: Whether the looks of objects without colors are compared in gray.
    """

    matcher: Matcher
    prepare_cpu: Callable[[], None] | None = None
    searches_by_shape: bool = False
    colorless_in_gray: bool = False


MATCHERS: Registry[MatcherSpec] = Registry(
    "matcher",
    MatcherSpec,
    "ism_ros.matchers",
    {
        "sam6d": "ism_ros.matching.sam6d:SAM6D",
        "noctis": "ism_ros.matching.noctis:NOCTIS",
        "shape": "ism_ros.matching.shape:SHAPE",
        "verified": "ism_ros.matching.verified:VERIFIED",
    },
)
"""Matchers by name (setting `scoring`). A new one is one new file and one line here, or the entry point or
`module:attr` of a MatcherSpec elsewhere."""
