"""SAM-6D's scores and a fourth, of size and shape in metres: how well the views of the CAD model fit the depth.

Class tokens see crops of one size: two objects that differ in their proportions, or a bowl and a can of one colour,
may look alike to them. Their views, held against what lies under the mask (views.py), tell them apart.

N proposals, O objects, T templates an object, V views of an object.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ism_ros.matching.similarity import final_score as final_score_sam6d
from ism_ros.pose.polar_maps import RELIEF_WEIGHT, relative

FIT_SCALE = 0.7
"""The cost at which a fit is worth 1/e."""

CHOICE_RELIEF_WEIGHT, CHOICE_SCALE = 80.0, 0.4
"""Where two objects are held beside each other, relief counts four times as much as where views of one are: colours of
twins are the same, and outlines of what is short and what is seen from its end are."""

CHOICE_WEIGHT = 0.3
"""What that weighs beside the semantic score in the choice of the object."""

SCORE_WEIGHT = 2.0
"""What the fit weighs in the final score. Colours of a CAD model are seldom those of the real thing, its size is: the
rest of the score falls from rendered to real pictures more than the fit does."""

CANDIDATE_MARGIN = 0.15
"""Of the semantic score, behind the best. On noisy depth no proportion score is above 0.5, so that none could make up
for more."""

MOST_CANDIDATES = 3
"""So many objects at most are held against the depth under each mask."""


def fit_score(cost: Tensor) -> Tensor:
    """exp(-cost / FIT_SCALE): 1 where a view fits in all its parts, 0 where nothing was seen (cost inf)."""
    return (-cost / FIT_SCALE).exp()


def proportion_score(cost: Tensor, relief_m: Tensor, reach_m: float) -> Tensor:
    """The fit for the choice of the object: as `fit_score`, with more weight for relief. cost, relief_m: (N,), of the
    views that fit best, as Fit.best has them; reach_m: of their object."""
    more = (CHOICE_RELIEF_WEIGHT - RELIEF_WEIGHT) * relative(relief_m.square(), reach_m)
    return (-(cost + more) / CHOICE_SCALE).exp()


def candidates(semantic: Tensor, confidence_threshold: float) -> Tensor:
    """(N, O) bool, which objects may still be the one of each proposal.

    semantic: (N, O). Those within CANDIDATE_MARGIN of the best, and at most MOST_CANDIDATES; none where the best is not
    above `confidence_threshold`.
    """
    best = semantic.topk(min(MOST_CANDIDATES, semantic.shape[1]), dim=1).values
    least = torch.maximum(best[:, :1] - CANDIDATE_MARGIN, best[:, -1:])
    return (semantic >= least) & (best[:, :1] > confidence_threshold)


def chosen_object(semantic: Tensor, proportion: Tensor, candidates: Tensor) -> Tensor:
    """argmax of semantic + CHOICE_WEIGHT * proportion over the candidates; all (N, O) -> (N,) int64."""
    return (semantic + CHOICE_WEIGHT * proportion).where(candidates, -1.0).argmax(dim=1)


def final_score(
    semantic: Tensor, appearance: Tensor, geometric: Tensor, visible_ratio: Tensor, fit: Tensor, has_fit: Tensor
) -> Tensor:
    """(semantic + appearance + geometric * visible + 2 * fit) / (4 + visible), all (N,).

    Where there is no fit (no depth, or an object without views; has_fit: (N,) bool) it is SAM-6D's.
    """
    sam6d = final_score_sam6d(semantic, appearance, geometric, visible_ratio)
    others = 2.0 + visible_ratio
    return torch.where(has_fit, (sam6d * others + SCORE_WEIGHT * fit) / (others + SCORE_WEIGHT), sam6d)
