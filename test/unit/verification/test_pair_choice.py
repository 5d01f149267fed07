"""Choice of the pairs of mask and object that are worth more work."""

from __future__ import annotations

import torch

from ism_ros.verification.pair_choice import MOST_LIKELY_PAIRS, PairChoice, best_of_pairs, rows_of_threads

CHOICE = PairChoice(pairs=2, likely=0.9, cost_weight=1.0, quality_weight=1.0)


def test_the_likeliest_pairs_are_kept_with_all_their_poses() -> None:
    pair = torch.tensor([7, 7, 3, 5])
    kept = CHOICE.kept(pair, torch.tensor([0.5, 0.5, 0.4, 0.6]), torch.tensor([0.1, 0.9, 0.3, 0.0]))
    assert kept.tolist() == [True, True, False, True]


def test_fit_and_alignment_count_beside_looks() -> None:
    kept = CHOICE.kept(torch.arange(3), torch.tensor([0.8, 0.5, 0.5]), torch.tensor([0.9, 0.1, 0.5]), torch.zeros(3))
    assert kept.tolist() == [False, True, True]
    quality = torch.tensor([1.0, 0.0, 0.0])
    assert CHOICE.kept(torch.arange(3), torch.full((3,), 0.5), torch.zeros(3), quality)[0]


def test_more_pairs_are_kept_where_they_are_likely() -> None:
    prior = torch.tensor([0.95, 0.94, 0.93, 0.2])
    assert CHOICE.kept(torch.arange(4), prior, torch.zeros(4)).tolist() == [True, True, True, False]
    prior = 1.0 + 0.001 * torch.arange(2 * MOST_LIKELY_PAIRS)
    assert CHOICE.kept(torch.arange(len(prior)), prior, torch.zeros(len(prior))).sum() == MOST_LIKELY_PAIRS


def test_of_each_pair_the_best_pose_is_taken() -> None:
    assert best_of_pairs(torch.tensor([4, 1, 4, 1]), torch.tensor([0.1, 0.5, 0.3, 0.5])).tolist() == [1, 2]


def test_the_poses_under_one_mask_go_to_one_thread() -> None:
    mask_index = torch.tensor([3, 0, 3, 2])
    assert [rows.tolist() for rows in rows_of_threads(mask_index, 2)] == [[1, 3], [0, 2]]
    assert [rows.tolist() for rows in rows_of_threads(mask_index, 2, mask_index < 3)] == [[1, 3]]
