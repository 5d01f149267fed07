"""What the classic descriptor is robust to, and what it tells apart."""

from __future__ import annotations

import pytest
import torch

from ism_ros.descriptors import create_descriptor
from ism_ros.descriptors.classic import ClassicDescriptor
from ism_ros.matching.similarity import patch_scores


@pytest.fixture(scope="module")
def descriptor() -> ClassicDescriptor:
    return ClassicDescriptor()


def disc(red: float, green: float, blue: float, radius: float = 28.0) -> tuple[torch.Tensor, torch.Tensor]:
    line = torch.arange(64) - 31.5
    mask = line[:, None] ** 2 + line[None] ** 2 < radius**2
    shading = 0.8 + 0.2 * line[None] / 32
    crop = torch.stack([red * shading.expand(64, 64), green * shading.expand(64, 64), blue * shading.expand(64, 64)])
    return (crop * mask)[None], mask[None]


def striped(crop: torch.Tensor) -> torch.Tensor:
    stripes = (torch.arange(64) // 6 % 2).float() * 0.7 + 0.3
    return crop * stripes


def cosine(descriptor: ClassicDescriptor, first: tuple, second: tuple) -> float:
    one, other = descriptor.describe(*first), descriptor.describe(*second)
    return float((one.class_tokens * other.class_tokens).sum())


def test_tokens_are_unit_rows_and_zero_outside_the_mask(descriptor: ClassicDescriptor) -> None:
    described = descriptor.describe(*disc(0.7, 0.2, 0.2))
    assert torch.allclose(described.class_tokens.norm(dim=1), torch.ones(1))
    lengths = described.patch_tokens.norm(dim=2)
    assert ((lengths - 1).abs() < 1e-5).logical_or(lengths == 0).all()
    assert lengths[0, 0] == 0
    assert abs(float(lengths[0, 36]) - 1) < 1e-5


def test_brightness_changes_little(descriptor: ClassicDescriptor) -> None:
    assert cosine(descriptor, disc(0.8, 0.3, 0.2), disc(0.6, 0.225, 0.15)) > 0.9


def test_colour_tells_objects_apart(descriptor: ClassicDescriptor) -> None:
    same_colour = cosine(descriptor, disc(0.8, 0.3, 0.2), disc(0.7, 0.27, 0.18))
    other_colour = cosine(descriptor, disc(0.8, 0.3, 0.2), disc(0.2, 0.3, 0.8))
    assert same_colour > other_colour + 0.3


def test_texture_tells_objects_apart(descriptor: ClassicDescriptor) -> None:
    plain, mask = disc(0.7, 0.7, 0.7)
    assert cosine(descriptor, (plain, mask), (striped(plain), mask)) < 0.9


def test_identical_crops_have_full_appearance(descriptor: ClassicDescriptor) -> None:
    described = descriptor.describe(*disc(0.5, 0.6, 0.2))
    appearance, visible_ratio = patch_scores(described.patch_tokens, described.patch_tokens)
    assert float(appearance) == pytest.approx(1.0, abs=1e-4)
    assert float(visible_ratio) == 1.0


def test_a_batch_is_described_as_its_crops_alone() -> None:
    torch.manual_seed(0)
    crops, masks = torch.rand(7, 3, 64, 64), torch.rand(7, 64, 64) > 0.2
    whole = ClassicDescriptor().describe(crops, masks)
    chunked = ClassicDescriptor(chunk=2).describe(crops, masks)
    torch.testing.assert_close(whole.class_tokens, chunked.class_tokens)
    torch.testing.assert_close(whole.patch_tokens, chunked.patch_tokens)


def test_no_crops_are_no_tokens(descriptor: ClassicDescriptor) -> None:
    described = descriptor.describe(torch.zeros(0, 3, 64, 64), torch.zeros(0, 64, 64, dtype=torch.bool))
    assert described.class_tokens.shape[0] == 0
    assert described.patch_tokens.shape[:2] == (0, 64)


def test_an_unknown_descriptor_names_those_there_are() -> None:
    with pytest.raises(ValueError, match="classic"):
        create_descriptor("clasic")


def test_turning_the_camera_about_its_axis_changes_little(descriptor: ClassicDescriptor) -> None:
    mask = torch.zeros(64, 64, dtype=torch.bool)
    mask[26:38, 4:60] = True
    mask[20:44, 4:20] = True
    crop = torch.stack([mask * 0.2, mask * 0.6, mask * 0.3])
    crop[0, :, 40:] = mask[:, 40:] * 0.8
    upright = (crop[None], mask[None])
    for quarter_turns in (1, 2, 3):
        turned = (crop.rot90(quarter_turns, (1, 2))[None], mask.rot90(quarter_turns, (0, 1))[None])
        assert cosine(descriptor, upright, turned) > 0.75


def test_half_an_object_is_not_the_whole(descriptor: ClassicDescriptor) -> None:
    crop, mask = disc(0.3, 0.6, 0.2)
    half = mask.clone()
    half[:, :, 32:] = False
    assert cosine(descriptor, (crop, mask), (crop * half, half)) < 0.93
