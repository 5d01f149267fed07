"""Selection of detections from scored proposals: non-maximum suppression, thresholds, order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ism_ros.data.detections import Detections
from ism_ros.data.nms import mask_nms, nms
from ism_ros.data.proposals import Proposals
from ism_ros.matching.base import Matches
from ism_ros.matching.scores.geometry import Geometry
from ism_ros.objects.library import ObjectLibrary
from ism_ros.pose.alignment import ObjectAlignments


@dataclass(frozen=True)
class ScoredProposals:
    """All proposals of a frame that may be instances, in any order.

    Attributes:
        detections: K of them, with scores and the poses of their best templates.
        rows: (K,) int64, their indices in the frame's proposals.
        alignments: Alignments of the objects' views with the proposals; None where the matcher made none.
    """

    detections: Detections
    rows: Tensor
    alignments: ObjectAlignments | None = None

    @staticmethod
    def empty(height: int, width: int, device: torch.device | str) -> ScoredProposals:
        """Make a result without proposals.

        Args:
            height: Of the frame, pixels.
            width: Of the frame, pixels.
            device: PyTorch device of the tensors.

        Returns:
            K = 0.
        """
        none = torch.zeros(0, dtype=torch.int64, device=device)
        return ScoredProposals(Detections.empty(height, width, device), none)


def matched_proposals(proposals: Proposals, matches: Matches) -> Proposals:
    """Return what of the proposals is matched, with the masks of verified objects.

    Args:
        proposals: N proposals.
        matches: M of them.

    Returns:
        The M matched ones.
    """
    matched = proposals[matches.rows]
    return matched if matches.verified is None else Proposals(matches.verified.masks, matched.confidence)


def scored_proposals(
    proposals: Proposals,
    library: ObjectLibrary,
    matches: Matches,
    geometry: Geometry,
    score: Tensor,
    similarity: Tensor,
) -> ScoredProposals:
    """Combine the results of matching and verification.

    Args:
        proposals: The K matched ones.
        library: The objects.
        matches: Of K of N proposals.
        geometry: Of the K.
        score: (K,) final score.
        similarity: (N, O, T) cosines of class tokens.

    Returns:
        The K proposals with scores and poses.
    """
    rows, shape = torch.nonzero(matches.rows)[:, 0], matches.shape
    rotation, translation_m, verified = geometry.rotation, geometry.translation_m, matches.verified
    if verified is not None:
        posed = matches.is_posed
        rotation = torch.where(posed[:, None, None], verified.rotation, rotation)
        translation_m = torch.where(posed[:, None], verified.translation_m, translation_m)
    detections = Detections(
        masks=proposals.masks,
        boxes_xyxy=proposals.boxes_xyxy,
        object_index=matches.object_index,
        template_index=matches.template_index if shape is None else shape.template_index,
        score=score,
        semantic_score=matches.semantic,
        appearance_score=matches.appearance,
        geometric_score=geometry.score,
        visible_ratio=geometry.visible_ratio,
        rotation=rotation,
        translation_m=translation_m,
        object_ids=library.ids,
        category_ids=library.category_ids,
        view_similarity=similarity[rows, matches.object_index],
        fit_score=torch.zeros_like(score) if shape is None else shape.score,
        pose_covariance=None if verified is None else verified.pose_covariance,
        evidence=None if verified is None else verified.evidence,
    )
    return ScoredProposals(detections, rows, None if shape is None else shape.alignments)


class SelectionSettings(Protocol):
    """Settings of `select`.

    Attributes:
        score_threshold: Least final score.
        nms_threshold: Largest box IoU of two detections of one object.
        overlap_threshold: Largest mask IoU of two detections of different objects; 1 = any.
        max_detections: Most detections of a frame.
    """

    score_threshold: float
    nms_threshold: float
    overlap_threshold: float
    max_detections: int


def select(detections: Detections, settings: SelectionSettings) -> Tensor:
    """Choose the detections that are published.

    Of some detections, only the score threshold may leave none: `best_rejected` of the model and the check of units
    (result_checks) take an empty result to mean that no score reached it.

    Args:
        detections: In any order.
        settings: Thresholds.

    Returns:
        (K,) int64 rows, best first.
    """
    kept = nms(detections.boxes_xyxy, detections.score, settings.nms_threshold, detections.object_index)
    kept = kept[detections.score[kept] >= settings.score_threshold]
    if settings.overlap_threshold < 1.0:
        kept = mask_nms(detections.masks, kept, settings.overlap_threshold)
    return kept[: settings.max_detections]
