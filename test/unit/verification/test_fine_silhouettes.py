"""Masks of detections: visible silhouettes of poses, pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import trimesh
from lone_objects import batch, known, observed, pose, seen
from scipy.spatial.transform import Rotation

from ism_ros.objects.known_object import KnownObject
from ism_ros.verification.fine_silhouettes import fine_silhouettes
from ism_ros.verification.verification import object_samples

MESH = trimesh.creation.box((0.10, 0.07, 0.05))
AT = pose(Rotation.from_euler("xyz", (35, 40, 10), degrees=True), (-0.02, 0.01, 0.6))
POST = trimesh.creation.box((0.04, 0.4, 0.01)), pose(Rotation.identity(), (-0.055, 0.0, 0.45))
"""A post that hides a part of what is at AT."""


@pytest.fixture(scope="module")
def box() -> KnownObject:
    return known("box", MESH)


def mask_of(
    box: KnownObject, proposal: np.ndarray, nearer: tuple[trimesh.Trimesh, np.ndarray] | None = None
) -> np.ndarray:
    """Mask under a proposal of the box at AT."""
    frame, _ = seen(MESH, AT, nearer=nearer)
    under, proposals = observed(frame, proposal)
    poses = batch(box, AT)
    assert box.surface is not None
    spacing_m = torch.tensor([box.surface.spacing_m], dtype=torch.float32)
    samples = object_samples([box], poses.object_index)
    return np.asarray(fine_silhouettes(poses, samples, spacing_m, under, proposals)[0])


def iou_of(box: KnownObject, proposal: np.ndarray, nearer: tuple[trimesh.Trimesh, np.ndarray] | None = None) -> float:
    """IoU of the mask under a proposal with what is seen of the box."""
    _, mask = seen(MESH, AT, nearer=nearer)
    made = mask_of(box, proposal, nearer)
    return float((made & mask).sum() / (made | mask).sum())


def test_the_mask_of_a_pose_is_its_silhouette_whatever_the_proposal(box: KnownObject) -> None:
    _, mask = seen(MESH, AT)
    piece = mask.copy()
    piece[:, : int(np.nonzero(mask)[1].mean())] = False
    assert iou_of(box, piece) > 0.93


def test_where_the_outline_of_the_proposal_runs_along_the_silhouette_it_is_taken(box: KnownObject) -> None:
    _, mask = seen(MESH, AT)
    assert iou_of(box, mask) > 0.99


def test_what_something_nearer_hides_is_no_part_of_the_mask(box: KnownObject) -> None:
    _, whole = seen(MESH, AT)
    _, visible = seen(MESH, AT, nearer=POST)
    assert visible.sum() < 0.85 * whole.sum()
    assert iou_of(box, whole, POST) > 0.9


def test_slivers_beside_what_hides_the_rest_are_no_part_of_the_mask(box: KnownObject) -> None:
    _, whole = seen(MESH, AT)
    columns = np.nonzero(whole.any(axis=0))[0]
    sliver, rest = columns[0] + 5, columns[0] + 20
    post = trimesh.creation.box((0.013, 0.4, 0.01)), pose(Rotation.identity(), (-0.05, 0.0, 0.45))
    _, visible = seen(MESH, AT, nearer=post)
    assert visible[:, :sliver].any()
    assert visible[:, rest:].any()
    assert not mask_of(box, whole, post)[:, :sliver].any()
