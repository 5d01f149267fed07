"""The matcher `shape`: which objects are aligned with the depth, which one is chosen, and what the shape adds."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from scipy.spatial.transform import Rotation

from ism_ros.cad.surfaces import surface_of
from ism_ros.data.boxes import boxes_from_masks
from ism_ros.data.camera import Camera
from ism_ros.data.frame import Frame
from ism_ros.descriptors.base import create_descriptor
from ism_ros.matching import sam6d, shape
from ism_ros.matching.sam6d import match_sam6d
from ism_ros.objects.known_object import KnownObject
from ism_ros.objects.library import ObjectLibrary
from ism_ros.objects.onboarding import onboard
from ism_ros.objects.spec import ObjectSpec
from ism_ros.pose.observed_points import ObservedPoints, sample_observed_points
from ism_ros.rendering.renderer import render
from ism_ros.sim.benchmark_scenes.objects.object_catalog import export_cad

CAMERA = Camera(np.array([[615.0, 0, 322.5], [0, 615.0, 238.5], [0, 0, 1]]), 640, 480)


def test_only_objects_whose_shape_could_make_them_the_best_are_candidates() -> None:
    semantic = torch.tensor([[0.8, 0.7, 0.6, 0.1], [0.15, 0.1, 0.0, 0.0], [0.5, 0.5, 0.5, 0.4]])
    found = shape.candidates(semantic, confidence_threshold=0.2)
    assert found.tolist() == [[True, True, False, False], [False] * 4, [True, True, True, False]]


def test_a_better_shape_makes_a_similar_object_the_best() -> None:
    semantic, fit = torch.tensor([[0.70, 0.65], [0.70, 0.30]]), torch.tensor([[0.2, 0.8], [0.2, 0.8]])
    everyone = torch.ones(2, 2, dtype=torch.bool)
    assert shape.chosen_object(semantic, fit, everyone).tolist() == [1, 0]


def test_shape_counts_twice_in_the_score_which_is_sam6ds_without_it() -> None:
    semantic, appearance, geometric, visible = (torch.tensor([x, x]) for x in (0.8, 0.6, 0.9, 0.5))
    fit, has_fit = torch.tensor([0.7, 0.0]), torch.tensor([True, False])
    score = shape.final_score(semantic, appearance, geometric, visible, fit, has_fit)
    assert score[0].item() == pytest.approx((0.8 + 0.6 + 0.9 * 0.5 + 2 * 0.7) / 4.5)
    assert score[1].item() == pytest.approx(float(sam6d.final_score(semantic, appearance, geometric, visible)[1]))


def test_the_shape_score_is_1_where_nothing_differs_and_0_where_nothing_was_seen() -> None:
    assert shape.shape_score(torch.tensor([0.0, torch.inf])).tolist() == [1.0, 0.0]


def test_in_the_choice_of_the_object_depth_counts_four_times() -> None:
    cost, depth_rmse_m = torch.tensor([0.5, torch.inf]), torch.tensor([0.008, 0.0])
    consistency = shape.consistency_score(cost, depth_rmse_m, radius_m=0.05)
    assert consistency[0].item() == pytest.approx(math.exp(-(0.5 + 60 * 0.1**2) / 0.4))
    assert consistency[1].item() == 0.0


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> tuple[trimesh.Trimesh, ObjectLibrary]:
    """A box of 10 x 6 x 4 cm, and the library of it and of its double size."""
    folder = tmp_path_factory.mktemp("boxes")
    descriptor = create_descriptor("tiny")
    small = trimesh.creation.box((0.10, 0.06, 0.04))
    library = ObjectLibrary()
    for name, factor in (("small", 1.0), ("large", 2.0)):
        (folder / name).mkdir()
        mesh = small.copy().apply_scale(factor)
        mesh.metadata["name"] = name
        spec = ObjectSpec(name, cad=export_cad(mesh, folder / name), units="m", category_id=len(library) + 1)
        library = library.with_object(onboard(spec, descriptor, folder / "cache"))
    return small, library


def seen_box(mesh: trimesh.Trimesh, distance_m: float) -> ObservedPoints:
    pose = np.eye(4)
    pose[:3, :3], pose[2, 3] = Rotation.from_euler("xyz", (30, 40, 10), degrees=True).as_matrix(), distance_m
    view = render([surface_of(mesh)], [pose], CAMERA, background=(120, 120, 124), samples=1)
    masks = torch.from_numpy(view.instance == 0)[None]
    return sample_observed_points(masks, boxes_from_masks(masks), Frame(view.rgb, view.depth_m, CAMERA))


def alike(library: ObjectLibrary) -> tuple[torch.Tensor, torch.Tensor]:
    """Class tokens that know nothing, slightly for the large one, and some patch tokens, of one proposal."""
    views = library.class_tokens.shape[1]
    pairwise = torch.tensor([0.60, 0.62])[None, :, None].expand(1, 2, views).clone()
    return pairwise, torch.zeros(1, *library.objects[0].patch_tokens.shape[1:])


@pytest.mark.slow
def test_two_boxes_of_different_size_are_told_apart_by_depth_alone(
    boxes: tuple[trimesh.Trimesh, ObjectLibrary],
) -> None:
    small, library = boxes
    pairwise, patch_tokens = alike(library)
    assert match_sam6d(pairwise, patch_tokens, library, 0.2).object_index.tolist() == [1]
    for mesh, name in ((small, "small"), (small.copy().apply_scale(2.0), "large")):
        found = shape.match_shape(pairwise, patch_tokens, library, 0.2, seen_box(mesh, 0.8))
        assert library.ids[int(found.object_index)] == name
        assert found.shape is not None
        assert found.shape.score.item() > 0.5


@pytest.mark.slow
def test_a_box_is_told_from_one_of_less_length_by_depth_alone(
    boxes: tuple[trimesh.Trimesh, ObjectLibrary], tmp_path: Path
) -> None:
    small, library = boxes
    short = small.copy().apply_scale((0.6, 1.0, 1.0))
    short.metadata["name"] = "short"
    spec = ObjectSpec("short", cad=export_cad(short, tmp_path), units="m", category_id=3)
    twins = library.without("large").with_object(onboard(spec, create_descriptor("tiny"), tmp_path / "cache"))
    pairwise, patch_tokens = alike(twins)
    for mesh, name in ((small, "small"), (short, "short")):
        found = shape.match_shape(pairwise, patch_tokens, twins, 0.2, seen_box(mesh, 0.8))
        assert twins.ids[int(found.object_index)] == name


@pytest.mark.slow
def test_without_views_or_depth_it_is_sam6d(boxes: tuple[trimesh.Trimesh, ObjectLibrary]) -> None:
    small, library = boxes
    pairwise, patch_tokens = alike(library)
    wanted = match_sam6d(pairwise, patch_tokens, library, 0.2)
    bare = ObjectLibrary(tuple(without_views(known) for known in library.objects))
    seen = seen_box(small, 0.8)
    blind = replace(seen, pixels=torch.zeros_like(seen.pixels))
    for objects, under in ((bare, seen), (library, blind)):
        found = shape.match_shape(pairwise, patch_tokens, objects, 0.2, under)
        assert found.object_index.tolist() == wanted.object_index.tolist()
        assert found.template_index.tolist() == wanted.template_index.tolist()
        assert found.shape is not None
        assert found.shape.score.tolist() == [0.0]


def without_views(known: KnownObject) -> KnownObject:
    return replace(known, views=None)
