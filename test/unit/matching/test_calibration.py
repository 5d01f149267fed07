"""What each feature contributes to a probability."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ism_ros.matching.calibration import FEATURES, ScoreCalibration, single_instance, unlike_leaders, with_log_odds

FOR, AGAINST, UNSEEN = 0, 1, 2
"""Features that raise the probability of the silhouette, lower it, and change nothing."""


@pytest.fixture
def calibration() -> ScoreCalibration:
    """Equal networks of one path: log-odds of the silhouette that rise with one feature and fall with another."""
    calibration = ScoreCalibration().requires_grad_(False)
    calibration.mean.copy_(torch.linspace(0.2, 0.8, FEATURES))
    calibration.deviation.fill_(0.5)
    for weight in calibration.weights:
        weight.zero_()
    first, second, last = calibration.weights
    first[:, 0, FOR], first[:, 0, AGAINST] = 1.0, -0.5
    second[:, 0, 0] = 1.0
    last[:, 0, 0], last[:, 1, 0] = 1.0, -1.0
    return calibration


def of_silhouette(calibration: ScoreCalibration, features: Tensor) -> Tensor:
    return calibration.contributions(features, torch.ones(len(features), dtype=torch.bool))


def test_a_contribution_is_what_the_log_odds_lose_where_the_feature_is_at_its_mean(
    calibration: ScoreCalibration,
) -> None:
    features = calibration.mean + torch.rand(5, FEATURES, generator=torch.Generator().manual_seed(0))
    contributions = of_silhouette(calibration, features)
    for feature in range(FEATURES):
        without = features.clone()
        without[:, feature] = calibration.mean[feature]
        lost = calibration(features)[:, 0].logit() - calibration(without)[:, 0].logit()
        torch.testing.assert_close(contributions[:, feature], lost, atol=1e-4, rtol=1e-4)


def test_what_raises_the_probability_speaks_for_and_what_lowers_it_against(calibration: ScoreCalibration) -> None:
    (contributions,) = of_silhouette(calibration, calibration.mean[None] + 0.5)
    assert contributions[FOR] > 0
    assert contributions[AGAINST] < 0
    assert contributions[UNSEEN] == 0


def test_features_at_their_means_contribute_nothing(calibration: ScoreCalibration) -> None:
    assert (of_silhouette(calibration, calibration.mean[None]) == 0).all()


def test_contributions_are_to_the_probability_that_made_the_score(calibration: ScoreCalibration) -> None:
    features = (calibration.mean + 0.5).expand(2, -1)
    silhouette, proposal = calibration.contributions(features, torch.tensor([True, False]))
    torch.testing.assert_close(proposal, -silhouette)


def test_no_detections_have_no_contributions(calibration: ScoreCalibration) -> None:
    assert of_silhouette(calibration, torch.zeros(0, FEATURES)).shape == (0, FEATURES)


def compared(probability: Tensor, semantic: Tensor) -> Tensor:
    return with_log_odds(probability, unlike_leaders(probability, semantic))


def test_what_looks_much_less_like_an_object_than_its_best_instance_is_less_probable() -> None:
    probability, semantic = torch.tensor([[0.9], [0.6]]), torch.tensor([[0.85], [0.3]])
    lowered = compared(probability, semantic)
    assert lowered[0] == probability[0]
    assert lowered[1] < 0.5


def test_instances_that_look_about_as_much_like_their_object_stay_as_probable() -> None:
    probability, semantic = torch.tensor([[0.9, 0.0], [0.6, 0.7]]), torch.tensor([[0.85, 0.9], [0.75, 0.2]])
    torch.testing.assert_close(compared(probability, semantic)[:, 0], probability[:, 0])


def test_a_doubtful_second_instance_is_less_probable_beside_a_certain_one() -> None:
    single = single_instance(torch.tensor([0.9, 0.4, 0.9]), torch.tensor([0, 0, 1]))
    assert single.tolist() == pytest.approx([0.0, 0.9, 0.0])


def test_of_several_likely_instances_none_is_less_probable_for_the_others() -> None:
    full_bin = single_instance(torch.tensor([0.9, 0.8, 0.8, 0.4]), torch.tensor([0, 0, 0, 0]))
    assert full_bin.tolist() == pytest.approx([0.0, 0.9 * 0.2 * 0.6, 0.9 * 0.2 * 0.6, 0.9 * 0.2 * 0.2])


def test_of_equally_probable_instances_one_is_the_leader() -> None:
    single = single_instance(torch.tensor([0.5, 0.5]), torch.tensor([3, 3]))
    assert sorted(single.tolist()) == pytest.approx([0.0, 0.5])


def test_no_instances_have_nothing_to_compare() -> None:
    assert single_instance(torch.zeros(0), torch.zeros(0, dtype=torch.int64)).shape == (0,)
