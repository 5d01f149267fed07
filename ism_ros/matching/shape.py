"""The matcher `shape`: the scores of SAM-6D, and the agreement of size and shape in metres with the depth.

Class tokens are computed from crops of one size: for two objects that differ in their proportions, or a bowl and a can
of one color, they may be alike. Their views, aligned with the depth under the mask (pose.alignment), distinguish them.

N proposals, O objects, T templates an object.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ism_ros.data.boxes import boxes_from_masks
from ism_ros.matching.base import MatcherSpec, Matches, MatchInputs, ShapeMatches
from ism_ros.matching.sam6d import Sam6dMatcher
from ism_ros.matching.sam6d import final_score as final_score_sam6d
from ism_ros.matching.scores.patch_scores import patch_scores_by_template
from ism_ros.matching.scores.similarity import semantic_scores
from ism_ros.objects.library import ObjectLibrary
from ism_ros.pose.alignment import DEPTH_WEIGHT, ObjectAlignments, ViewAlignment, align_views, relative_depth_mse
from ism_ros.pose.observed_points import ObservedPoints, sample_observed_points
from ism_ros.runtime.threads import one_thread

COST_SCALE = 0.7
"""Alignment cost at which the shape score is 1/e."""

CHOICE_DEPTH_WEIGHT, CHOICE_COST_SCALE = 80.0, 0.4
"""Weight of depth in the cost, and the cost at which the score is 1/e, for the choice between objects. Depth has four
times its weight in the choice of a view (DEPTH_WEIGHT): similar objects have the same colors, and a short object and
one seen from its end have the same silhouette."""

CHOICE_WEIGHT = 0.3
"""Weight of the shape score in the choice of the object, relative to the semantic score."""

SCORE_WEIGHT = 2.0
"""Weight of the shape score in the final score. A CAD model often has other colors than the real object, but its size:
from rendered to real images the other scores drop more than the shape score does."""

CANDIDATE_MARGIN = 0.15
"""Distance to the best semantic score within which objects are aligned with the depth. Larger is useless: on noisy
depth no consistency score is above 0.5, which CHOICE_WEIGHT makes 0.15."""

MAX_CANDIDATES = 3
"""Most objects that are aligned with the depth under each mask."""


class ShapeMatcher:
    """Choice of the object by class tokens and alignment of its views with the depth; without depth as SAM-6D."""

    def match(self, inputs: MatchInputs) -> Matches:
        """Align the views of the most similar objects with the depth before one of them is chosen.

        Args:
            inputs: At least one proposal and one object.

        Returns:
            The matches; with shape scores where the frame has depth.
        """
        if not inputs.frame.has_depth:
            return Sam6dMatcher().match(inputs)
        proposals = inputs.proposals
        boxes = proposals.boxes_xyxy if proposals.boxes_are_tight else boxes_from_masks(proposals.masks)
        return match_shape(
            inputs.similarity,
            inputs.descriptors.patch_tokens,
            inputs.library,
            inputs.confidence_threshold,
            sample_observed_points(proposals.masks, boxes, inputs.frame),
            inputs.view_prior_weight,
        )

    def final_score(self, matches: Matches, geometric: Tensor, visible_ratio: Tensor, confidence: Tensor) -> Tensor:
        """Combine SAM-6D's score with the shape score, where there is one.

        Args:
            matches: M matches of this matcher.
            geometric: (M,) geometric score in [0, 1].
            visible_ratio: (M,) in [0, 1].
            confidence: Not used.

        Returns:
            (M,) final score in [0, 1].
        """
        shape = torch.zeros_like(geometric) if matches.shape is None else matches.shape.score
        return final_score(matches.semantic, matches.appearance, geometric, visible_ratio, shape, shape > 0)


@dataclass(frozen=True)
class CandidateShapes:
    """Shape scores of all candidate objects under all masks; 0 where an object is no candidate or has no views.

    Attributes:
        score: (N, O) shape score.
        consistency: (N, O) shape score for the choice of the object.
        template_index: (N, O) int64, template nearest to the best view.
        alignments: Alignments of the candidate objects.
    """

    score: Tensor
    consistency: Tensor
    template_index: Tensor
    alignments: ObjectAlignments


def match_shape(
    similarity: Tensor,
    patch_tokens: Tensor,
    library: ObjectLibrary,
    confidence_threshold: float,
    observed: ObservedPoints,
    view_prior_weight: float = 0.0,
) -> Matches:
    """Match proposals with objects by class tokens and shape, and compare patch tokens with the best template.

    Args:
        similarity: (N, O, T) with `library`'s class tokens.
        patch_tokens: (N, P, C) of the proposals.
        library: The objects.
        confidence_threshold: Proposals whose best semantic score is above it are kept.
        observed: Points and colors sampled under the N masks.
        view_prior_weight: Weight of class tokens in the choice of a view.

    Returns:
        The matches.
    """
    semantic = semantic_scores(similarity)
    is_candidate = candidates(semantic, confidence_threshold)
    best_template = similarity.argmax(dim=2)
    shapes = _align_candidates(similarity, best_template, is_candidate, library, observed, view_prior_weight)
    chosen = chosen_object(semantic, shapes.consistency, is_candidate)
    rows = is_candidate.any(dim=1)
    semantic, score, aligned_template, template_index = (
        of_object.gather(1, chosen[:, None])[rows, 0]
        for of_object in (semantic, shapes.score, shapes.template_index, best_template)
    )
    object_index = chosen[rows]
    appearance, visible_ratio = patch_scores_by_template(
        patch_tokens, torch.nonzero(rows)[:, 0], library.chosen_patch_tokens(object_index, template_index)
    )
    return Matches(
        rows,
        object_index,
        template_index,
        semantic,
        appearance,
        visible_ratio,
        ShapeMatches(score, aligned_template, shapes.alignments),
    )


def _align_candidates(
    similarity: Tensor,
    best_template: Tensor,
    is_candidate: Tensor,
    library: ObjectLibrary,
    observed: ObservedPoints,
    view_prior_weight: float,
) -> CandidateShapes:
    score, consistency = similarity.new_zeros((2, *is_candidate.shape))
    template_index = best_template.clone()
    aligned: dict[int, tuple[Tensor, ViewAlignment]] = {}
    with one_thread(similarity):
        for index in torch.nonzero(is_candidate.any(dim=0))[:, 0].tolist():
            known = library.objects[index]
            if known.views is None:
                continue
            rows = torch.nonzero(is_candidate[:, index])[:, 0]
            alignment = align_views(observed[rows], known.views, known.spectra)
            prior = view_prior_weight * known.views.from_templates(similarity[rows, index])
            cost, depth_rmse_m, view = alignment.best(prior)
            score[rows, index] = shape_score(cost)
            consistency[rows, index] = consistency_score(cost, depth_rmse_m, known.views.radius_m)
            nearest = torch.from_numpy(known.views.nearest_template).to(view.device)[view]
            template_index[rows, index] = nearest.where(cost.isfinite(), template_index[rows, index])
            aligned[index] = rows, alignment
    return CandidateShapes(score, consistency, template_index, ObjectAlignments(aligned))


def shape_score(cost: Tensor) -> Tensor:
    """Convert an alignment cost into a score: exp(-cost / COST_SCALE).

    Args:
        cost: Of any shape; +inf where too little was seen.

    Returns:
        Of the same shape, 0 where the cost is +inf.
    """
    return (-cost / COST_SCALE).exp()


def consistency_score(cost: Tensor, depth_rmse_m: Tensor, radius_m: float) -> Tensor:
    """Score an alignment for the choice of the object: as `shape_score`, with more weight for depth.

    Args:
        cost: (N,) alignment cost of the best views (ViewAlignment.best).
        depth_rmse_m: (N,) RMS difference of depth of the same views, metres.
        radius_m: Radius of the object's polar maps, metres.

    Returns:
        (N,) in [0, 1].
    """
    more = (CHOICE_DEPTH_WEIGHT - DEPTH_WEIGHT) * relative_depth_mse(depth_rmse_m.square(), radius_m)
    return (-(cost + more) / CHOICE_COST_SCALE).exp()


def candidates(semantic: Tensor, confidence_threshold: float) -> Tensor:
    """Find the candidate objects of each proposal.

    Args:
        semantic: (N, O) semantic scores.
        confidence_threshold: Proposals whose best score is not above it have no candidates.

    Returns:
        (N, O) bool: those within CANDIDATE_MARGIN of the best, at most MAX_CANDIDATES.
    """
    best = semantic.topk(min(MAX_CANDIDATES, semantic.shape[1]), dim=1).values
    least = torch.maximum(best[:, :1] - CANDIDATE_MARGIN, best[:, -1:])
    return (semantic >= least) & (best[:, :1] > confidence_threshold)


def chosen_object(semantic: Tensor, consistency: Tensor, candidates: Tensor) -> Tensor:
    """Choose the object of each proposal: argmax of semantic + CHOICE_WEIGHT * consistency over its candidates.

    Args:
        semantic: (N, O) semantic scores.
        consistency: (N, O), as of `consistency_score`.
        candidates: (N, O) bool.

    Returns:
        (N,) int64 indices of objects.
    """
    return (semantic + CHOICE_WEIGHT * consistency).where(candidates, -1.0).argmax(dim=1)


def final_score(
    semantic: Tensor, appearance: Tensor, geometric: Tensor, visible_ratio: Tensor, shape: Tensor, has_shape: Tensor
) -> Tensor:
    """Combine SAM-6D's scores with the shape score.

        (semantic + appearance + geometric * visible + 2 * shape) / (4 + visible)

    Where there is no shape score (no depth, or an object without views) it is SAM-6D's.

    Args:
        semantic: (N,) in [0, 1].
        appearance: (N,) in [0, 1].
        geometric: (N,) in [0, 1].
        visible_ratio: (N,) in [0, 1].
        shape: (N,) in [0, 1].
        has_shape: (N,) bool, where there is a shape score.

    Returns:
        (N,) in [0, 1].
    """
    sam6d = final_score_sam6d(semantic, appearance, geometric, visible_ratio)
    others = 2.0 + visible_ratio
    return torch.where(has_shape, (sam6d * others + SCORE_WEIGHT * shape) / (others + SCORE_WEIGHT), sam6d)


SHAPE = MatcherSpec(ShapeMatcher())
"""Registry entry `shape`."""
