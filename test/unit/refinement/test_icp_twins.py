"""Refinement by compiled loops beside refinement by PyTorch: the same poses, qualities and normal equations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from lone_objects import batch, known, observed, pose, samples_of, seen
from scipy.spatial.transform import Rotation

from ism_ros.refinement import compiled_icp, torch_icp
from ism_ros.refinement.observed_masks import ObservedMasks, outlines_by_loops, outlines_by_operations
from ism_ros.refinement.pose_batch import PoseBatch, RefinementSamples
from ism_ros.refinement.step_limits import StepLimits
from ism_ros.runtime.compilation import IS_AVAILABLE
from ism_ros.runtime.threads import map_on_threads
from ism_ros.sim.benchmark_scenes.objects.object_catalog import make_object

pytestmark = pytest.mark.skipif(not IS_AVAILABLE, reason="there is no Numba")

SIDE = Rotation.from_euler("xyz", (35, 40, 10), degrees=True)
PLACE = (-0.02, 0.01, 0.6)
POSES = 40
Inputs = tuple[PoseBatch, RefinementSamples, ObservedMasks]


@pytest.fixture(scope="module", params=["carton", "mug"])
def inputs(request: pytest.FixtureRequest) -> Inputs:
    """Poses some degrees and millimetres beside the right one, of an object that is under two masks."""
    mesh = make_object(request.param, 1)
    one, (frame, mask) = known(request.param, mesh), seen(mesh, pose(SIDE, PLACE))
    left_half = mask & (np.arange(mask.shape[1]) < np.nonzero(mask)[1].mean())
    rng = np.random.default_rng(0)
    beside = [
        pose(Rotation.from_rotvec(rng.normal(0, 0.06, 3)) * SIDE, tuple(PLACE + rng.normal(0, 0.004, 3)))
        for _ in range(POSES)
    ]
    poses = replace(batch(one, *beside), mask_index=torch.arange(POSES) % 2)
    return poses, samples_of(one, poses), observed(frame, mask, left_half)[0]


def test_both_ways_see_the_same_outlines() -> None:
    mesh = make_object("mug", 1)
    frame, mask = seen(mesh, pose(SIDE, PLACE))
    assert frame.depth_m is not None
    rows, columns = np.nonzero(mask)
    beyond = np.roll(mask, -int(columns.max() + columns.min()) // 2, axis=1)  # cut by the border of the image
    masks = torch.from_numpy(np.stack([mask, beyond, mask & (np.arange(mask.shape[0]) < rows.mean())[:, None]]))
    window = observed(frame, *masks.numpy())[0]
    depth_m = window.depth_m * (torch.rand(window.depth_m.shape) < 0.7)
    looks = [of(masks, depth_m, window.origin, window.cell_px, 2) for of in (outlines_by_loops, outlines_by_operations)]
    (distance, read_share), (other_distance, other_share) = looks
    assert float(((distance > 0) != (other_distance > 0)).float().mean()) < 1e-3
    torch.testing.assert_close(read_share, other_share, atol=0.01, rtol=0)
    assert 0.5 < float(read_share[0]) < 0.9


def steps(count: int) -> list[StepLimits]:
    return [StepLimits.at(1 - step / count) for step in range(count)]


def test_both_ways_move_poses_alike(inputs: Inputs) -> None:
    by_torch, compiled = (icp.refine(*inputs, steps(4)) for icp in (torch_icp, compiled_icp))
    assert (by_torch.rotation - inputs[0].rotation).abs().amax() > 0.01
    differs = (compiled.rotation - by_torch.rotation).abs().amax(dim=(1, 2)) > 1e-3
    # rounding may decide whether a sample and a reading are a pair
    assert differs.float().mean() <= 0.05
    torch.testing.assert_close(compiled.rotation, by_torch.rotation, atol=1e-2, rtol=0)
    torch.testing.assert_close(compiled.centre_m, by_torch.centre_m, atol=1e-3, rtol=0)


def test_both_ways_score_fits_alike(inputs: Inputs) -> None:
    by_torch, compiled = (icp.fit_quality(*inputs) for icp in (torch_icp, compiled_icp))
    assert by_torch.std() > 0.01
    torch.testing.assert_close(compiled, by_torch, atol=1e-4, rtol=0)


@pytest.mark.parametrize("openness", [0.0, 1.0])
def test_both_ways_sum_the_same_normal_equations(inputs: Inputs, openness: float) -> None:
    by_torch, compiled = (icp.normal_matrices(*inputs, StepLimits.at(openness)) for icp in (torch_icp, compiled_icp))
    scale = by_torch.diagonal(dim1=1, dim2=2).sqrt()
    relative = (compiled - by_torch) / (scale[:, :, None] * scale[:, None])
    assert relative.abs().amax() < 1e-3


def test_threads_that_share_the_poses_move_them_as_one_does(inputs: Inputs) -> None:
    poses, samples, masks = inputs

    def refined(rows: torch.Tensor) -> PoseBatch:
        of = (samples.points_m, samples.normals, samples.is_rim, samples.radius_m)
        return compiled_icp.refine(poses[rows], RefinementSamples(*(part[rows] for part in of)), masks, steps(4))

    whole, parts = refined(torch.arange(POSES)), map_on_threads(refined, 4, torch.arange(POSES).split(3))
    assert torch.equal(torch.cat([part.rotation for part in parts]), whole.rotation)
    assert torch.equal(torch.cat([part.centre_m for part in parts]), whole.centre_m)
