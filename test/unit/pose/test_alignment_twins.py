"""Alignment by compiled loops beside alignment by PyTorch: the same maps, costs and start poses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from lone_objects import known, pose, seen
from scipy.spatial.transform import Rotation

from ism_ros.data.boxes import boxes_from_masks
from ism_ros.objects.known_object import KnownObject
from ism_ros.pose import compiled_alignment, torch_alignment
from ism_ros.pose.observed_points import ObservedPoints, sample_observed_points
from ism_ros.pose.start_poses import MOST_ALIKE
from ism_ros.rendering.views.polar_maps import ANGLES, FourierMaps, dft_matrices, fourier_maps
from ism_ros.runtime.compilation import IS_AVAILABLE
from ism_ros.sim.benchmark_scenes.objects.object_catalog import make_object

pytestmark = pytest.mark.skipif(not IS_AVAILABLE, reason="there is no Numba")

MASKS, CHOSEN, STARTS = 3, 12, 4
Inputs = tuple[KnownObject, ObservedPoints]


@pytest.fixture(scope="module", params=["carton", "mug"])
def inputs(request: pytest.FixtureRequest) -> Inputs:
    """An object, and what is seen of it: all, the left half, and too little."""
    mesh = make_object(request.param, 1)
    side = Rotation.from_euler("xyz", (35, 40, 10), degrees=True)
    frame, mask = seen(mesh, pose(side, (-0.02, 0.01, 0.6)))
    left_half = mask & (np.arange(mask.shape[1]) < np.nonzero(mask)[1].mean())
    few = np.zeros_like(mask)
    few[240, 320:323] = True
    masks = torch.from_numpy(np.stack([mask, left_half, few]))
    return known(request.param, mesh), sample_observed_points(masks, boxes_from_masks(masks), frame)


@pytest.fixture(scope="module")
def spectra(inputs: Inputs) -> FourierMaps:
    views = inputs[0].views
    assert views is not None
    return fourier_maps(torch.from_numpy(views.maps).float(), views.radius_m)


def radius_m(inputs: Inputs) -> float:
    assert inputs[0].views is not None
    return inputs[0].views.radius_m


def aligned(inputs: Inputs, spectra: FourierMaps) -> tuple[torch.Tensor, list[tuple[torch.Tensor, ...]]]:
    """Views, and cost, in-plane rotation and depth offset of each by both ways."""
    torch.manual_seed(0)
    queries = torch.randn(10, MASKS, 8, 2, ANGLES // 2 + 1) * 0.01
    view = torch.stack([torch.randperm(len(spectra.area_m2))[:CHOSEN] for _ in range(MASKS)])
    arguments = queries, spectra, view, dft_matrices(view.device, torch.float32)[1], torch.full((MASKS,), 1e-3), 40.0
    return view, [by.align(*arguments) for by in (torch_alignment, compiled_alignment)]


def test_both_ways_make_the_same_maps(inputs: Inputs) -> None:
    by_torch, compiled = (by.observed_maps(inputs[1], radius_m(inputs)) for by in (torch_alignment, compiled_alignment))
    assert by_torch.enough.tolist() == compiled.enough.tolist() == [True, True, False]
    whole = by_torch.enough
    torch.testing.assert_close(compiled.centroid_m[whole], by_torch.centroid_m[whole], atol=1e-6, rtol=0)
    torch.testing.assert_close(compiled.ray_rotation[whole], by_torch.ray_rotation[whole], atol=1e-5, rtol=0)
    # rounding may decide in which cell a point is
    differs = (compiled.maps - by_torch.maps)[whole].abs().amax(dim=1) > 1e-3
    assert by_torch.maps[whole][:, 0].mean() > 0.1
    assert differs.float().mean() <= 0.01


def test_both_ways_align_views_alike(inputs: Inputs, spectra: FourierMaps) -> None:
    _, (by_torch, compiled) = aligned(inputs, spectra)
    assert by_torch[0].std() > 0
    torch.testing.assert_close(compiled[0], by_torch[0], atol=1e-3, rtol=1e-4)
    assert (compiled[1] == by_torch[1]).float().mean() >= 0.95
    same = compiled[1] == by_torch[1]
    torch.testing.assert_close(compiled[2][same], by_torch[2][same], atol=1e-3, rtol=1e-3)


def test_both_ways_choose_the_same_start_poses(inputs: Inputs, spectra: FourierMaps) -> None:
    views, maps = inputs[0].views, torch_alignment.observed_maps(inputs[1], radius_m(inputs))
    assert views is not None
    view, (of_views, _) = aligned(inputs, spectra)
    cost = of_views[0].masked_fill(~maps.enough[:, None], torch.inf)
    turns = torch.from_numpy(Rotation.from_rotvec(np.outer(np.arange(ANGLES), [0, 0, 0.17])).as_matrix()).float()
    of_object = turns, torch.from_numpy(views.rotations).float(), torch.from_numpy(views.centroid_m).float()
    chosen = view, cost, of_views[1], of_views[2]
    by_torch, compiled = (
        by.choose_starts(maps, chosen, of_object, STARTS, MOST_ALIKE) for by in (torch_alignment, compiled_alignment)
    )
    assert by_torch[3].isfinite().tolist() == compiled[3].isfinite().tolist()
    there = by_torch[3].isfinite()
    assert 0 < there.sum() < there.numel()
    assert compiled[2][there].tolist() == by_torch[2][there].tolist()
    for one, other in zip(compiled, by_torch, strict=True):
        torch.testing.assert_close(one[there], other[there], atol=1e-4, rtol=1e-4)
