"""Choice of the pairs of mask and object that are worth more work."""

from __future__ import annotations

from dataclasses import replace

import torch

from ism_ros.verification.pair_choice import MOST_LIKELY_PAIRS, PairChoice, best_of_pairs, rows_of_threads

CHOICE = PairChoice(pairs=2, likely=0.9, cost_weight=1.0, quality_weight=1.0)


def test_the_likeliest_pairs_are_kept_with_all_their_poses() -> None:
    pair = torch.tensor([7, 7, 3, 5])
    kept = CHOICE.kept(pair, 1, torch.tensor([0.5, 0.5, 0.4, 0.6]), torch.tensor([0.1, 0.9, 0.3, 0.0]))
    assert kept.tolist() == [True, True, False, True]


def test_fit_and_alignment_count_beside_looks() -> None:
    pair, prior = torch.arange(3), torch.tensor([0.8, 0.5, 0.5])
    kept = CHOICE.kept(pair, 1, prior, torch.tensor([0.9, 0.1, 0.5]), torch.zeros(3))
    assert kept.tolist() == [False, True, True]
    quality = torch.tensor([1.0, 0.0, 0.0])
    assert CHOICE.kept(pair, 1, torch.full((3,), 0.5), torch.zeros(3), quality)[0]


def test_more_pairs_are_kept_where_they_are_likely() -> None:
    prior = torch.tensor([0.95, 0.94, 0.93, 0.2])
    assert CHOICE.kept(torch.arange(4), 1, prior, torch.zeros(4)).tolist() == [True, True, True, False]
    prior = 1.0 + 0.001 * torch.arange(2 * MOST_LIKELY_PAIRS)
    assert CHOICE.kept(torch.arange(len(prior)), 1, prior, torch.zeros(len(prior))).sum() == MOST_LIKELY_PAIRS


def test_one_mask_with_many_likely_objects_leaves_room_for_others() -> None:
    # masks 0 and 1, six objects
    pair, prior = torch.tensor([0, 1, 2, 3, 10]), torch.tensor([0.8, 0.7, 0.75, 0.6, 0.3])
    kept = replace(CHOICE, pairs=4).kept(pair, 6, prior, torch.zeros(5))
    assert kept.tolist() == [True, False, True, False, True]


def test_the_second_object_of_a_mask_is_less_likely_than_the_first_of_another() -> None:
    pair, prior = torch.tensor([0, 1, 10]), torch.tensor([0.8, 0.7, 0.6])
    assert CHOICE.kept(pair, 6, prior, torch.zeros(3)).tolist() == [True, True, False]
    assert replace(CHOICE, second_penalty=0.2).kept(pair, 6, prior, torch.zeros(3)).tolist() == [True, False, True]


def test_what_cannot_be_compared_is_not_kept() -> None:
    cost = torch.tensor([0.1, torch.inf])
    assert CHOICE.kept(torch.arange(2), 1, torch.ones(2), cost).tolist() == [True, False]


def test_of_each_pair_the_best_pose_is_taken() -> None:
    assert best_of_pairs(torch.tensor([4, 1, 4, 1]), torch.tensor([0.1, 0.5, 0.3, 0.5])).tolist() == [1, 2]


def test_the_poses_under_one_mask_go_to_one_thread() -> None:
    mask_index = torch.tensor([3, 0, 3, 2])
    assert [rows.tolist() for rows in rows_of_threads(mask_index, 2)] == [[1, 3], [0, 2]]
    assert [rows.tolist() for rows in rows_of_threads(mask_index, 2, mask_index < 3)] == [[1, 3]]
