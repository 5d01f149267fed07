"""What the matcher `verified` verifies: proposals, and unions of two of them that may be parts of one object.

Networks that find anything that could be an object cut some in pieces: a drill into its body and its handle. Two
proposals that look most like the same object, touch, and lie within its size of each other are verified together too.

N proposals, O objects, K unions.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from ism_ros.data.frame import Frame
from ism_ros.data.proposals import Proposals
from ism_ros.objects.library import ObjectLibrary
from ism_ros.pose.observed_points import ObservedPoints, sample_observed_points
from ism_ros.verification.pair_choice import can_be_verified

MAX_CANDIDATES = 12
"""Most objects that are compared by shape under each mask, those with the best semantic scores."""
MARGIN_WEIGHT, CONFIDENCE_WEIGHT = 0.9, 0.55
"""Weights of the distance to the best other object and of the segmentor's confidence, relative to the semantic score,
in the choice of the pairs that are verified."""
MIN_PART_SEMANTIC = 0.4
"""Least semantic score of a part."""
MAX_COMMON_SHARE = 0.3
"""Largest share of the smaller part that both may have in common."""
MAX_GAP_PX = 8
"""Largest gap between the boxes of two parts, pixels."""
MAX_DISTANCE = 0.7
"""Largest distance between the medians of two parts, in diameters of the object."""
MAX_PARTS, MAX_UNIONS = 6, 9
"""Most parts of an object that are joined in pairs, and most unions of a frame."""
STEP_PX = 4
"""Step at which masks are compared, pixels."""


@dataclass(frozen=True)
class Candidates:
    """N proposals, and K unions after them.

    Attributes:
        proposals: N + K masks with tight boxes; the confidence of a union is the mean of its parts'.
        points: Observed under them; None without depth.
        semantic: (N + K, O) semantic scores; those of a union are the means of its parts'.
        margin: (N + K, O), likewise, as of `semantic_margin`.
        prior: (N + K, O) how likely pairs are by looks; -inf for those that are not verified: a union is compared with
            one object alone.
        proposal: (N + K,) int64, the proposal itself, or the part of the union that looks more like the object.
    """

    proposals: Proposals
    points: ObservedPoints | None
    semantic: Tensor
    margin: Tensor
    prior: Tensor
    proposal: Tensor

    @property
    def has_depth(self) -> bool:
        """Whether the frame has depth."""
        return self.points is not None

    @property
    def is_union(self) -> Tensor:
        """(N + K,) bool, which are unions."""
        return self.proposal < torch.arange(len(self.proposal), device=self.proposal.device)

    @staticmethod
    def of(
        frame: Frame,
        proposals: Proposals,
        semantic: Tensor,
        margin: Tensor,
        library: ObjectLibrary,
        is_sought: Tensor | None = None,
    ) -> Candidates:
        """Find the candidates of a frame.

        Args:
            frame: The frame; without depth no unions are made.
            proposals: N proposals with tight boxes.
            semantic: (N, O) semantic scores.
            margin: (N, O), as of `semantic_margin`.
            library: O objects.
            is_sought: (O,) bool, which of them are verified; None = all.

        Returns:
            The candidates.
        """
        points = sample_observed_points(proposals.masks, proposals.boxes_xyxy, frame) if frame.has_depth else None
        itself = torch.arange(len(semantic), device=semantic.device)
        prior = _prior(semantic, margin, proposals.confidence)
        if is_sought is not None:
            prior.masked_fill_(~is_sought, -torch.inf)
        alone = Candidates(proposals, points, semantic, margin, prior, itself)
        pairs, objects = ([], []) if points is None else _parts(proposals, points, semantic + margin, semantic, library)
        return alone.with_unions(pairs, objects, frame) if pairs else alone

    def with_unions(self, pairs: list[tuple[int, int]], objects: list[int], frame: Frame) -> Candidates:
        """Add unions.

        Args:
            pairs: K pairs of proposals, the one that looks more like the object first.
            objects: K objects that they may be parts of.
            frame: The frame, with depth.

        Returns:
            The candidates with the unions after them.
        """
        assert self.points is not None
        parts = torch.tensor(pairs, device=self.semantic.device)
        first, second = parts.unbind(dim=1)
        masks, boxes = self.proposals.masks, self.proposals.boxes_xyxy
        unions = masks[first] | masks[second]
        low, high = torch.minimum(boxes[first], boxes[second]), torch.maximum(boxes[first], boxes[second])
        boxes_of_unions = torch.cat([low[:, :2], high[:, 2:]], dim=1)
        confidence, semantic, margin = (
            torch.cat([values, values[parts].mean(dim=1)])
            for values in (self.proposals.confidence, self.semantic, self.margin)
        )
        prior = torch.full_like(semantic[: len(pairs)], -torch.inf)
        rows, columns = torch.arange(len(pairs)), torch.tensor(objects)
        prior[rows, columns] = self.prior[parts, columns[:, None].to(parts.device)].amax(dim=1)
        return Candidates(
            Proposals(torch.cat([masks, unions]), confidence, torch.cat([boxes, boxes_of_unions])),
            self.points.with_others(sample_observed_points(unions, boxes_of_unions, frame)),
            semantic,
            margin,
            torch.cat([self.prior, prior]),
            torch.cat([self.proposal, first]),
        )


def _prior(semantic: Tensor, margin: Tensor, confidence: Tensor) -> Tensor:
    """How likely pairs are by looks (N, O), for the MAX_CANDIDATES most similar objects of each proposal, else -inf."""
    least = semantic.topk(min(MAX_CANDIDATES, semantic.shape[1]), dim=1).values[:, -1:]
    likely = semantic + MARGIN_WEIGHT * margin + CONFIDENCE_WEIGHT * confidence[:, None]
    return likely.masked_fill(semantic < least, -torch.inf)


def _parts(
    proposals: Proposals, points: ObservedPoints, looks: Tensor, semantic: Tensor, library: ObjectLibrary
) -> tuple[list[tuple[int, int]], list[int]]:
    """Find the likeliest pairs of proposals that may be parts of one object, and that object."""
    best, chosen = looks.max(dim=1)
    own_semantic = semantic.gather(1, chosen[:, None])[:, 0]
    # a few small numbers are compared faster without tensors
    small = proposals.masks[:, ::STEP_PX, ::STEP_PX].flatten(1).float()
    common, area = (small @ small.T).tolist(), small.sum(dim=1).tolist()
    boxes = proposals.boxes_xyxy.tolist()
    # not by products of matrices, which are inexact
    apart_m = torch.cdist(points.median_m, points.median_m, compute_mode="donot_use_mm_for_euclid_dist").tolist()
    found: list[tuple[int, float, tuple[int, int], int]] = []
    for index in chosen.unique().tolist():
        known = library.objects[index]
        if known.diameter_m is None or not can_be_verified(known):
            continue
        rows = torch.nonzero((chosen == index) & (own_semantic >= MIN_PART_SEMANTIC))[:, 0]
        rows = rows[best[rows].argsort(descending=True)][:MAX_PARTS]
        pairs = []
        for first, second in combinations(rows.tolist(), 2):
            is_apart = common[first][second] < MAX_COMMON_SHARE * min(area[first], area[second])
            is_near = apart_m[first][second] < MAX_DISTANCE * known.diameter_m
            if is_apart and is_near and _gap_px(boxes[first], boxes[second]) <= MAX_GAP_PX:
                pairs.append((float(best[first] + best[second]), (first, second)))
        # the likeliest of each object come before the second ones of any, so that no object takes all
        found += [(rank, -looks, pair, index) for rank, (looks, pair) in enumerate(sorted(pairs, reverse=True))]
    found = sorted(found)[:MAX_UNIONS]
    return [pair for *_, pair, _ in found], [index for *_, index in found]


def _gap_px(one: list[int], other: list[int]) -> int:
    """Gap between two boxes along the axis in which it is larger, pixels; below 0 where they overlap."""
    gaps = (max(one[axis], other[axis]) - min(one[axis + 2], other[axis + 2]) for axis in (0, 1))
    return max(gaps)
