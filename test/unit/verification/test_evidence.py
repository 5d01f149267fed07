"""Evidence for and against poses, and the masks that are made of their visible silhouettes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh
from lone_objects import CAMERA, TABLE_M, batch, evidence_of, known, pose, repainted, seen, terms_of
from scipy.spatial.transform import Rotation

from ism_ros.data.frame import Frame
from ism_ros.objects.known_object import KnownObject
from ism_ros.sim.benchmark_scenes.objects.object_catalog import make_object
from ism_ros.verification.evidence.terms import TERMS
from ism_ros.verification.silhouette_masks import silhouette_masks

SIDE = Rotation.from_euler("xyz", (35, 40, 10), degrees=True)
STANDING = Rotation.from_euler("x", -110, degrees=True)
PLACE = (-0.02, 0.01, 0.6)
POST = trimesh.creation.box((0.04, 0.4, 0.01)), pose(Rotation.identity(), (-0.055, 0.0, 0.45))
"""A post that hides the left third of what is at PLACE."""


@pytest.fixture(scope="module")
def meshes() -> dict[str, trimesh.Trimesh]:
    return {"box": trimesh.creation.box((0.10, 0.07, 0.05)), "mug": make_object("mug", 1), "can": make_object("can", 1)}


@pytest.fixture(scope="module")
def objects(meshes: dict[str, trimesh.Trimesh]) -> dict[str, KnownObject]:
    return {name: known(name, mesh) for name, mesh in meshes.items()}


@pytest.mark.parametrize("name", ["box", "mug", "can"])
def test_a_right_pose_agrees_with_all_that_is_seen(
    meshes: dict[str, trimesh.Trimesh], objects: dict[str, KnownObject], name: str
) -> None:
    at = pose(SIDE, PLACE)
    terms = terms_of(objects[name], at, *seen(meshes[name], at))
    assert terms["agreeing"] > 0.93
    assert terms["explained"] > 0.9
    assert terms["outline_iou"] > 0.93
    assert terms["inside"] > 0.95
    assert terms["measured"] > 0.99
    assert terms["normals"] > 0.85
    assert max(terms["hidden"], terms["continues"], terms["nearer"]) < 0.05


def moved_along_ray(at: np.ndarray, by_m: float) -> np.ndarray:
    """The pose that looks the same but is nearer or farther."""
    moved = at.copy()
    moved[:3, 3] *= 1 + by_m / np.linalg.norm(at[:3, 3])
    return moved


def test_a_pose_3_cm_too_near_is_looked_through(
    meshes: dict[str, trimesh.Trimesh], objects: dict[str, KnownObject]
) -> None:
    at = pose(SIDE, PLACE)
    terms = terms_of(objects["box"], moved_along_ray(at, -0.03), *seen(meshes["box"], at))
    assert terms["agreeing"] < 0.1
    assert terms["explained"] < 0.1
    assert terms["hidden"] < 0.1


def test_a_pose_3_cm_too_far_is_hidden_by_what_is_there(
    meshes: dict[str, trimesh.Trimesh], objects: dict[str, KnownObject]
) -> None:
    at = pose(SIDE, PLACE)
    terms = terms_of(objects["box"], moved_along_ray(at, 0.03), *seen(meshes["box"], at))
    assert terms["hidden"] > 0.9
    assert terms["explained"] < 0.1


def test_what_something_nearer_hides_is_neutral(
    meshes: dict[str, trimesh.Trimesh], objects: dict[str, KnownObject]
) -> None:
    at = pose(SIDE, PLACE)
    frame, mask = seen(meshes["box"], at, nearer=POST)
    terms = terms_of(objects["box"], at, frame, mask)
    assert 0.2 < terms["hidden"] < 0.5
    assert terms["nearer"] > 0.15
    assert terms["agreeing"] > 0.93
    assert terms["explained"] > 0.9
    assert terms["outline_iou"] > 0.93


def test_a_patch_of_a_table_goes_on_beyond_the_silhouette() -> None:
    sheet = trimesh.creation.box((0.10, 0.10, 0.004))
    frame = Frame(
        np.full((480, 640, 3), 120, np.uint8),
        (TABLE_M + np.random.default_rng(0).normal(0, 0.002, (480, 640))).astype(np.float32),
        CAMERA,
    )
    at = pose(Rotation.identity(), (0.0, 0.0, TABLE_M + 0.002))
    _, mask = seen(sheet, at)
    on_table = terms_of(known("sheet", sheet), at, frame, mask)
    assert on_table["agreeing"] > 0.98
    assert on_table["continues"] > 0.95


def test_colors_correlate_with_those_of_the_right_object_alone(
    meshes: dict[str, trimesh.Trimesh], objects: dict[str, KnownObject]
) -> None:
    at = pose(STANDING, PLACE)
    frame, mask = seen(meshes["can"], at)
    right = terms_of(objects["can"], at, frame, mask)
    surface = objects["can"].surface
    assert surface is not None
    shuffled = np.random.default_rng(0).permutation(surface.colors)
    other = terms_of(replace(objects["can"], surface=replace(surface, colors=shuffled)), at, frame, mask)
    assert right["color_correlation"] > 0.5
    assert right["chroma"] < 0.1
    assert other["color_correlation"] < 0.3
    plain = terms_of(repainted(objects["can"], (0.2, 0.3, 0.9)), at, frame, mask)
    assert plain["color_correlation"] == pytest.approx(0, abs=0.02)
    assert plain["chroma"] > 0.4
    # shape says the same whatever the paint
    assert plain["agreeing"] == right["agreeing"]


def test_a_model_without_colors_has_no_saturation(
    meshes: dict[str, trimesh.Trimesh], objects: dict[str, KnownObject]
) -> None:
    at = pose(STANDING, PLACE)
    frame, mask = seen(meshes["can"], at)
    gray = terms_of(repainted(objects["can"], (0.6, 0.6, 0.6)), at, frame, mask)
    red = terms_of(repainted(objects["can"], (0.6, 0.2, 0.2)), at, frame, mask)
    assert gray["saturation"] == pytest.approx(0, abs=1e-3)
    assert red["saturation"] > 0.5


def test_colored_light_changes_the_chroma_but_not_the_balanced_one(
    meshes: dict[str, trimesh.Trimesh], objects: dict[str, KnownObject]
) -> None:
    at = pose(SIDE, PLACE)
    frame, mask = seen(meshes["box"], at)
    yellow = replace(frame, rgb=(frame.rgb * np.array([1.0, 0.9, 0.5])).astype(np.uint8))
    plain, lit = (terms_of(objects["box"], at, one, mask) for one in (frame, yellow))
    assert lit["chroma"] > plain["chroma"] + 0.2
    assert lit["balanced_chroma"] == pytest.approx(plain["balanced_chroma"], abs=0.03)


@pytest.mark.parametrize("name", ["box", "mug", "can"])
def test_edges_of_the_image_follow_the_outline_of_a_right_pose_alone(
    meshes: dict[str, trimesh.Trimesh], objects: dict[str, KnownObject], name: str
) -> None:
    at = pose(SIDE, PLACE)
    frame, mask = seen(meshes[name], at)
    aside = at.copy()
    aside[0, 3] += 0.015
    right, wrong = (terms_of(objects[name], one, frame, mask)["edges"] for one in (at, aside))
    assert right > 0.5
    assert wrong < right - 0.1


def test_all_is_neutral_where_nothing_was_measured(
    meshes: dict[str, trimesh.Trimesh], objects: dict[str, KnownObject]
) -> None:
    at = pose(SIDE, PLACE)
    frame, mask = seen(meshes["box"], at)
    frame.depth_m[:] = 0.0
    terms = terms_of(objects["box"], at, frame, mask)
    assert all(np.isfinite(list(terms.values())))
    for name in ("agreeing", "explained", "hidden", "measured", "continues", "nearer"):
        assert terms[name] == 0
    assert terms["outline_iou"] > 0.93


@pytest.mark.parametrize(
    "place",
    [(0.31, 0.0, 0.6), (-0.3, 0.23, 0.6), (3.0, 0.0, 0.6), (0.0, 0.0, 0.03), (0.0, 0.0, -0.5)],
    ids=["cut by the edge", "cut by the corner", "outside", "around the camera", "behind the camera"],
)
@pytest.mark.parametrize("name", ["box", "mug"])
def test_terms_are_finite_and_shares_within_0_and_1_wherever_a_pose_is(
    meshes: dict[str, trimesh.Trimesh],
    objects: dict[str, KnownObject],
    place: tuple[float, float, float],
    name: str,
) -> None:
    frame, mask = seen(meshes["box"], pose(SIDE, PLACE))
    evidence = evidence_of(objects[name], batch(objects[name], pose(SIDE, place)), frame, mask)
    assert torch.isfinite(evidence.terms).all()
    others = ("normals", "color_correlation", "visible_pixels", "relative_noise")
    shares = evidence.terms[:, [index for index, term in enumerate(TERMS) if term not in others]]
    assert shares.min() >= 0
    assert shares.max() <= 1
    assert silhouette_masks(evidence, torch.tensor([0]), mask.shape).shape == (1, *mask.shape)


@pytest.mark.parametrize("name", ["box", "mug", "can"])
@pytest.mark.parametrize("rotation", [SIDE, STANDING], ids=["side", "standing"])
@pytest.mark.parametrize("distance_m", [0.45, 0.8])
def test_the_mask_of_a_right_pose_is_what_is_seen_of_the_object(
    meshes: dict[str, trimesh.Trimesh],
    objects: dict[str, KnownObject],
    name: str,
    rotation: Rotation,
    distance_m: float,
) -> None:
    at = pose(rotation, (0.05, -0.03, distance_m))
    frame, mask = seen(meshes[name], at)
    piece = mask.copy()
    piece[:, : int(np.nonzero(mask)[1].mean())] = False
    for proposal in (mask, piece):
        evidence = evidence_of(objects[name], batch(objects[name], at), frame, proposal)
        outline = silhouette_masks(evidence, torch.tensor([0]), mask.shape)[0].numpy()
        least = 0.93 if proposal is mask else 0.85
        assert (outline & mask).sum() / (outline | mask).sum() > least


def test_the_mask_of_a_partly_hidden_object_leaves_out_what_hides_it(
    meshes: dict[str, trimesh.Trimesh], objects: dict[str, KnownObject]
) -> None:
    at = pose(SIDE, PLACE)
    frame, mask = seen(meshes["box"], at, nearer=POST)
    evidence = evidence_of(objects["box"], batch(objects["box"], at), frame, mask)
    outline = silhouette_masks(evidence, torch.tensor([0]), mask.shape)[0].numpy()
    assert (outline & mask).sum() / (outline | mask).sum() > 0.93


def test_no_rows_are_no_masks(meshes: dict[str, trimesh.Trimesh], objects: dict[str, KnownObject]) -> None:
    at = pose(SIDE, PLACE)
    evidence = evidence_of(objects["box"], batch(objects["box"], at), *seen(meshes["box"], at))
    assert silhouette_masks(evidence, torch.zeros(0, dtype=torch.int64), (48, 64)).shape == (0, 48, 64)
