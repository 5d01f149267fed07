"""The matcher `verified`: what is known is found by its shape in metres; looks add, they do not exclude.

For every proposal all objects that fit in size are candidates. Their best aligned views are refined against the depth
image (pose.refinement), evidence for and against each pose is gathered (verification.evidence), and evidence and looks
together give the probability that the object is there (matching.calibration). The mask of a verified object is its
visible silhouette, so that it is whole where the proposal was a piece, or the proposal, where both are nearly the same;
its pose is the refined one.

N proposals, O objects, H verified poses, M matches.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ism_ros.data.boxes import boxes_from_masks
from ism_ros.data.detection_evidence import DetectionEvidence
from ism_ros.data.frame import Frame
from ism_ros.data.masks import mask_areas
from ism_ros.data.nms import shared_mask_nms, wholes_before_parts
from ism_ros.data.proposals import Proposals
from ism_ros.matching.base import MatcherSpec, Matches, MatchInputs, VerifiedMatches
from ism_ros.matching.calibration import (
    EVIDENCE_NAMES,
    FEATURE_NAMES,
    SINGLE_RATE,
    looks_probability,
    pose_features,
    pose_probabilities,
    score_contributions,
    single_instance,
    unlike_leaders,
    with_log_odds,
)
from ism_ros.matching.candidates import Candidates
from ism_ros.matching.scores.patch_scores import patch_scores_by_template
from ism_ros.matching.scores.similarity import semantic_scores
from ism_ros.objects.library import ObjectLibrary
from ism_ros.pose.observed_points import MIN_PIXELS
from ism_ros.refinement.covariance import at_origin
from ism_ros.runtime.threads import one_thread
from ism_ros.verification.outline_verification import verify_without_depth
from ism_ros.verification.pair_choice import can_be_verified, pair_numbers
from ism_ros.verification.silhouette_masks import silhouette_masks
from ism_ros.verification.verification import FinishedPoses, VerifiedPoses, compile_loops, verify

MIN_PROBABILITY = 0.02
"""Probability below which a proposal is none of the objects."""
SHARED_STEP = 3
"""Rows and columns of masks that are skipped where it is only asked what they share, pixels."""
MAX_SHARED = 0.3
"""Share of a mask in one of a more probable object from which on it is a part of that, or the same seen twice."""
PART_SHARE, PART_GROWTH, PART_RATIO = 0.85, 1.2, 0.75
"""Without depth nothing tells how large a part of an object is: of two masks of one object, one of which contains that
share of the other and is so many times as large, it is taken where its probability has that ratio at least."""
SAME_IOU = 0.9
"""IoU of a silhouette and its proposal from which on they are the same mask, but for their borders."""
WHOLE_FACTOR = 1.15
"""Factor of the probability of a union of proposals where it is compared with others: it explains what a part leaves
unexplained."""
MIN_LIKELY, MAX_UNVERIFIED = 0.1, 5
"""Probability that nothing reaches where something is wrong, and most proposals, those that look most like an object,
that stay then, as improbable as they are."""
LEAST_RIVAL = 0.4
"""Semantic score that some other object is supposed to have where no known one has more: with few known objects, that
they are unlike something says little."""


class VerifiedMatcher:
    """Choice of the object, its pose and its mask by verification against the depth."""

    def match(self, inputs: MatchInputs) -> Matches:
        """Verify all candidate objects under each mask and keep the most probable.

        Args:
            inputs: At least one proposal and one object.

        Returns:
            The matches; without depth by looks, outlines and colors.
        """
        frame, proposals, library = inputs.frame, inputs.proposals, inputs.library
        if not proposals.boxes_are_tight:
            proposals = Proposals(proposals.masks, proposals.confidence, boxes_from_masks(proposals.masks))
        semantic = semantic_scores(inputs.similarity)
        threads = 1 if semantic.is_cuda else torch.get_num_threads()
        with one_thread(semantic):
            candidates = Candidates.of(frame, proposals, semantic, semantic_margin(semantic), library, inputs.is_sought)
            verified = verify_candidates(frame, candidates, library, threads)
        choice = _Choice.by_looks(candidates)
        if candidates.points is not None:
            # where the depth could have confirmed the shape, looks alone do not count
            is_measured = (candidates.points.pixels > 0).sum(dim=1) >= MIN_PIXELS
            choice.probability.masked_fill_(is_measured[:, None] & _has_surface(library, semantic), 0.0)
        if verified is not None:
            choice.add(verified, candidates)
            choice.compare_looks(candidates.semantic)
        return _matches(inputs, candidates, choice, verified)

    def final_score(self, matches: Matches, geometric: Tensor, visible_ratio: Tensor, confidence: Tensor) -> Tensor:
        """Take the probability.

        Args:
            matches: M matches of this matcher.
            geometric: Not used.
            visible_ratio: Not used.
            confidence: Not used.

        Returns:
            (M,) final score in [0, 1].
        """
        assert matches.verified is not None
        return matches.verified.probability


def verify_candidates(
    frame: Frame, candidates: Candidates, library: ObjectLibrary, threads: int = 1
) -> VerifiedPoses | None:
    """Verify objects under masks, by depth where the frame has any, else by outline and color.

    Args:
        frame: The frame.
        candidates: Of the frame.
        library: O objects.
        threads: As of `verify`.

    Returns:
        As of `verify`.
    """
    masks, boxes_xyxy = candidates.proposals.masks, candidates.proposals.boxes_xyxy
    if candidates.points is None:
        return verify_without_depth(frame, masks, boxes_xyxy, library.objects, candidates.prior, threads)
    return verify(frame, masks, boxes_xyxy, library.objects, candidates.prior, candidates.points, threads)


def semantic_margin(semantic: Tensor) -> Tensor:
    """Compute the distances of semantic scores to the best of the other objects', LEAST_RIVAL or more.

    Args:
        semantic: (N, O) of all objects.

    Returns:
        (N, O).
    """
    if semantic.shape[1] == 1:
        return semantic - LEAST_RIVAL
    best = semantic.topk(2, dim=1)
    is_best = torch.zeros_like(semantic, dtype=torch.bool).scatter(1, best.indices[:, :1], True)
    return semantic - torch.where(is_best, best.values[:, 1:], best.values[:, :1]).clamp(min=LEAST_RIVAL)


def _has_surface(library: ObjectLibrary, like: Tensor) -> Tensor:
    """Which objects can be verified, (O,) bool."""
    return torch.tensor([can_be_verified(known) for known in library.objects], device=like.device)


@dataclass(frozen=True)
class _Choice:
    """What is most probable for each pair of N proposals and O objects.

    Attributes:
        probability: (N, O).
        pose: (N, O) int64, that of the H poses whose silhouette is the most probable; -1 = none.
        is_silhouette: (N, O) bool, whether its silhouette is the more probable mask, not the proposal.
        scored_pose: (N, O) int64, that of the H poses whose evidence made the probability; -1 = none.
        unlike: (N, O) log-odds that looks beside those of other instances took from the probability, 0 or less.
    """

    probability: Tensor
    pose: Tensor
    is_silhouette: Tensor
    scored_pose: Tensor
    unlike: Tensor

    @staticmethod
    def by_looks(candidates: Candidates) -> _Choice:
        """Take what looks say of the proposals; unions are nothing without a pose."""
        confidence = candidates.proposals.confidence[:, None]
        probability = looks_probability(candidates.semantic, candidates.margin, confidence, candidates.has_depth)
        probability = probability.masked_fill(candidates.is_union[:, None], 0.0)
        no_pose = torch.full_like(probability, -1, dtype=torch.int64)
        is_silhouette, unlike = torch.zeros_like(probability, dtype=torch.bool), torch.zeros_like(probability)
        return _Choice(probability, no_pose, is_silhouette, no_pose.clone(), unlike)

    def add(self, verified: VerifiedPoses, candidates: Candidates) -> None:
        """Take over what the evidence says of each verified pair; without depth no pose is exact enough to be kept."""
        rows, columns = verified.poses.mask_index, verified.poses.object_index
        semantic, margin = candidates.semantic[rows, columns], candidates.margin[rows, columns]
        confidence, shape = candidates.proposals.confidence[rows], self.probability.shape
        both = pose_probabilities(verified.evidence.terms, semantic, margin, confidence, candidates.has_depth)
        pair = pair_numbers(verified.poses, shape[1])
        (as_silhouette, silhouette_pose), (as_proposal, proposal_pose) = (
            (highest.view(shape), pose.view(shape))
            for highest, pose in (_best_of_pairs(one, pair, shape.numel()) for one in both.unbind(dim=1))
        )
        if not candidates.has_depth:
            found = proposal_pose >= 0
            self.probability[found] = as_proposal[found]
            self.scored_pose.copy_(proposal_pose)
            return
        # the pose is that with the most probable silhouette, also where the proposal is the better mask
        self.pose.copy_(silhouette_pose)
        found = self.pose >= 0
        self.probability[found] = torch.maximum(as_silhouette, as_proposal)[found]
        self.is_silhouette[found] = (as_silhouette >= as_proposal)[found]
        self.scored_pose.copy_(torch.where(self.is_silhouette, silhouette_pose, proposal_pose))

    def compare_looks(self, semantic: Tensor) -> None:
        """Lower what looks (N, O) much less like an object than its most probable instance in the frame."""
        self.unlike.copy_(unlike_leaders(self.probability, semantic))
        self.probability.copy_(with_log_odds(self.probability, self.unlike))


def _best_of_pairs(probability: Tensor, pair: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Highest probability (count,) of the poses of each pair, and which of them (count,) has it; -1 where none is."""
    highest = probability.new_full((count,), -1.0).scatter_reduce(0, pair, probability, "amax")
    best = torch.nonzero(probability == highest[pair])[:, 0]
    return highest, torch.full_like(highest, -1, dtype=torch.int64).scatter_reduce(0, pair[best], best, "amax")


def _matches(inputs: MatchInputs, candidates: Candidates, choice: _Choice, verified: VerifiedPoses | None) -> Matches:
    library, proposals, semantic = inputs.library, candidates.proposals, candidates.semantic
    highest, chosen = choice.probability.max(dim=1)
    is_kept = highest >= MIN_PROBABILITY
    if not bool((highest >= MIN_LIKELY).any()):
        # what looks like an object but fits none in size tells of depth or models in another unit (result_checks)
        looks, alike = semantic.masked_fill(candidates.is_union[:, None], 0.0).max(dim=1)
        chosen = torch.where(is_kept, chosen, alike)
        most_alike = looks.topk(min(MAX_UNVERIFIED, len(looks))).indices
        is_kept[most_alike[looks[most_alike] > inputs.confidence_threshold]] = True
        highest = choice.probability.gather(1, chosen[:, None])[:, 0]
    rows = torch.nonzero(is_kept)[:, 0]
    pose, is_outlined = choice.pose[rows, chosen[rows]], choice.is_silhouette[rows, chosen[rows]]
    small = proposals.masks[:, ::SHARED_STEP, ::SHARED_STEP][rows]
    if verified is not None and bool(is_outlined.any()):
        small[is_outlined] = silhouette_masks(
            verified.evidence, pose[is_outlined], proposals.masks.shape[1:], SHARED_STEP
        )
    rank = highest[rows] * torch.where(candidates.is_union[rows], WHOLE_FACTOR, 1.0)
    if not candidates.has_depth:
        rank = wholes_before_parts(small, rank, chosen[rows], PART_SHARE, PART_GROWTH, PART_RATIO)
    kept = shared_mask_nms(small, rank, candidates.proposal[rows], MAX_SHARED)
    rows, pose, is_outlined = rows[kept], pose[kept], is_outlined[kept]
    masks = proposals.masks[rows]
    object_index, matched = chosen[rows], candidates.proposal[rows]
    single = single_instance(highest[rows], object_index)
    template_index = inputs.similarity[matched, object_index].argmax(dim=1)
    posed = torch.nonzero(pose >= 0)[:, 0]
    finished = verified.finished(pose[posed]) if verified is not None and len(posed) else None
    if finished is not None:
        masks = _redrawn(masks, finished, posed, is_outlined[posed])
    rotation, translation_m, covariance = _poses_at_origins(finished, posed, library, object_index)
    nearest = library.nearest_templates(object_index[posed], rotation[posed])
    template_index[posed] = torch.where(nearest >= 0, nearest, template_index[posed])
    evidence = _evidence(
        verified,
        choice.scored_pose[rows, object_index],
        choice.is_silhouette[rows, object_index],
        (semantic[rows, object_index], candidates.margin[rows, object_index], proposals.confidence[rows]),
        choice.unlike[rows, object_index],
        single,
        candidates.has_depth,
    )
    probability = with_log_odds(highest[rows], -SINGLE_RATE * single)
    is_row = torch.zeros(len(inputs.proposals), dtype=torch.bool, device=semantic.device)
    is_row[matched] = True
    patches = inputs.descriptors.patches_of(matched, library.is_colorless[object_index])
    templates = library.chosen_patch_tokens(object_index, template_index)
    appearance, visible_ratio = patch_scores_by_template(*patches, templates)
    return Matches(
        is_row,
        object_index,
        template_index,
        semantic[rows, object_index],
        appearance,
        visible_ratio,
        verified=VerifiedMatches(probability, rotation, translation_m, covariance, masks, evidence),
    )


def _evidence(
    verified: VerifiedPoses | None,
    pose: Tensor,
    is_silhouette: Tensor,
    looks: tuple[Tensor, Tensor, Tensor],
    unlike: Tensor,
    single: Tensor,
    has_depth: bool,
) -> DetectionEvidence:
    """Evidence of M matches, by the pose (M,) that made each probability, and by looks; NaN where it is -1.

    What looks beside other instances took from the log-odds, `unlike` (M,), is part of the semantic score's share.
    After the features comes `single` (M,), that another instance is the only one.
    """
    values = torch.full((len(pose), len(FEATURE_NAMES)), torch.nan, device=pose.device)
    contributions = values.clone()
    if verified is not None:
        posed = pose >= 0
        values[posed] = pose_features(verified.evidence.terms[pose[posed]], *(look[posed] for look in looks))
        contributions[posed] = score_contributions(values[posed], is_silhouette[posed], has_depth)
        contributions[posed, FEATURE_NAMES.index("semantic")] += unlike[posed]
    of_single = single.where(pose >= 0, torch.nan)[:, None]
    values, contributions = torch.cat([values, of_single], 1), torch.cat([contributions, -SINGLE_RATE * of_single], 1)
    return DetectionEvidence(EVIDENCE_NAMES, values, contributions)


def _redrawn(masks: Tensor, finished: FinishedPoses, posed: Tensor, is_outlined: Tensor) -> Tensor:
    """Masks (M, H, W), of proposals, but the silhouettes of finished poses at those of `posed` (K,) that `is_outlined`.

    Where a silhouette and its proposal are nearly the same, the proposal stays: its border follows the image pixel by
    pixel.
    """
    index = torch.nonzero(is_outlined)[:, 0]
    if not len(index):
        return masks
    proposals = masks[posed[index]]
    silhouettes = finished.masks(index, proposals)
    union, common = (mask_areas(part) for part in (silhouettes | proposals, silhouettes & proposals))
    is_better = (common <= SAME_IOU * union) & silhouettes.flatten(1).any(dim=1)
    redrawn = masks.clone()
    redrawn[posed[index[is_better]]] = silhouettes[is_better]
    return redrawn


def _poses_at_origins(
    finished: FinishedPoses | None, posed: Tensor, library: ObjectLibrary, object_index: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Rotations (M, 3, 3), positions (M, 3) and covariances (M, 6, 6) of the objects' origins; NaN but at `posed`."""
    count, device = len(object_index), object_index.device
    rotation = torch.full((count, 3, 3), torch.nan, device=device)
    translation_m = torch.full((count, 3), torch.nan, device=device)
    covariance = torch.full((count, 6, 6), torch.nan, device=device)
    if finished is None:
        return rotation, translation_m, covariance
    poses = finished.poses
    centres_m = torch.stack([library.objects[index].centre_m for index in object_index[posed].tolist()])
    arms_m = (poses.rotation.double().cpu() @ centres_m[:, :, None])[:, :, 0]
    of_origins = at_origin(finished.covariances.double().cpu().numpy(), arms_m.numpy())
    rotation[posed], translation_m[posed] = poses.rotation, poses.centre_m - arms_m.float().to(device)
    covariance[posed] = torch.from_numpy(of_origins).float().to(device)
    return rotation, translation_m, covariance


VERIFIED = MatcherSpec(VerifiedMatcher(), prepare_cpu=compile_loops, searches_by_shape=True, colorless_in_gray=True)
"""Registry entry `verified`."""
