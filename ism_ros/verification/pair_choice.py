"""Choice of the pairs of mask and object that are worth more work: a cascade, each step of which costs more a pair.

H poses, each of one pair; a pair may have several.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

MOST_LIKELY_PAIRS = 64
"""Most pairs that are kept because they are likely, beyond those that are kept in any case."""


@dataclass(frozen=True)
class PairChoice:
    """How pairs are chosen: the likelihood of a pose is prior - cost_weight * cost + quality_weight * quality.

    Attributes:
        pairs: Pairs of a frame that are kept in any case, the likeliest ones.
        likely: Likelihood from which on up to MOST_LIKELY_PAIRS are kept: a bin may be full of one object.
        cost_weight: Weight of the alignment cost (pose.view_choice).
        quality_weight: Weight of the quality of the fit (pose.refinement.fit_quality).
    """

    pairs: int
    likely: float
    cost_weight: float
    quality_weight: float

    def kept(self, pair: Tensor, prior: Tensor, cost: Tensor, quality: Tensor | float = 0.0) -> Tensor:
        """Choose pairs by their likeliest pose.

        Args:
            pair: (H,) int64, number of the pair of each pose.
            prior: (H,) how likely the pair is by looks.
            cost: (H,) alignment cost.
            quality: (H,) of the fit.

        Returns:
            (H,) bool, the poses of the pairs that are kept.
        """
        likelihood = prior - self.cost_weight * cost + self.quality_weight * quality
        numbers, pair = pair.unique(return_inverse=True)
        of_pair = likelihood.new_full((len(numbers),), -torch.inf).scatter_reduce(0, pair, likelihood, "amax")
        best = of_pair.topk(min(MOST_LIKELY_PAIRS, len(numbers))).values
        count = max(min(self.pairs, len(best)), int((best >= self.likely).sum()))
        return of_pair[pair] >= best[count - 1]


def best_of_pairs(pair: Tensor, quality: Tensor, count: int = 1) -> Tensor:
    """Find the best poses of each pair.

    Args:
        pair: (H,) int64, number of the pair of each pose.
        quality: (H,), the higher the better; of equal ones the first is taken.
        count: How many of each pair, where it has as many.

    Returns:
        Indices of the best poses, int64, in the order of their pairs.
    """
    order = torch.argsort(quality, descending=True, stable=True)
    order = order[torch.argsort(pair[order], stable=True)]
    ranked = pair[order]
    is_kept = torch.ones_like(order, dtype=torch.bool)
    is_kept[count:] = ranked[count:] != ranked[:-count]
    return order[is_kept]
