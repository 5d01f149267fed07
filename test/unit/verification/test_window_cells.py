"""Samples in the cells of windows, and the holes between them."""

from __future__ import annotations

import torch

from ism_ros.verification.window_cells import closed, splat_nearest


def test_each_cell_has_the_depth_of_its_nearest_sample() -> None:
    at = torch.tensor([[[1.2, 1.9, -3.0, 2.5], [0.5, 0.1, 9.0, 2.5]]])
    nearest, cell = splat_nearest(at, torch.tensor([[0.7, 0.6, 0.8, torch.inf]]), 3)
    assert cell.tolist() == [[1, 1, 6, 8]]
    assert nearest[0].isfinite().nonzero().tolist() == [[0, 1], [2, 0]]
    torch.testing.assert_close(nearest[0, [0, 2], [1, 0]], torch.tensor([0.6, 0.8]))


def test_a_hole_of_one_cell_is_closed_whether_empty_or_farther_away() -> None:
    depth = torch.full((2, 9, 9), torch.inf)
    depth[:, 2:7, 2:7] = 0.5
    whole = depth.clone()
    depth[0, 4, 4], depth[1, 4, 4] = torch.inf, 0.9
    assert torch.equal(closed(depth), whole)
