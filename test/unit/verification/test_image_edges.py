"""Edges of the color image, and how well they follow outlines."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ism_ros.verification.image_edges import image_edges, outline_agreement

CPU = torch.device("cpu")
SQUARE = torch.zeros(1, 32, 32, dtype=torch.bool)
SQUARE[:, 8:24, 8:24] = True


def edges_everywhere(cos_2a: float, sin_2a: float) -> torch.Tensor:
    return torch.tensor([cos_2a, sin_2a])[None, :, None, None].expand(1, 2, 32, 32)


def test_edges_along_two_of_four_sides_count_half() -> None:
    upright, _ = outline_agreement(edges_everywhere(1.0, 0.0), SQUARE)
    level, _ = outline_agreement(edges_everywhere(-1.0, 0.0), SQUARE)
    assert upright.item() == pytest.approx(0.5, abs=0.1)
    assert level.item() == pytest.approx(0.5, abs=0.1)


def test_slanted_edges_do_not_follow_an_upright_square() -> None:
    slanted, _ = outline_agreement(edges_everywhere(0.0, 1.0), SQUARE)
    assert slanted.item() < 0.15


def test_no_silhouette_has_no_agreement() -> None:
    outline, inner = outline_agreement(edges_everywhere(1.0, 0.0), torch.zeros_like(SQUARE))
    assert outline.item() == inner.item() == 0


@pytest.mark.parametrize("cell_px", [1.0, 2.0, 4.0, 16.0])
def test_a_border_of_brightness_is_found_where_it_is_at_every_resolution(cell_px: float) -> None:
    rgb = np.full((480, 640, 3), 90, np.uint8)
    rgb[:, 320:] = 140
    origin = torch.tensor([[320 - 16 * cell_px, 240 - 16 * cell_px]])
    edges = image_edges(rgb, CPU).at_cells(origin, torch.tensor([cell_px]), 32)[0]
    strongest = edges[0].argmax(dim=1)
    assert ((strongest - 15.5).abs() <= 3).all()
    assert edges[0].amax() > 0.3
    assert edges[1].abs().amax() < 0.1


def test_a_border_counts_the_same_whichever_side_is_brighter() -> None:
    rgb = np.full((480, 640, 3), 90, np.uint8)
    rgb[:, 320:] = 140
    window = torch.tensor([[288.0, 208.0]]), torch.tensor([2.0]), 32
    there, mirrored = (image_edges(one, CPU).at_cells(*window) for one in (rgb, np.ascontiguousarray(230 - rgb)))
    assert torch.allclose(there, mirrored, atol=1e-5)


@pytest.mark.parametrize("shape", [(48, 64, 3), (1, 640, 3), (1, 1, 3)])
def test_windows_beyond_the_image_read_its_border(shape: tuple[int, int, int]) -> None:
    edges = image_edges(np.zeros(shape, np.uint8), CPU)
    assert edges.at_cells(torch.tensor([[-500.0, 900.0]]), torch.tensor([8.0]), 32).isfinite().all()
