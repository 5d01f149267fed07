"""In-plane rotations estimated from silhouettes."""

from __future__ import annotations

import pytest
import torch

from ism_ros.matching.scores import in_plane_rotation


def bar(angle: float) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(120.0), torch.arange(160.0), indexing="ij")
    along = (x - 80) * torch.cos(torch.tensor(angle)) + (y - 60) * torch.sin(torch.tensor(angle))
    across = (y - 60) * torch.cos(torch.tensor(angle)) - (x - 80) * torch.sin(torch.tensor(angle))
    return ((along.abs() < 40) & (across.abs() < 8))[None]


@pytest.mark.parametrize("angle", [0.0, 0.5, 1.2, -0.9])
def test_a_long_object_is_rotated_to_lie_along_its_mask(angle: float) -> None:
    intrinsics = torch.tensor([[200.0, 0, 80], [0, 200.0, 60], [0, 0, 1]])
    line = torch.linspace(-0.2, 0.2, 50)
    points = torch.stack([line, line * 0, line * 0], dim=1)
    profiles = in_plane_rotation.silhouette_profiles(bar(angle))
    rotated = in_plane_rotation.rotate_in_plane(
        torch.eye(3)[None], profiles, points, torch.tensor([[0.0, 0, 1]]), intrinsics
    )
    direction = rotated[0] @ torch.tensor([1.0, 0, 0])
    half_a_step = torch.pi / in_plane_rotation.DIRECTIONS
    assert abs(float(torch.atan2(direction[1], direction[0])) - angle) < half_a_step + 0.01


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_which_end_is_which_is_seen_in_the_silhouette(quarters: int) -> None:
    y, x = torch.meshgrid(torch.arange(-60.0, 60.0), torch.arange(-60.0, 60.0), indexing="ij")
    wedge = (x > -30) & (x < 50) & (y.abs() < (50 - x) / 4)
    mask = wedge.rot90(-quarters)[None]
    points = torch.tensor([[-0.03, -0.02, 0.0], [-0.03, 0.02, 0.0], [0.05, 0.0, 0.0]])
    intrinsics = torch.tensor([[1000.0, 0, 60], [0, 1000.0, 60], [0, 0, 1]])
    rotated = in_plane_rotation.rotate_in_plane(
        torch.eye(3)[None], in_plane_rotation.silhouette_profiles(mask), points, torch.tensor([[0.0, 0, 1]]), intrinsics
    )
    direction = rotated[0] @ torch.tensor([1.0, 0, 0])
    expected = torch.tensor([torch.pi / 2 * quarters])
    assert float(direction[0] * expected.cos() + direction[1] * expected.sin()) > 0.99


def test_a_round_mask_is_not_rotated() -> None:
    y, x = torch.meshgrid(torch.arange(120.0), torch.arange(160.0), indexing="ij")
    disc = ((x - 80) ** 2 + (y - 60) ** 2 < 900)[None]
    points = torch.tensor([[-0.1, 0.0, 0.0], [0.1, 0.0, 0.0]])
    intrinsics = torch.tensor([[200.0, 0, 80], [0, 200.0, 60], [0, 0, 1]])
    rotated = in_plane_rotation.rotate_in_plane(
        torch.eye(3)[None], in_plane_rotation.silhouette_profiles(disc), points, torch.tensor([[0.0, 0, 1]]), intrinsics
    )
    assert torch.equal(rotated[0], torch.eye(3))
