"""The matcher of NOCTIS (Gandyra, Santonicola and Beetz, arXiv 2507.01463).

Unlike in SAM-6D, a proposal is compared patch by patch with every template of every candidate object before its object
is chosen; patches that do not find their way back (the cyclic threshold) do not count; and the segmentor's confidence
is a factor. Formulas and constants are those of the authors' program, github.com/code-iai/noctis at commit ba76bbc,
with its configuration `grounded_sam.yaml`; where they differ from it is said with each function.

N proposals, O objects, T templates an object, P patches a crop (a square grid in row-major order), C numbers a patch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isqrt

import torch
from torch import Tensor

from ism_ros.matching.base import MatcherSpec, Matches, MatchInputs
from ism_ros.matching.patch_scores import patch_scores_by_template
from ism_ros.objects.library import ObjectLibrary
from ism_ros.runtime.out_of_memory import OutOfMemoryCounter, OutOfMemoryRetry

MIN_SIMILARITY = 0.2
"""Class tokens less similar than this count as not similar at all (`semantic_confidence_threshold`)."""

TOP_TEMPLATES = 5
"""How many of an object's best templates are averaged in the semantic score (`semantic_aggregation_function`)."""

CYCLE_RATIO = 5 / 16
"""How far from itself a patch may come back, as a share of the grid's side: 5 patches (`appearance_cycle_threshold`)
of the 16 that DINOv2 has there."""

APPEARANCE_WEIGHT = 2.0
"""How much more the appearance counts than the semantic score (`appearance_score_extra_weight_factor`)."""

SIMILARITIES_PER_BATCH = 2**24
"""About so many patch similarities are in memory at once, 64 MiB in float32; at least those of one proposal with one
object, T * P * P (11 MiB for 42 templates and DINOv2)."""


class NoctisMatcher:
    """The object by class and patch tokens, of all that are similar enough; the template by patch tokens."""

    def match(self, inputs: MatchInputs) -> Matches:
        """Compare each proposal patch by patch with all templates of all its candidate objects."""
        return match_noctis(
            inputs.similarity,
            inputs.descriptors.patch_tokens,
            inputs.library,
            inputs.confidence_threshold,
            inputs.recoveries,
        )

    def final_score(self, matches: Matches, geometric: Tensor, visible_ratio: Tensor, confidence: Tensor) -> Tensor:
        """Weight semantic and appearance score with the segmentor's confidence; geometry is no part of it."""
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
    """How much each proposal looks like each object as a whole.

    pairwise: (N, O, T), cosines of class tokens in [0, 1] -> (N, O) float32 in [0, 1]:

        s_sem(p, o) = mean of the TOP_TEMPLATES largest of c(p, o, t), c below MIN_SIMILARITY being 0
    """
    similar = pairwise.where(pairwise >= MIN_SIMILARITY, 0.0)
    return similar.topk(min(TOP_TEMPLATES, similar.shape[2]), dim=2).values.mean(dim=2)


def cyclic_distance_squared(back: Tensor, places: Tensor, side: int) -> Tensor:
    """How far from where it started each patch comes back, squared, in patches.

    back: (N, T, Q) int64, which of a proposal's Q patches each of them comes back to by way of each template.
    places: (N, Q) int64, where these patches are in the row-major grid of `side` x `side` -> (N, T, Q) int64:

        d(i)^2 = (row(i) - row(back(i)))^2 + (column(i) - column(back(i)))^2
    """
    start = places[:, None]
    end = start.expand_as(back).gather(2, back)
    rows, columns = end // side - start // side, end % side - start % side
    return rows * rows + columns * columns


def template_appearance(query_patches: Tensor, template_patches: Tensor) -> Tensor:
    """How much each proposal's patches look like those of each template, (N, P, C), (T, P, C) -> (N, T) in [0, 1].

    Rows are unit, or all zero where the patch lies outside the mask. With c(i, j) the cosine of a proposal's patch i
    and a template's patch j, there(i) = argmax_j c(i, j), and back(j) = argmax_i c(i, j):

        s_app(p, t) = sum of c(i, there(i)) over i with d(i) <= CYCLE_RATIO * side and c > 0 / number of valid i
        d(i) = distance in the grid from i to back(there(i))

    The number is of all valid patches, those that are filtered out included. Nothing valid: 0 (the program divides by
    0). Of equally similar patches the first counts. Memory: N * T * Q * R similarities, Q and R the most valid patches
    of a proposal and of a template. Raises ValueError where P is no square number.
    """
    count, patches = query_patches.shape[:2]
    side = isqrt(patches)
    if side * side != patches:
        raise ValueError(f"the cyclic distance needs a square grid of patches; there are {patches}")
    query, places, valid = _valid_first(query_patches)
    template, _, _ = _valid_first(template_patches.to(query_patches))
    if not query.numel() or not template.numel():
        return torch.zeros((count, len(template_patches)), device=query_patches.device)
    similarity = (query.flatten(0, 1) @ template.flatten(0, 1).T).view(*query.shape[:2], *template.shape[:2])
    best, there = (found.transpose(1, 2) for found in similarity.max(dim=3))
    back = similarity.max(dim=1).indices.gather(2, there)
    kept = cyclic_distance_squared(back, places, side) <= (CYCLE_RATIO * side) ** 2
    total = (best.float().clamp(min=0.0) * kept).sum(dim=2)
    return (total / valid[:, None].clamp(min=1)).clamp(max=1.0)


def _valid_first(patches: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Patches (M, P, C) with the valid ones first and in order, cut to the most that are valid in a row, (M, Q, C);
    where they were, (M, Q) int64; and how many of each row are valid, (M,) int64.
    """
    valid = patches.abs().amax(dim=2) > 0
    number = valid.sum(dim=1)
    most = int(number.max()) if len(number) else 0
    places = valid.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :most]
    return patches.take_along_dim(places[:, :, None], dim=1), places, number


def candidate_appearance(
    query_patches: Tensor,
    candidates: Tensor,
    template_counts: Sequence[int],
    patch_tokens_of: Callable[[Tensor, Tensor], Tensor],
    similarities_per_batch: int = SIMILARITIES_PER_BATCH,
    recoveries: OutOfMemoryCounter | None = None,
) -> tuple[Tensor, Tensor]:
    """Each proposal's appearance beside each of its candidate objects, and the template that looks most like it.

    query_patches: (N, P, C). candidates: (N, O) bool. template_counts: of each of the O objects, at least 1.
    patch_tokens_of: patch tokens of templates, object_index (M,), template_index (M,) -> (M, P, C).
    Returns (N, O) float32, 0 where an object is no candidate, and (N, O) int64:

        s_app(p, o) = max over the templates t of o of s_app(p, t)

    Only one object's templates are gathered at a time, and at most about `similarities_per_batch` (of them and the
    proposals' patches) are compared; less where that does not fit into memory, which `recoveries` counts.
    """
    appearance = torch.zeros(candidates.shape, device=query_patches.device)
    template_index = torch.zeros_like(appearance, dtype=torch.int64)
    an_object = max(template_counts, default=1) * query_patches.shape[1] ** 2
    at_once = max(1, similarities_per_batch // an_object)
    chunks = OutOfMemoryRetry(at_once, "proposals beside all templates of an object", recoveries)
    # proposals of about the same size side by side: their products have few rows of padding
    by_size = (query_patches.abs().amax(dim=2) > 0).sum(dim=1).argsort()
    for index, templates in enumerate(template_counts):
        rows = by_size[candidates[by_size, index]]
        if not len(rows):
            continue
        every = torch.arange(templates, device=rows.device)
        template_patches = patch_tokens_of(torch.full_like(every, index), every)

        def compare(part: slice, rows: Tensor = rows, template_patches: Tensor = template_patches) -> Tensor:
            return template_appearance(query_patches[rows[part]], template_patches)

        of_templates = torch.cat(chunks.run(len(rows), compare))
        appearance[rows, index], template_index[rows, index] = of_templates.max(dim=1)
    return appearance, template_index


def match_score(semantic: Tensor, appearance: Tensor) -> Tensor:
    """How well a proposal and an object match, of any one shape, before the confidence; 0 to 1.5:

    s(p, o) = (s_sem(p, o) + APPEARANCE_WEIGHT * s_app(p, o)) / 2
    """
    return (semantic + APPEARANCE_WEIGHT * appearance) / 2.0


def final_score(semantic: Tensor, appearance: Tensor, confidence: Tensor) -> Tensor:
    """min(1, match_score * confidence), all (N,).

    confidence: of the segmentor in its proposals, in [0, 1]. Of segmentors that are sure of a box and of its mask in
    different degrees, NOCTIS takes the mean of both. The object of a proposal is to be chosen by match_score, which is
    not cut at 1; the program cuts first, so that of several objects above 1 the first wins.
    """
    return (match_score(semantic, appearance) * confidence).clamp(0.0, 1.0)


NOCTIS = MatcherSpec(NoctisMatcher(), "all templates, patch by patch; slower")
