"""Choice of the pairs of mask and object that are worth more work: a cascade, each step of which costs more a pair.

Objects that fit a mask in size have their views ranked, the likeliest pairs start poses. After the first steps of their
refinement (verification.verification) it is chosen once more.

N masks, O objects, V views of one, H poses, each of one pair; a pair may have several.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ism_ros.objects.known_object import KnownObject
from ism_ros.pose.observed_points import MIN_PIXELS, ObservedMaps, ObservedPoints
from ism_ros.pose.start_poses import start_poses
from ism_ros.pose.view_choice import observed_maps, rank_views
from ism_ros.refinement.pose_batch import PoseBatch, joined
from ism_ros.rendering.views.surface_samples import SurfaceSamples
from ism_ros.runtime.threads import map_on_threads

STARTS = 6
"""Start poses of each pair."""
MIN_ALIGNED_VIEWS, MAX_ALIGNMENTS = 12, 960
"""Views of each pair that start poses are chosen of: as many as make MAX_ALIGNMENTS for all pairs, and at least."""
MAX_DISTANCE, MIN_SHARE, MIN_EXTENT = 0.75, 0.25, 0.06
"""Distance from the median, in diameters of the object, within which points can be of the object; least share of such
points, and least extent of these in diameters, of a pair that is compared."""
MOST_LIKELY_PAIRS = 64
"""Most pairs that are kept because they are likely, beyond those that are kept in any case."""
OBJECTS_PER_MASK = 2
"""Most objects of each mask, the likeliest, that are kept: with many known objects all masks would have some that look
like it, and pairs of clear masks would leave none for the others."""


@dataclass(frozen=True)
class PairChoice:
    """How pairs are chosen: the likelihood of a pose is prior - cost_weight * cost + quality_weight * quality.

    Attributes:
        pairs: Pairs of a frame that are kept in any case, the likeliest ones.
        likely: Likelihood from which on up to MOST_LIKELY_PAIRS are kept: a bin may be full of one object.
        cost_weight: Weight of the alignment cost (pose.view_choice).
        quality_weight: Weight of the quality of the fit (refinement.projective_icp.fit_quality).
        second_penalty: What likelihood the second object of a mask is taken to have less.
    """

    pairs: int
    likely: float
    cost_weight: float
    quality_weight: float = 0.0
    second_penalty: float = 0.0

    def kept(
        self, pair: Tensor, object_count: int, prior: Tensor, cost: Tensor, quality: Tensor | float = 0.0
    ) -> Tensor:
        """Choose pairs by their likeliest pose.

        Args:
            pair: (H,) int64, the pair of each pose, as of `pair_numbers`.
            object_count: Number of objects, O.
            prior: (H,) how likely the pair is by looks.
            cost: (H,) alignment cost.
            quality: (H,) of the fit.

        Returns:
            (H,) bool, the poses of the pairs that are kept.
        """
        likelihood = prior - self.cost_weight * cost + self.quality_weight * quality
        numbers, pair = pair.unique(return_inverse=True)
        of_pair = likelihood.new_full((len(numbers),), -torch.inf).scatter_reduce(0, pair, likelihood, "amax")
        rank = _ranks_in_masks(numbers // object_count, of_pair)
        of_pair = (of_pair - self.second_penalty * rank).masked_fill(rank >= OBJECTS_PER_MASK, -torch.inf)
        best = of_pair.topk(min(MOST_LIKELY_PAIRS, len(numbers))).values
        count = max(min(self.pairs, len(best)), int((best >= self.likely).sum()))
        is_kept = of_pair.isfinite() & (of_pair >= best[count - 1])
        return is_kept[pair]


def _ranks_in_masks(mask_index: Tensor, likelihood: Tensor) -> Tensor:
    """Rank (P,) of each of P pairs among those of the same mask, 0 = the likeliest."""
    order = torch.argsort(likelihood, descending=True, stable=True)
    order = order[torch.argsort(mask_index[order], stable=True)]
    ordered = mask_index[order].contiguous()
    place = torch.arange(len(order), device=order.device)
    return torch.empty_like(order).scatter_(0, order, place - torch.searchsorted(ordered, ordered))


REFINED = PairChoice(pairs=60, likely=0.5, cost_weight=0.85)
"""Pairs of mask and object whose poses are refined at all."""


def pair_numbers(poses: PoseBatch, object_count: int) -> Tensor:
    """Number the pairs of mask and object.

    Args:
        poses: H poses.
        object_count: Number of objects, O.

    Returns:
        (H,) int64, the number of the pair of each pose, row by row of an (N, O) table.
    """
    return poses.mask_index * object_count + poses.object_index


def rows_of_threads(mask_index: Tensor, threads: int, kept: Tensor | bool = True) -> list[Tensor]:
    """Share poses out to threads by their masks, so that all of a pair stay together.

    Args:
        mask_index: (H,) int64, the mask of each pose.
        threads: Number of threads.
        kept: (H,) bool, the poses that are shared out; True = all.

    Returns:
        Indices of the poses of each thread that has any, int64.
    """
    parts = (torch.nonzero((mask_index % threads == part) & kept)[:, 0] for part in range(threads))
    return [rows for rows in parts if len(rows)]


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


@dataclass(frozen=True)
class ObservedExtents:
    """How far the points under N masks lie from their median.

    Attributes:
        distance_m: (N, P) ascending, metres; +inf for samples without depth or outside the mask.
        count: (N,) int64, how many have depth.
    """

    distance_m: Tensor
    count: Tensor

    @staticmethod
    def of(points: ObservedPoints) -> ObservedExtents:
        """Measure the points under masks."""
        measured = points.pixels > 0
        squared_m2 = (points.points_m - points.median_m[:, :, None]).square_().sum(dim=1)
        distance_m = squared_m2.sqrt_().masked_fill_(~measured, torch.inf)
        return ObservedExtents(distance_m.sort(dim=1).values, measured.sum(dim=1))

    def fit(self, diameter_m: float) -> Tensor:
        """Tell under which masks an object of some size can be.

        Robust: what is farther off than the object is large counts as background, but for most of the points.

        Args:
            diameter_m: Diagonal of the object's box, metres.

        Returns:
            (N,) bool.
        """
        near = (self.distance_m < MAX_DISTANCE * diameter_m).sum(dim=1)
        extent_m = self.distance_m.gather(1, (0.9 * (near - 1).clamp(min=0)).long()[:, None])[:, 0]
        enough = (self.count >= MIN_PIXELS) & (near > MIN_SHARE * self.count)
        return enough & (extent_m > MIN_EXTENT * diameter_m)


def surface_of(known: KnownObject) -> SurfaceSamples:
    """Return the surface of an object that can be verified."""
    assert known.surface is not None
    return known.surface


def can_be_verified(known: KnownObject) -> bool:
    """Tell whether there is all of an object that its poses are found and judged by."""
    return known.views is not None and known.surface is not None and known.diameter_m is not None


@dataclass(frozen=True)
class _RankedViews:
    """Views of one object under the M masks that it fits in size.

    Attributes:
        object_index: Which object.
        masks: (M,) int64.
        maps: Of what is observed under them.
        cost: (M, V) of `rank_views`.
    """

    object_index: int
    masks: Tensor
    maps: ObservedMaps
    cost: Tensor


def _ranked(objects: Sequence[KnownObject], prior: Tensor, points: ObservedPoints, threads: int) -> list[_RankedViews]:
    """Rank the views of each object under the masks that it fits in size."""
    extents, is_candidate = ObservedExtents.of(points), prior.isfinite()
    candidates = torch.nonzero(is_candidate.any(dim=0))[:, 0].tolist()

    def ranked(index: int) -> _RankedViews | None:
        known = objects[index]
        if known.views is None or known.diameter_m is None or not can_be_verified(known):
            return None
        masks = torch.nonzero(is_candidate[:, index] & extents.fit(known.diameter_m))[:, 0]
        if not len(masks):
            return None
        maps = observed_maps(points[masks], known.views.radius_m)
        return _RankedViews(index, masks, maps, rank_views(maps, known.spectra))

    return [ranked for ranked in map_on_threads(ranked, threads, candidates) if ranked is not None]


def likeliest_starts(
    objects: Sequence[KnownObject], prior: Tensor, points: ObservedPoints, threads: int
) -> PoseBatch | None:
    """Take start poses of the likeliest pairs.

    Args:
        objects: O objects; those that cannot be verified are left out.
        prior: (N, O) how likely a pair is by looks; -inf where it is not to be verified.
        points: Observed under N masks.
        threads: Threads that share the objects; 1 on a GPU.

    Returns:
        Up to STARTS poses of each pair, or None where there is no pair.
    """
    ranked = _ranked(objects, prior, points, threads)
    if not ranked:
        return None
    cost = torch.cat([one.cost.amin(dim=1) for one in ranked])
    looks = torch.cat([prior[one.masks, one.object_index] for one in ranked])
    pair = torch.cat([one.masks * len(objects) + one.object_index for one in ranked])
    kept = REFINED.kept(pair, len(objects), looks, cost)

    aligned = max(MIN_ALIGNED_VIEWS, MAX_ALIGNMENTS // max(int(kept.sum()), 1))

    def starts_of(one: _RankedViews, is_kept: Tensor) -> PoseBatch:
        known = objects[one.object_index]
        assert known.views is not None
        rows = torch.nonzero(is_kept)[:, 0]
        starts = start_poses(one.maps[rows], one.cost[rows], known.views, known.spectra, STARTS, aligned)
        return starts.batch(one.masks[rows], one.object_index)

    of_objects = kept.split([len(one.masks) for one in ranked])
    chosen = [(one, is_kept) for one, is_kept in zip(ranked, of_objects, strict=True) if bool(is_kept.any())]
    if not chosen:
        return None
    return joined(map_on_threads(starts_of, threads, *zip(*chosen, strict=True)))
