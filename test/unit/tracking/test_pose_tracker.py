"""Following by poses: what moves is followed, what is gone is lost, and comes back with its id."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh
from lone_objects import CAMERA, TABLE_M, known, pose
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from ism_ros.cad.surfaces import Surface, surface_of
from ism_ros.data.detections import Detections
from ism_ros.data.frame import Frame
from ism_ros.objects.library import ObjectLibrary
from ism_ros.rendering.renderer import render
from ism_ros.tracking.pose_tracker import FollowedFrame, PoseTracker

PERIOD_NS = 33_333_333
START = np.array([-0.05, 0.02, 0.7])
SPEED = np.array([0.006, 0.0, 0.002])
"""Metres a frame."""
Array = NDArray[np.float64]


def block() -> trimesh.Trimesh:
    """A block with another one on top, each side in a color of its own."""
    low, high = trimesh.creation.box(extents=(0.10, 0.06, 0.04)), trimesh.creation.box(extents=(0.04, 0.06, 0.05))
    high.apply_translation((0.03, 0, 0.045))
    mesh = trimesh.util.concatenate([low, high])
    hues = np.array([[200, 60, 40], [40, 160, 60], [50, 80, 200], [220, 190, 40], [150, 60, 160], [60, 180, 190]])
    colors = hues[(3 * (mesh.face_normals > 0.5) + (np.abs(mesh.face_normals) > 0.5))[:, :].argmax(axis=1) % 6]
    mesh.visual.face_colors = np.column_stack([colors, np.full(len(colors), 255)])
    return mesh


@pytest.fixture(scope="module")
def surface() -> Surface:
    return surface_of(block())


@pytest.fixture(scope="module")
def library() -> ObjectLibrary:
    return ObjectLibrary((known("block", block()),))


def at(frame: float, turn: float = 0.0) -> Array:
    tilt = Rotation.from_euler("xyz", [2.3, 0.2, 0.4 + turn])
    return pose(tilt, tuple(START + frame * SPEED))


class Film:
    """Frames through one tracker."""

    def __init__(self, library: ObjectLibrary, surface: Surface) -> None:
        self.library, self.surface = library, surface
        self.tracker, self.number = PoseTracker(), 0

    def frame(self, *poses: Array) -> Frame:
        """What the camera sees of blocks before a wall."""
        depth_m = np.full((CAMERA.height, CAMERA.width), TABLE_M, np.float32)
        rgb = np.full((*depth_m.shape, 3), (150, 140, 120), np.uint8)
        if poses:
            view = render([self.surface] * len(poses), list(poses), CAMERA, background=rgb, samples=1)
            rgb, depth_m = view.rgb, np.where(view.depth_m > 0, view.depth_m, depth_m)
        noise = np.random.default_rng(self.number).normal(0, 0.001, depth_m.shape)
        return Frame(rgb, (depth_m + noise).astype(np.float32), CAMERA, stamp_ns=self.number * PERIOD_NS)

    def show(self, *poses: Array) -> FollowedFrame:
        self.number += 1
        return self.tracker.follow(self.frame(*poses), self.library)

    def find(self, *poses: Array, frames_ago: int = 0, score: float = 0.9) -> None:
        """What a search of an earlier frame found."""
        count = len(poses)
        found = Detections.empty(CAMERA.height, CAMERA.width)
        ones = torch.ones(count)
        found = replace(
            found,
            masks=torch.zeros(count, CAMERA.height, CAMERA.width, dtype=torch.bool),
            boxes_xyxy=torch.zeros(count, 4, dtype=torch.int64),
            object_index=torch.zeros(count, dtype=torch.int64),
            template_index=torch.zeros(count, dtype=torch.int64),
            score=score * ones,
            semantic_score=ones,
            appearance_score=ones,
            geometric_score=ones,
            visible_ratio=ones,
            fit_score=ones,
            rotation=torch.from_numpy(np.array([one[:3, :3] for one in poses])).float(),
            translation_m=torch.from_numpy(np.array([one[:3, 3] for one in poses])).float(),
            object_ids=("block",),
        )
        self.tracker.merge(found, (self.number - frames_ago) * PERIOD_NS, self.library)


@pytest.fixture
def film(library: ObjectLibrary, surface: Surface) -> Film:
    return Film(library, surface)


def errors(found: Detections, true: Array, row: int = 0) -> tuple[float, float]:
    """Distance, metres, and angle, degrees, of a pose from the true one."""
    rotation = Rotation.from_matrix(found.rotation[row].double().numpy() @ true[:3, :3].T)
    distance_m = np.linalg.norm(found.translation_m[row].double().numpy() - true[:3, 3])
    return float(distance_m), float(np.rad2deg(rotation.magnitude()))


def test_a_moving_instance_is_followed_with_its_id_pose_and_mask(film: Film) -> None:
    film.show(at(0))
    film.find(at(0))
    for number in range(1, 7):
        found = film.show(at(number, 0.02 * number)).detections
        assert found.instance_ids() == [1]
    distance_m, angle_deg = errors(found, at(6, 0.12))
    assert distance_m < 0.003
    assert angle_deg < 2
    view = render([film.surface], [at(6, 0.12)], CAMERA, samples=1)
    mask, true = found.masks[0].numpy(), view.instance == 0
    assert (mask & true).sum() / (mask | true).sum() > 0.85


def test_what_is_taken_away_is_lost_within_three_frames_and_has_no_pose(film: Film) -> None:
    film.show(at(0))
    film.find(at(0))
    assert len(film.show(at(0)).detections) == 1
    gone = [film.show() for _ in range(3)]
    assert len(gone[2].detections) == 0
    assert gone[2].lost == ((1, "block"),)


def test_what_comes_back_has_its_id_again(film: Film) -> None:
    film.show(at(0))
    film.find(at(0))
    film.show(at(0))
    for _ in range(11):
        film.show()
    film.show(at(12, 0.4))
    film.find(at(12, 0.4))
    found = film.show(at(12, 0.4))
    assert found.detections.instance_ids() == [1]
    assert found.lost == ()


def test_the_result_of_a_search_is_carried_forward_to_the_newest_frame(film: Film) -> None:
    film.show(at(0))
    film.find(at(0))
    for number in range(1, 6):
        film.show(at(number))
    film.find(at(1), frames_ago=4)
    found = film.show(at(6)).detections
    assert found.instance_ids() == [1]
    assert errors(found, at(6))[0] < 0.003


def test_a_detection_that_the_next_frame_does_not_confirm_is_not_published(film: Film) -> None:
    film.show()
    film.find(at(0))
    found = film.show()
    assert len(found.detections) == 0
    assert found.lost == ()


def test_instances_of_an_object_that_is_no_longer_known_are_forgotten(film: Film) -> None:
    film.show(at(0))
    film.find(at(0))
    film.library = ObjectLibrary(())
    found = film.show(at(0))
    assert len(found.detections) == 0
    assert found.lost == ()
