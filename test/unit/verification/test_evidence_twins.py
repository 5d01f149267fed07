"""Evidence by compiled loops beside evidence by PyTorch: the same terms and the same visible cells."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh
from lone_objects import CAMERA, batch, known, observed, pose, seen
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from ism_ros.data.frame import Frame
from ism_ros.objects.known_object import KnownObject
from ism_ros.runtime.compilation import IS_AVAILABLE
from ism_ros.runtime.threads import map_on_threads
from ism_ros.sim.benchmark_scenes.objects.object_catalog import make_object
from ism_ros.verification.evidence import compiled_evidence, torch_evidence
from ism_ros.verification.evidence.terms import TERMS, Evidence
from ism_ros.verification.observed_image import ObservedImage
from ism_ros.verification.verification import object_samples

pytestmark = pytest.mark.skipif(not IS_AVAILABLE, reason="there is no Numba")

SIDE = Rotation.from_euler("xyz", (35, 40, 10), degrees=True)
PLACE = (-0.02, 0.01, 0.6)
POST = trimesh.creation.box((0.04, 0.4, 0.01)), pose(Rotation.identity(), (-0.055, 0.0, 0.45))
"""A post that hides the left third of what is at PLACE."""
POSES = 40


@pytest.fixture(scope="module")
def meshes() -> dict[str, trimesh.Trimesh]:
    return {name: make_object(name, 1) for name in ("carton", "mug", "can")}


@pytest.fixture(scope="module")
def objects(meshes: dict[str, trimesh.Trimesh]) -> dict[str, KnownObject]:
    return {name: known(name, mesh) for name, mesh in meshes.items()}


def around(place: tuple[float, float, float], spread_m: float) -> list[NDArray[np.float64]]:
    """Half of them turned a little away from SIDE, half any way."""
    rng = np.random.default_rng(0)
    turns = [Rotation.from_rotvec(rng.normal(0, 0.1, 3)) * SIDE for _ in range(POSES // 2)]
    turns += [Rotation.random(random_state=seed) for seed in range(POSES - len(turns))]
    return [pose(turn, tuple(np.array(place) + rng.normal(0, spread_m, 3))) for turn in turns]


def both(
    one: KnownObject, poses: list[NDArray[np.float64]], frame: Frame, mask: NDArray[np.bool_]
) -> tuple[Evidence, Evidence]:
    """Evidence by PyTorch, and by compiled loops, each pose under the mask or under half of it."""
    left_half = mask & (np.arange(mask.shape[1]) < np.nonzero(mask)[1].mean())
    under, masks = observed(frame, mask, left_half)
    at = replace(batch(one, *poses), mask_index=torch.arange(len(poses)) % 2)
    inputs = object_samples([one], at.object_index), under, masks, ObservedImage.of(frame.rgb, masks.device)
    return torch_evidence.gather_evidence(at, *inputs), compiled_evidence.gather_evidence(at, *inputs)


def assert_same(torch_way: Evidence, compiled_way: Evidence) -> None:
    torch.testing.assert_close(compiled_way.origin, torch_way.origin, atol=1e-2, rtol=1e-5)
    torch.testing.assert_close(compiled_way.cell_px, torch_way.cell_px)
    assert compiled_way.visible.dtype == torch.bool
    assert (compiled_way.visible != torch_way.visible).sum() <= 0.001 * torch_way.visible.sum()
    differs = (compiled_way.terms - torch_way.terms).abs() > 1e-3
    # rounding may put a sample into the next cell, or a reading beyond the tolerance
    assert differs.any(dim=1).float().mean() <= 0.1, [TERMS[index] for index in differs.any(dim=0).nonzero()[:, 0]]
    torch.testing.assert_close(compiled_way.terms, torch_way.terms, atol=0.05, rtol=0.01)


@pytest.mark.parametrize("name", ["carton", "mug", "can"])
@pytest.mark.parametrize("nearer", [None, POST], ids=["whole", "a third hidden"])
def test_both_ways_find_the_same_for_and_against_poses(
    meshes: dict[str, trimesh.Trimesh],
    objects: dict[str, KnownObject],
    name: str,
    nearer: tuple[trimesh.Trimesh, NDArray[np.float64]] | None,
) -> None:
    frame, mask = seen(meshes[name], pose(SIDE, PLACE), nearer=nearer)
    assert frame.depth_m is not None
    frame.depth_m[: int(np.nonzero(mask)[0].mean())] = 0  # no reading of the upper half
    torch_way, compiled_way = both(objects[name], around(PLACE, 0.01), frame, mask)
    assert torch_way.terms.std(dim=0).min() > 0
    assert_same(torch_way, compiled_way)


@pytest.mark.parametrize(
    "place", [(0.31, 0.0, 0.6), (-0.3, 0.24, 0.6), (2.0, 0.0, 0.5), (0.0, 0.0, 0.12), (0.0, 0.0, 6.0)]
)
def test_both_ways_find_the_same_at_the_border_of_the_image_very_near_and_very_far(
    meshes: dict[str, trimesh.Trimesh], objects: dict[str, KnownObject], place: tuple[float, float, float]
) -> None:
    frame, mask = seen(meshes["mug"], pose(SIDE, PLACE))
    assert_same(*both(objects["mug"], around(place, 0.003), frame, mask))


def test_both_ways_find_the_same_in_a_picture_without_readings(
    meshes: dict[str, trimesh.Trimesh], objects: dict[str, KnownObject]
) -> None:
    frame, mask = seen(meshes["mug"], pose(SIDE, PLACE))
    blind = Frame(frame.rgb, np.zeros(mask.shape, np.float32), CAMERA)
    torch_way, compiled_way = both(objects["mug"], around(PLACE, 0.01), blind, mask)
    assert torch_way.terms[:, TERMS.index("saturation")].min() >= 0
    assert_same(torch_way, compiled_way)


def test_threads_that_share_the_poses_find_the_same_as_one(
    meshes: dict[str, trimesh.Trimesh], objects: dict[str, KnownObject]
) -> None:
    frame, mask = seen(meshes["can"], pose(SIDE, PLACE))
    under, masks = observed(frame, mask)
    image = ObservedImage.of(frame.rgb, masks.device)
    poses = batch(objects["can"], *around(PLACE, 0.01))

    def gather(rows: torch.Tensor) -> Evidence:
        samples = object_samples([objects["can"]], poses.object_index[rows])
        return compiled_evidence.gather_evidence(poses[rows], samples, under, masks, image)

    whole, parts = gather(torch.arange(POSES)), map_on_threads(gather, 4, torch.arange(POSES).split(3))
    assert torch.equal(torch.cat([part.terms for part in parts]), whole.terms)
    assert torch.equal(torch.cat([part.visible for part in parts]), whole.visible)


def test_no_poses_have_no_evidence(meshes: dict[str, trimesh.Trimesh], objects: dict[str, KnownObject]) -> None:
    frame, mask = seen(meshes["carton"], pose(SIDE, PLACE))
    under, masks = observed(frame, mask)
    none = batch(objects["carton"], pose(SIDE, PLACE))[torch.zeros(0, dtype=torch.int64)]
    samples = object_samples([objects["carton"]], torch.zeros(1, dtype=torch.int64))
    no_samples = type(samples)(samples.points_m[:0], samples.normals[:0], samples.colors[:0])
    image = ObservedImage.of(frame.rgb, masks.device)
    evidence = compiled_evidence.gather_evidence(none, no_samples, under, masks, image)
    assert evidence.terms.shape == (0, len(TERMS))
    assert evidence.visible.shape == (0, 32, 32)
