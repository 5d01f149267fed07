"""What the networks of the learned default are trained for."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize

pytest.importorskip("tqdm")

from ism_ros.segmentors.tiny_masks import find_masks
from ism_ros.segmentors.tiny_network import (
    FEATURES,
    REACH,
    NetworkOutputs,
    TinyNetwork,
    mask_inputs,
    mask_weights,
    positions,
)
from training import descriptor_task, segmentor
from training.segmentor_task import average_precision, ious


def two_squares() -> torch.Tensor:
    instance = torch.zeros(48, 64, dtype=torch.uint8)
    instance[8:24, 8:24] = 1
    instance[20:40, 36:60] = 2
    return instance


def perfect_outputs(instance: torch.Tensor) -> NetworkOutputs:
    """As a network would answer that sees the middle of every pixel's object, and nothing elsewhere."""
    targets = segmentor.make_targets(instance)
    height, width = instance.shape
    far = positions((height, width), 1.0 / REACH, torch.device("cpu")) + 20
    centres = torch.where(targets.instance[None] > 0, targets.centres, far)[None]
    score = torch.full((1, height // segmentor.RATIO, width // segmentor.RATIO), -9.0)
    kernels = torch.zeros(1, FEATURES + 4, *score.shape[1:])
    for row, column in targets.cells.tolist():
        score[0, row, column] = 9.0
        middle = targets.centres[:, row * segmentor.RATIO, column * segmentor.RATIO]
        own = torch.tensor([column, row]) * segmentor.RATIO / REACH
        kernels[0, FEATURES : FEATURES + 2, row, column] = middle - own
    dense = torch.stack([(instance > 0).float(), targets.border.float()]) * 18 - 9
    return NetworkOutputs(torch.zeros(1, FEATURES, height, width), centres, dense[None], score, kernels)


def test_a_mask_is_the_gaussian_around_its_cells_centre() -> None:
    kernels = torch.randn(3, FEATURES + 4)
    cells = torch.tensor([[4.0, 8.0], [0.0, 0.0], [12.0, 4.0]])
    features, centres = torch.randn(FEATURES, 6, 5), torch.randn(2, 6, 5)
    logits = (mask_weights(kernels, cells) @ mask_inputs(features, centres)).view(3, 6, 5)
    centre = cells / REACH + kernels[:, FEATURES : FEATURES + 2]
    fade = 4 * kernels[:, FEATURES + 2].exp()
    distance = (centres[None] - centre[:, :, None, None]).square().sum(1)
    linear = torch.einsum("nf,fhw->nhw", kernels[:, :FEATURES], features)
    wanted = linear + kernels[:, FEATURES + 3, None, None] + 2 - fade[:, None, None] * distance
    torch.testing.assert_close(logits, wanted, rtol=1e-4, atol=1e-3)


def test_a_perfect_answer_costs_little_and_gives_one_mask_an_object() -> None:
    instance = two_squares()
    outputs = perfect_outputs(instance)
    parts = segmentor.loss_of(outputs, [segmentor.make_targets(instance)])
    assert float(parts["score"]) < 0.01
    assert float(parts["dice"]) < 0.3
    found = find_masks(outputs)
    overlap = ious(found.logits > 0, instance)
    assert len(found) == 2
    torch.testing.assert_close(overlap.max(dim=0).values, torch.ones(2))
    assert average_precision([(found.confidence, overlap)], 0.5) == 1.0


def test_a_scene_without_objects_has_a_finite_loss() -> None:
    instance = torch.zeros(48, 64, dtype=torch.uint8)
    outputs = TinyNetwork()(torch.randn(1, 10, 96, 128))
    parts = segmentor.loss_of(outputs, [segmentor.make_targets(instance)])
    assert all(bool(torch.isfinite(value)) for value in parts.values())


def test_every_object_is_asked_for_by_at_least_one_cell_of_its_own() -> None:
    instance = two_squares()
    instance[2:4, 50:56] = 3  # smaller than a cell
    targets = segmentor.make_targets(instance)
    assert set(targets.labels.tolist()) == {1, 2, 3}
    assert not targets.ignored[targets.cells[:, 0], targets.cells[:, 1]].any()


def test_tokens_of_the_right_object_cost_less_than_those_of_another() -> None:
    generator = torch.Generator().manual_seed(0)
    tokens = normalize(torch.randn(2, 224, generator=generator), dim=-1)
    patches = normalize(torch.randn(2, 9, 8, generator=generator), dim=-1)
    owner = torch.tensor([0, 1, 0, 0, 1, 1])
    valid = torch.ones(6, 9, dtype=torch.bool)
    weight = torch.tensor([[1.0, 0, 0, 0], [0, 0, 1.0, 0]])
    right = descriptor_task.loss_of(tokens[owner], patches[owner], valid, owner, weight)
    wrong = descriptor_task.loss_of(tokens[owner.flip(0)], patches[owner.flip(0)], valid, owner, weight)
    right = {name: float(value) for name, value in right.items()}
    assert right["identity"] < float(wrong["identity"]) or right["patch"] < float(wrong["patch"])
