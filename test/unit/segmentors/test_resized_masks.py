"""Masks are measured at full size as a whole resize has them, without one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ism_ros.data.boxes import boxes_from_masks
from ism_ros.data.masks import mask_areas
from ism_ros.segmentors.sam.resized_masks import AxisResize, bilinear_matrix, measure_resized
from ism_ros.segmentors.sam.sam_segmentor import upscale_logits, upscaling_axes


def bumps(count: int, height: int, width: int) -> Tensor:
    """Smooth logits (N, h, w), some nowhere above 0, some across the border."""
    generator = torch.Generator().manual_seed(0)
    y, x = torch.meshgrid(torch.arange(float(height)), torch.arange(float(width)), indexing="ij")
    centre = torch.rand(count, 2, generator=generator) * torch.tensor([height, width])
    radius = 1 + torch.rand(count, generator=generator) * height / 3
    distance = torch.hypot(y - centre[:, 0, None, None], x - centre[:, 1, None, None])
    return (radius[:, None, None] - distance) * torch.linspace(0.05, 3, count)[:, None, None] - 0.5


@pytest.mark.parametrize(("length", "before"), [(10, 4), (4, 10), (7, 7), (1, 5)])
def test_the_matrix_is_that_of_a_bilinear_resize(length: int, before: int) -> None:
    values = torch.linspace(-1, 1, before).square()
    resized = interpolate(values[None, None], size=length, mode="linear", align_corners=False)[0, 0]
    torch.testing.assert_close(bilinear_matrix(length, before).float() @ values, resized)


@pytest.mark.parametrize("size", [(480, 640), (640, 480), (720, 1280), (100, 1000)])
def test_areas_and_boxes_are_those_of_sams_two_steps(size: tuple[int, int]) -> None:
    logits = bumps(60, 64, 64)
    large = upscale_logits(logits, 256, size)
    rows, columns = upscaling_axes(256, 64, size)
    measured = measure_resized(logits[:, : rows.matrix.shape[1], : columns.matrix.shape[1]], rows, columns, offset=1.0)
    for ours, level in ((measured.strict, 1.0), (measured.loose, -1.0)):
        assert (ours - mask_areas(large > level)).abs().max() <= 2  # rounding
    assert measured.boxes_xyxy.equal(boxes_from_masks(large > 0))


def test_what_is_above_no_level_has_no_area_and_an_empty_box() -> None:
    axis = AxisResize(bilinear_matrix(20, 8).float())
    measured = measure_resized(torch.full((2, 8, 8), -5.0), axis, axis, offset=1.0)
    assert not any(part.any() for part in measured)
