"""Appearance scores and visible ratios at their edges, and template by template."""

from __future__ import annotations

import pytest
import torch

from ism_ros.matching.scores import patch_scores


def test_a_crop_without_valid_patches_scores_zero() -> None:
    appearance, visible_ratio = patch_scores.patch_scores(torch.zeros(1, 4, 8), torch.zeros(1, 4, 8))
    assert appearance.tolist() == [0.0]
    assert visible_ratio.tolist() == [0.0]


@pytest.mark.parametrize("invalid", ["none", "some", "query", "template", "both"])
def test_scores_template_by_template_are_those_of_all_at_once(invalid: str) -> None:
    generator = torch.Generator().manual_seed(3)
    query, templates = (
        torch.nn.functional.normalize(torch.randn((count, 9, 4), generator=generator), dim=2) for count in (8, 3)
    )
    if invalid == "some":
        query *= torch.rand((8, 9, 1), generator=generator) < 0.4
        templates *= torch.rand((3, 9, 1), generator=generator) < 0.4
    if invalid in ("query", "both"):
        query[2] = 0
    if invalid in ("template", "both"):
        templates[1] = 0
    if invalid == "both":
        query[:, 1:] = 0
    selected = torch.tensor([7, 2, 0, 5, 4])
    groups = [
        (templates[0], torch.tensor([1, 3])),
        (templates[1], torch.tensor([0])),
        (templates[2], torch.tensor([4, 2])),
    ]
    appearance, visible = patch_scores.patch_scores_by_template(query, selected, groups)
    wanted = patch_scores.patch_scores(query[selected], templates[[1, 0, 2, 0, 2]])
    torch.testing.assert_close(appearance, wanted[0])
    torch.testing.assert_close(visible, wanted[1])
    for chunk in (1, 2, 128):
        appearance, visible = patch_scores._patch_scores_in_batches(query, selected, groups, chunk)
        torch.testing.assert_close(appearance, wanted[0])
        torch.testing.assert_close(visible, wanted[1])


def test_no_selected_proposal_has_no_scores() -> None:
    nothing = torch.zeros(0, dtype=torch.int64)
    appearance, visible = patch_scores.patch_scores_by_template(torch.rand(3, 4, 5), nothing, [])
    assert appearance.shape == visible.shape == (0,)
