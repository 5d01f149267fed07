"""A segmentor, a descriptor and a matcher from outside the package, chosen as `plugins:NAME`."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import normalize

from ism_ros.data.frame import Frame
from ism_ros.data.proposals import Proposals
from ism_ros.descriptors.base import Descriptors, DescriptorSpec
from ism_ros.matching.base import MatcherSpec, Matches, MatchInputs
from ism_ros.matching.sam6d import Sam6dMatcher
from ism_ros.runtime.model_request import ModelRequest
from ism_ros.segmentors.base import Segmentor, SegmentorSpec, create_segmentor


class WithoutTheLargest:
    """The proposals of tiny but the largest one, the ground."""

    name, is_small = "without_the_largest", True

    def __init__(self, segmentor: Segmentor) -> None:
        self._segmentor = segmentor

    def propose(self, frame: Frame, stability_score_threshold: float | None = None) -> Proposals:
        proposals = self._segmentor.propose(frame, stability_score_threshold)
        areas = proposals.masks.flatten(1).sum(dim=1)
        return proposals[areas < areas.max()] if len(proposals) else proposals


class MeanColor:
    """Class token: the mean color; patch tokens: those of 4 x 4 parts."""

    name, is_small, fingerprint = "mean_color", True, "mean color 1"
    crop_size, rotation_sensitive, view_prior_weight = 32, True, 0.0

    def describe(self, crops: Tensor, crop_masks: Tensor) -> Descriptors:
        tokens = crops.sum(dim=(2, 3)) / crop_masks.sum(dim=(1, 2))[:, None]
        parts = crops.unfold(2, 8, 8).unfold(3, 8, 8).mean(dim=(4, 5)).flatten(2).transpose(1, 2)
        return Descriptors(normalize(tokens, dim=1), normalize(parts, dim=2))

    def describe_templates(self, crops: Tensor, crop_masks: Tensor) -> Descriptors:
        return self.describe(crops, crop_masks)


class SemanticOnly:
    """SAM-6D's matches, scored by their class tokens alone."""

    def match(self, inputs: MatchInputs) -> Matches:
        return Sam6dMatcher().match(inputs)

    def final_score(self, matches: Matches, geometric: Tensor, visible_ratio: Tensor, confidence: Tensor) -> Tensor:
        return matches.semantic


def load_segmentor(request: ModelRequest) -> WithoutTheLargest:
    return WithoutTheLargest(create_segmentor("tiny", request.device))


WITHOUT_THE_LARGEST = SegmentorSpec(load_segmentor)
NEEDS_DEPTH = SegmentorSpec(load_segmentor, needs_depth=True)
MEAN_COLOR = DescriptorSpec(lambda request: MeanColor(), matcher="plugins:SEMANTIC_ONLY")
SEMANTIC_ONLY = MatcherSpec(SemanticOnly())
