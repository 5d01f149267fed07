"""The matcher of NOCTIS (Gandyra, Santonicola and Beetz, arXiv 2507.01463).

Unlike in SAM-6D, a proposal is compared patch by patch with every template of every candidate object before its object
is chosen; patches whose nearest neighbours do not lead back to them (the cyclic threshold) do not count; and the
segmentor's confidence is a factor. Formulas and constants are those of the authors' program,
github.com/code-iai/noctis at commit ba76bbc, with its configuration `grounded_sam.yaml`; each function documents where
it differs.

N proposals, O objects, T templates an object, P patches a crop (a square grid in row-major order), C numbers a patch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isqrt

import torch
from torch import Tensor

from ism_ros.matching.base import MatcherSpec, Matches, MatchInputs
from ism_ros.matching.scores.patch_scores import patch_scores_by_template
from ism_ros.objects.library import ObjectLibrary
from ism_ros.runtime.out_of_memory import OutOfMemoryCounter, OutOfMemoryRetry

MIN_SIMILARITY = 0.2
"""Least similarity of class tokens; smaller ones count as 0 (`semantic_confidence_threshold`)."""

TOP_TEMPLATES = 5
"""Number of an object's best templates that are averaged in the semantic score (`semantic_aggregation_function`)."""

CYCLIC_THRESHOLD_RATIO = 5 / 16
"""Largest cyclic distance of a patch that counts, as a ratio of the grid's side: 5 patches of the 16 of DINOv2
(`appearance_cycle_threshold`)."""

APPEARANCE_WEIGHT = 2.0
"""Weight of the appearance score relative to the semantic score (`appearance_score_extra_weight_factor`)."""

SIMILARITIES_PER_BATCH = 2**24
"""Approximate number of patch similarities in memory at once, 64 MiB in float32; at least those of one proposal with
one object, T * P * P (11 MiB for 42 templates and DINOv2)."""


class NoctisMatcher:
    """Choice of the object by class and patch tokens of all candidates, and of the template by patch tokens."""

    def match(self, inputs: MatchInputs) -> Matches:
        """Compare each proposal patch by patch with all templates of all its candidate objects.

        Args:
            inputs: At least one proposal and one object.

        Returns:
            The matches.
        """
        return match_noctis(
            inputs.similarity,
            inputs.descriptors.patch_tokens,
            inputs.library,
            inputs.confidence_threshold,
            inputs.recoveries,
        )

    def final_score(self, matches: Matches, geometric: Tensor, visible_ratio: Tensor, confidence: Tensor) -> Tensor:
        """Multiply semantic and appearance score by the segmentor's confidence; geometry is no part of it.

        Args:
            matches: M matches of this matcher.
            geometric: Not used.
            visible_ratio: Not used.
            confidence: (M,) of the segmentor, in [0, 1].

        Returns:
            (M,) final score in [0, 1].
        """
        return final_score(matches.semantic, matches.appearance, confidence)


def match_noctis(
    similarity: Tensor,
    patch_tokens: Tensor,
    library: ObjectLibrary,
    confidence_threshold: float,
    recoveries: OutOfMemoryCounter | None = None,
) -> Matches:
    """Match proposals with objects by class and patch tokens.

    Args:
        similarity: (N, O, T) with `library`'s class tokens.
        patch_tokens: (N, P, C) of the proposals.
        library: The objects.
        confidence_threshold: Objects whose semantic score is above it are candidates.
        recoveries: Counts where memory ran out.

    Returns:
        The matches.
    """
    semantic = semantic_scores(similarity)
    candidates = semantic > confidence_threshold
    counts = [known.template_count for known in library.objects]
    appearance, template_index = candidate_appearance(
        patch_tokens, candidates, counts, library.patch_tokens_of, recoveries=recoveries
    )
    score = match_score(semantic, appearance).where(candidates, -1.0)
    rows = candidates.any(dim=1)
    best = score[rows].argmax(dim=1, keepdim=True)
    object_index = best[:, 0]
    template_index, semantic, appearance = (
        of_object[rows].gather(1, best)[:, 0] for of_object in (template_index, semantic, appearance)
    )
    _, visible_ratio = patch_scores_by_template(
        patch_tokens, torch.nonzero(rows)[:, 0], library.chosen_patch_tokens(object_index, template_index)
    )
    return Matches(rows, object_index, template_index, semantic, appearance, visible_ratio)


def semantic_scores(pairwise: Tensor) -> Tensor:
    """Score how similar each proposal is to each object as a whole.

        s_sem(p, o) = mean of the TOP_TEMPLATES largest of c(p, o, t), c below MIN_SIMILARITY being 0

    Args:
        pairwise: (N, O, T) cosines of class tokens in [0, 1].

    Returns:
        (N, O) float32 in [0, 1].
    """
    similar = pairwise.where(pairwise >= MIN_SIMILARITY, 0.0)
    return similar.topk(min(TOP_TEMPLATES, similar.shape[2]), dim=2).values.mean(dim=2)


def cyclic_distance_squared(back: Tensor, positions: Tensor, side: int) -> Tensor:
    """Compute the squared cyclic distance of each patch, in patches.

        d(i)^2 = (row(i) - row(back(i)))^2 + (column(i) - column(back(i)))^2

    Args:
        back: (N, T, Q) int64, index among a proposal's Q patches of the one that is nearest to the template patch that
            is nearest to each of them.
        positions: (N, Q) int64, position of these patches in the row-major grid.
        side: Side of the grid, patches.

    Returns:
        (N, T, Q) int64.
    """
    start = positions[:, None]
    end = start.expand_as(back).gather(2, back)
    rows, columns = end // side - start // side, end % side - start % side
    return rows * rows + columns * columns


def template_appearance(query_patches: Tensor, template_patches: Tensor) -> Tensor:
    """Score how similar each proposal's patches are to those of each template.

    With c(i, j) the cosine of a proposal's patch i and a template's patch j, nearest(i) = argmax_j c(i, j), and
    back(j) = argmax_i c(i, j):

        s_app(p, t) = sum of c(i, nearest(i)) over i with d(i) <= CYCLIC_THRESHOLD_RATIO * side and c > 0
                      / number of valid i
        d(i) = distance in the grid from i to back(nearest(i))

    The number is of all valid patches, those that are filtered out included. Where none is valid the score is 0 (the
    program divides by 0). Of equally similar patches the first counts. Takes memory for N * T * Q * R similarities, Q
    and R the largest number of valid patches of a proposal and of a template.

    Args:
        query_patches: (N, P, C) unit rows, all zero where the patch lies outside the mask.
        template_patches: (T, P, C), likewise.

    Returns:
        (N, T) float32 in [0, 1].

    Raises:
        ValueError: P is no square number.
    """
    count, patches = query_patches.shape[:2]
    side = isqrt(patches)
    if side * side != patches:
        raise ValueError(f"the cyclic distance needs a square grid of patches; there are {patches}")
    query, positions, valid = _valid_first(query_patches)
    template, _, _ = _valid_first(template_patches.to(query_patches))
    if not query.numel() or not template.numel():
        return torch.zeros((count, len(template_patches)), device=query_patches.device)
    similarity = (query.flatten(0, 1) @ template.flatten(0, 1).T).view(*query.shape[:2], *template.shape[:2])
    best, nearest = (found.transpose(1, 2) for found in similarity.max(dim=3))
    back = similarity.max(dim=1).indices.gather(2, nearest)
    kept = cyclic_distance_squared(back, positions, side) <= (CYCLIC_THRESHOLD_RATIO * side) ** 2
    total = (best.float().clamp(min=0.0) * kept).sum(dim=2)
    return (total / valid[:, None].clamp(min=1)).clamp(max=1.0)


def _valid_first(patches: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Move the valid ones of patches (M, P, C) to the front, and drop what is valid in no row.

    Returns:
        Patches (M, Q, C) in order; their former positions (M, Q) int64; and the number of valid ones (M,) int64.
    """
    valid = patches.abs().amax(dim=2) > 0
    number = valid.sum(dim=1)
    largest = int(number.max()) if len(number) else 0
    positions = valid.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :largest]
    return patches.take_along_dim(positions[:, :, None], dim=1), positions, number


def candidate_appearance(
    query_patches: Tensor,
    candidates: Tensor,
    template_counts: Sequence[int],
    patch_tokens_of: Callable[[Tensor, Tensor], Tensor],
    similarities_per_batch: int = SIMILARITIES_PER_BATCH,
    recoveries: OutOfMemoryCounter | None = None,
) -> tuple[Tensor, Tensor]:
    """Compute each proposal's appearance score with each of its candidate objects, and the best template.

        s_app(p, o) = max over the templates t of o of s_app(p, t)

    Only one object's templates are gathered at a time; batches are halved where memory runs out.

    Args:
        query_patches: (N, P, C) unit rows, all zero where the patch lies outside the mask.
        candidates: (N, O) bool.
        template_counts: Number of templates of each of the O objects, at least 1.
        patch_tokens_of: Returns patch tokens (M, P, C) of templates by object_index (M,) and template_index (M,).
        similarities_per_batch: Approximate number of patch similarities computed at once.
        recoveries: Counts where memory ran out.

    Returns:
        Scores (N, O) float32, 0 where an object is no candidate; and template indices (N, O) int64.
    """
    appearance = torch.zeros(candidates.shape, device=query_patches.device)
    template_index = torch.zeros_like(appearance, dtype=torch.int64)
    per_proposal = max(template_counts, default=1) * query_patches.shape[1] ** 2
    batch = max(1, similarities_per_batch // per_proposal)
    batches = OutOfMemoryRetry(batch, "proposals beside all templates of an object", recoveries)
    # proposals sorted by size: the products of a batch have few rows of padding
    by_size = (query_patches.abs().amax(dim=2) > 0).sum(dim=1).argsort()
    for index, templates in enumerate(template_counts):
        rows = by_size[candidates[by_size, index]]
        if not len(rows):
            continue
        every = torch.arange(templates, device=rows.device)
        template_patches = patch_tokens_of(torch.full_like(every, index), every)

        def compare(part: slice, rows: Tensor = rows, template_patches: Tensor = template_patches) -> Tensor:
            return template_appearance(query_patches[rows[part]], template_patches)

        of_templates = torch.cat(batches.run(len(rows), compare))
        appearance[rows, index], template_index[rows, index] = of_templates.max(dim=1)
    return appearance, template_index


def match_score(semantic: Tensor, appearance: Tensor) -> Tensor:
    """Combine semantic and appearance score, before the segmentor's confidence.

        s(p, o) = (s_sem(p, o) + APPEARANCE_WEIGHT * s_app(p, o)) / 2

    Args:
        semantic: In [0, 1], of any shape.
        appearance: In [0, 1], of the same shape.

    Returns:
        In [0, 1.5], of the same shape.
    """
    return (semantic + APPEARANCE_WEIGHT * appearance) / 2.0


def final_score(semantic: Tensor, appearance: Tensor, confidence: Tensor) -> Tensor:
    """Combine the scores of NOCTIS: min(1, match_score * confidence).

    The object of a proposal is to be chosen by match_score, which is not clamped to 1; the program clamps first, so
    that of several objects above 1 the first wins.

    Args:
        semantic: (N,) in [0, 1].
        appearance: (N,) in [0, 1].
        confidence: (N,) of the segmentor, in [0, 1]. Of segmentors with separate confidences of boxes and masks NOCTIS
            takes the mean of both.

    Returns:
        (N,) in [0, 1].
    """
    return (match_score(semantic, appearance) * confidence).clamp(0.0, 1.0)


NOCTIS = MatcherSpec(NoctisMatcher())
"""Registry entry `noctis`."""
