"""What the networks of the learned default are trained for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

pytest.importorskip("tqdm")

from ism_ros.segmentors.tiny.input_channels import encode as encode_one
from ism_ros.segmentors.tiny.mask_proposals import find_masks
from ism_ros.segmentors.tiny.segmentor_network import (
    CENTRE_UNIT_PX,
    FEATURES,
    NetworkOutputs,
    TinyNetwork,
    mask_inputs,
    mask_weights,
    positions,
)
from training.augmentations.crop_augmentations import augment_crops
from training.augmentations.scene_augmentations import SceneBatch, crop, mirror
from training.augmentations.template_colors import TemplateColors, sample_template_colors
from training.tasks import descriptor_loss, segmentor_loss
from training.tasks.batch_encoding import encode
from training.tasks.segmentor_task import average_precision, ious


def two_squares() -> torch.Tensor:
    instance = torch.zeros(48, 64, dtype=torch.int64)
    instance[8:24, 8:24] = 1
    instance[20:40, 36:60] = 2
    return instance


def rows_and_columns(targets: segmentor_loss.Targets, grid_width: int) -> list[tuple[int, int]]:
    """Of the cells that the first image asks for."""
    return [divmod(cell, grid_width) for cell in targets.cell[0][targets.is_positive[0]].tolist()]


def perfect_outputs(instance: torch.Tensor) -> NetworkOutputs:
    """As a network would answer that sees the middle of every pixel's object, and nothing elsewhere."""
    targets = segmentor_loss.make_targets(instance[None])
    height, width = instance.shape
    far = positions((height, width), 1.0 / CENTRE_UNIT_PX, torch.device("cpu")) + 20
    centres = torch.where(targets.instance[:, None] > 0, targets.centres, far)
    score = torch.full((1, height // segmentor_loss.RATIO, width // segmentor_loss.RATIO), -9.0)
    kernels = torch.zeros(1, FEATURES + 4, *score.shape[1:])
    for row, column in rows_and_columns(targets, score.shape[2]):
        score[0, row, column] = 9.0
        middle = targets.centres[0, :, row * segmentor_loss.RATIO, column * segmentor_loss.RATIO]
        own = torch.tensor([column, row]) * segmentor_loss.RATIO / CENTRE_UNIT_PX
        kernels[0, FEATURES : FEATURES + 2, row, column] = middle - own
    dense = torch.stack([(instance > 0).float(), targets.border[0].float()]) * 18 - 9
    return NetworkOutputs(torch.zeros(1, FEATURES, height, width), centres, dense[None], score, kernels)


def test_a_mask_is_the_gaussian_around_its_cells_centre() -> None:
    kernels = torch.randn(3, FEATURES + 4)
    cells = torch.tensor([[4.0, 8.0], [0.0, 0.0], [12.0, 4.0]])
    features, centres = torch.randn(FEATURES, 6, 5), torch.randn(2, 6, 5)
    logits = (mask_weights(kernels, cells) @ mask_inputs(features, centres)).view(3, 6, 5)
    centre = cells / CENTRE_UNIT_PX + kernels[:, FEATURES : FEATURES + 2]
    fade = 4 * kernels[:, FEATURES + 2].exp()
    distance = (centres[None] - centre[:, :, None, None]).square().sum(1)
    linear = torch.einsum("nf,fhw->nhw", kernels[:, :FEATURES], features)
    wanted = linear + kernels[:, FEATURES + 3, None, None] + 2 - fade[:, None, None] * distance
    torch.testing.assert_close(logits, wanted, rtol=1e-4, atol=1e-3)


def test_a_perfect_answer_costs_little_and_gives_one_mask_an_object() -> None:
    instance = two_squares()
    outputs = perfect_outputs(instance)
    parts = segmentor_loss.loss_of(outputs, segmentor_loss.make_targets(instance[None]))
    assert float(parts["score"]) < 0.01
    assert float(parts["dice"]) < 0.3
    found = find_masks(outputs)
    overlap = ious(found.logits > 0, instance)
    assert len(found) == 2
    torch.testing.assert_close(overlap.max(dim=0).values, torch.ones(2))
    assert average_precision([(found.confidence, overlap)], 0.5) == 1.0


def test_a_scene_without_objects_has_a_finite_loss() -> None:
    instance = torch.zeros(48, 64, dtype=torch.int64)
    outputs = TinyNetwork()(torch.randn(1, 10, 96, 128))
    parts = segmentor_loss.loss_of(outputs, segmentor_loss.make_targets(instance[None]))
    assert all(bool(torch.isfinite(value)) for value in parts.values())


def test_every_object_is_asked_for_by_at_least_one_cell_of_its_own() -> None:
    instance = two_squares()
    instance[2:4, 50:56] = 3  # smaller than a cell
    targets = segmentor_loss.make_targets(torch.stack([torch.zeros_like(instance), instance]))
    assert not targets.is_positive[0].any()
    positive = targets.is_positive[1]
    assert set(targets.labels[1][positive].tolist()) == {1, 2, 3}
    assert not targets.ignored[1].flatten()[targets.cell[1][positive]].any()


def test_cells_that_are_asked_for_lie_near_the_middle_of_their_object() -> None:
    instance = two_squares()
    targets = segmentor_loss.make_targets(instance[None])
    for (row, column), label in zip(
        rows_and_columns(targets, 16), targets.labels[0][targets.is_positive[0]].tolist(), strict=True
    ):
        place = row * segmentor_loss.RATIO, column * segmentor_loss.RATIO
        assert int(instance[place]) == label
        middle = targets.centres[0][(slice(None), *place)] * CENTRE_UNIT_PX
        assert float((middle - torch.tensor(place[::-1])).norm()) < 0.5 * float((instance == label).sum()) ** 0.5


def test_what_is_trained_on_is_encoded_as_the_runtime_encodes_it() -> None:
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (240, 320, 3), dtype=np.uint8)
    depth_m = (0.5 + 0.3 * rng.random((240, 320))).astype(np.float32)
    depth_m[rng.random((240, 320)) < 0.1] = 0
    depth_m[40:90, 60:150] = 0
    lens = (310.0, 305.0, 158.0, 121.0)
    batch = encode(
        torch.from_numpy(rgb).permute(2, 0, 1)[None].float(), torch.from_numpy(depth_m)[None], torch.tensor([lens])
    )
    np.testing.assert_allclose(batch[0].numpy(), encode_one(rgb, depth_m, lens), atol=2e-4)


def test_changed_scenes_keep_what_belongs_together() -> None:
    torch.manual_seed(0)
    instance = torch.zeros(64, 60, 80, dtype=torch.int64)
    instance[:, 20:40, 30:50] = 1
    rgb = 20.0 + 200.0 * instance[:, None].expand(-1, 3, -1, -1)
    depth_m = 1.0 - 0.2 * instance
    scenes = crop(mirror(SceneBatch(rgb, depth_m, instance, torch.tensor([[80.0, 80, 40, 30]]).repeat(64, 1))))
    torch.testing.assert_close(scenes.depth_m, 1.0 - 0.2 * scenes.instance)
    inside = scenes.instance == 1
    assert float((scenes.rgb[:, 0][inside] > 110).float().mean()) > 0.99  # colors are mixed at borders
    # the object keeps its size in metres: pixels grow as the focal length does
    grown = inside.sum(dim=(1, 2)).float().sqrt() / 20
    wanted = scenes.intrinsics[:, 0] / 80
    whole = ~(inside[:, 0].any(1) | inside[:, -1].any(1) | inside[:, :, 0].any(1) | inside[:, :, -1].any(1))
    assert int(whole.sum()) > 20
    torch.testing.assert_close(grown[whole], wanted[whole], rtol=0.1, atol=0)


def changed_crops() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    mask = torch.zeros(64, 128, 128, dtype=torch.bool)
    mask[:, 40:90, 30:100] = True
    return augment_crops(torch.rand(64, 3, 128, 128) * 255, mask, torch.arange(128.0).expand(64, 128, 128))


def test_changed_crops_keep_a_good_part_of_their_mask() -> None:
    rgb, changed, _ = changed_crops()
    assert rgb.shape == (64, 3, 128, 128)
    assert 0 <= float(rgb.min()) <= float(rgb.max()) <= 255
    assert bool((changed.sum(dim=(1, 2)) > 0.1 * 50 * 70).all())


def test_some_changed_crops_have_no_depth_and_others_shrink_with_their_picture() -> None:
    depth_px = changed_crops()[2]
    lost = depth_px.isnan().flatten(1).all(dim=1)
    assert 4 < int(lost.sum()) < 25
    slope = (depth_px[:, 64, 64:96].nanmean(dim=1) - depth_px[:, 64, 32:64].nanmean(dim=1)).abs()
    across = (depth_px[:, 64:96, 64].nanmean(dim=1) - depth_px[:, 32:64, 64].nanmean(dim=1)).abs()
    steepness = torch.hypot(slope, across)[~lost] / 32
    assert float(steepness.nanmedian()) == pytest.approx(1, rel=0.1)


def test_templates_without_colors_are_gray_and_their_crops_too() -> None:
    colors = TemplateColors.plain(2, torch.device("cpu"))
    rgb, shading = torch.rand(3, 3, 8, 8) * 255, torch.rand(3, 1, 8, 8) * 255
    shading[:, :, :2] = 0
    owner = torch.tensor([0, 1, 1])
    for gray in (colors.of_templates(rgb, shading, owner), colors.of_crops(rgb, owner)):
        torch.testing.assert_close(gray[:, 0], gray[:, 2])
    assert not colors.of_templates(rgb, shading, owner)[:, :, :2].any()


def test_repainted_templates_stay_black_outside_their_mask() -> None:
    torch.manual_seed(0)
    colors = sample_template_colors(200, torch.device("cpu"))
    rgb, shading = torch.zeros(200, 3, 2, 2), torch.zeros(200, 1, 2, 2)
    rgb[:, :, 0], shading[:, :, 0] = 90, 200
    painted = colors.of_templates(rgb, shading, torch.arange(200))
    assert not painted[:, :, 1].any()
    changed = (painted[:, :, 0] - 90).abs().amax(dim=(1, 2)) > 1
    assert 0.25 < float(changed.float().mean()) < 0.6


def test_tokens_of_the_right_object_cost_less_than_those_of_another() -> None:
    generator = torch.Generator().manual_seed(0)
    tokens = normalize(torch.randn(2, 224, generator=generator), dim=-1)
    patches = normalize(torch.randn(2, 9, 8, generator=generator), dim=-1)
    owner = torch.tensor([0, 1, 0, 0, 1, 1])
    valid = torch.ones(6, 9, dtype=torch.bool)
    weight = torch.tensor([[1.0, 0, 0, 0], [0, 0, 1.0, 0]])
    right = descriptor_loss.loss_of(tokens[owner], patches[owner], valid, owner, weight)
    wrong = descriptor_loss.loss_of(tokens[owner.flip(0)], patches[owner.flip(0)], valid, owner, weight)
    right = {name: float(value) for name, value in right.items()}
    assert right["identity"] < float(wrong["identity"]) or right["patch"] < float(wrong["patch"])
