"""Scores of SAM-6D without proposals and without geometry."""

from __future__ import annotations

import torch

from ism_ros.matching import sam6d
from ism_ros.matching.scores import patch_scores, similarity


def test_no_proposals_give_no_scores() -> None:
    pairwise = similarity.pairwise_similarity(torch.zeros(0, 8), torch.rand(3, 42, 8))
    semantic, object_index, best_template = similarity.semantic_score(pairwise)
    appearance, visible_ratio = patch_scores.patch_scores(torch.zeros(0, 4, 8), torch.zeros(0, 4, 8))
    assert [len(part) for part in (semantic, object_index, best_template, appearance, visible_ratio)] == [0] * 5


def test_final_score_without_geometry_is_the_mean_of_the_other_two() -> None:
    zero = torch.zeros(1)
    final = sam6d.final_score(torch.tensor([0.8]), torch.tensor([0.4]), zero, zero)
    assert torch.isclose(final, torch.tensor(0.6))
