"""Semantic scores at their edges: padding, few templates, tokens of any length."""

from __future__ import annotations

import torch

from ism_ros.matching.scores import similarity


def test_padding_templates_never_raise_a_score() -> None:
    templates = torch.nn.functional.normalize(torch.rand(1, 6, 8), dim=-1)
    padded = torch.cat([templates, torch.zeros(1, 30, 8)], dim=1)
    query = torch.rand(5, 8)
    plain, _, _ = similarity.semantic_score(similarity.pairwise_similarity(query, templates))
    with_padding, _, _ = similarity.semantic_score(similarity.pairwise_similarity(query, padded))
    torch.testing.assert_close(plain, with_padding)


def test_fewer_templates_than_top_k_are_all_averaged() -> None:
    pairwise = torch.tensor([[[0.2, 0.4, 0.9]]])
    score, _, best_template = similarity.semantic_score(pairwise, top_k=5)
    assert torch.isclose(score[0], torch.tensor(0.5))
    assert best_template.tolist() == [2]


def test_similarity_does_not_depend_on_length() -> None:
    query, templates = torch.rand(4, 8), torch.rand(2, 3, 8)
    torch.testing.assert_close(
        similarity.pairwise_similarity(query * 7.0, templates * 0.3), similarity.pairwise_similarity(query, templates)
    )
