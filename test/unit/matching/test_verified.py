"""The matcher `verified`: objects are told apart by size and shape, with a probability, a pose and a whole mask."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh
from lone_objects import known, pose, seen
from scipy.spatial.transform import Rotation

from ism_ros.config.settings import Settings
from ism_ros.data.camera import Camera
from ism_ros.data.frame import Frame
from ism_ros.data.proposals import Proposals
from ism_ros.descriptors.base import Descriptors
from ism_ros.matching.base import Matches, MatchInputs
from ism_ros.matching.calibration import (
    FALLING,
    FEATURE_NAMES,
    FEATURES,
    LOOKS,
    RISING,
    looks_probability,
    pose_probabilities,
    shipped_calibration,
)
from ism_ros.matching.scores.geometry import verify_geometry
from ism_ros.matching.selection import ScoredProposals, matched_proposals, scored_proposals
from ism_ros.matching.verified import VERIFIED
from ism_ros.objects.library import ObjectLibrary
from ism_ros.pose.estimation import with_coarse_poses
from ism_ros.verification.evidence.terms import TERMS

SIDE = Rotation.from_euler("xyz", (35, 40, 10), degrees=True)
PLACE = (-0.02, 0.01, 0.6)
SMALL = trimesh.creation.box((0.10, 0.07, 0.05))
LARGE = SMALL.copy().apply_scale(1.6)


@pytest.fixture(scope="module")
def library() -> ObjectLibrary:
    """A box and a larger one, which look the same to tokens."""
    objects = known("small", SMALL, with_all_views=True), known("large", LARGE, with_all_views=True)
    return ObjectLibrary(tuple(objects))


def inputs(frame: Frame, library: ObjectLibrary, *masks: np.ndarray, semantic: float = 0.6) -> MatchInputs:
    """Inputs with proposals that all look alike."""
    count = len(masks)
    stack = torch.from_numpy(np.stack(masks)) if masks else torch.zeros(0, frame.height, frame.width, dtype=torch.bool)
    tokens = Descriptors(torch.full((count, 8), 8**-0.5), torch.zeros(count, 4, 8))
    similarity = torch.full((count, len(library), library.class_tokens.shape[1]), semantic)
    return MatchInputs(frame, Proposals(stack, torch.full((count,), 0.9)), tokens, library, similarity)


def match(frame: Frame, library: ObjectLibrary, *masks: np.ndarray) -> Matches:
    return VERIFIED.matcher.match(inputs(frame, library, *masks))


def scored(frame: Frame, library: ObjectLibrary, *masks: np.ndarray) -> ScoredProposals:
    """All that is made of proposals before a selection."""
    given = inputs(frame, library, *masks)
    matches = VERIFIED.matcher.match(given)
    matched = matched_proposals(given.proposals, matches)
    crop_masks = torch.ones(len(matched), 16, 16, dtype=torch.bool)
    geometry = verify_geometry(frame, matched, crop_masks, library, matches, rotation_sensitive=False)
    score = VERIFIED.matcher.final_score(matches, geometry.score, geometry.visible_ratio, matched.confidence)
    return scored_proposals(matched, library, matches, geometry, score, given.similarity)


def assert_scores_are_probabilities(result: ScoredProposals) -> None:
    score = result.detections.score
    assert torch.isfinite(score).all()
    assert ((score >= 0) & (score <= 1)).all()


@pytest.mark.parametrize(("name", "mesh"), [("small", SMALL), ("large", LARGE)])
def test_two_sizes_of_a_box_are_told_apart(library: ObjectLibrary, name: str, mesh: trimesh.Trimesh) -> None:
    frame, mask = seen(mesh, pose(SIDE, PLACE))
    matches = match(frame, library, mask)
    assert [library.ids[index] for index in matches.object_index.tolist()] == [name]
    assert matches.verified is not None
    assert matches.verified.probability.item() > 0.5


def test_a_verified_object_has_its_pose_a_covariance_and_its_silhouette_as_mask(library: ObjectLibrary) -> None:
    moved = SMALL.copy().apply_translation((0.02, 0.01, -0.03))
    off_centre = ObjectLibrary((known("small", moved, with_all_views=True),))
    at = pose(SIDE, PLACE)
    frame, mask = seen(moved, at)
    piece = mask.copy()
    piece[: int(np.quantile(np.nonzero(mask)[0], 0.3))] = False
    found = scored(frame, off_centre, piece).detections
    assert len(found) == 1
    # the box looks the same after half a turn about any of its axes, and its centre stays
    half_turns = Rotation.from_matrix([np.diag(signs) for signs in ((1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1))])
    rotation = Rotation.from_matrix(found.rotation[0].numpy())
    assert min((rotation.inv() * SIDE * half_turns).magnitude()) < np.radians(2)
    centre_m = np.array([0.02, 0.01, -0.03])
    wanted_m = SIDE.apply(centre_m) + PLACE
    np.testing.assert_allclose(rotation.apply(centre_m) + found.translation_m[0].numpy(), wanted_m, atol=0.003)
    assert found.pose_covariance is not None
    assert np.linalg.eigvalsh(found.pose_covariance[0].numpy()).min() > 0
    outline = found.masks[0].numpy()
    assert (outline & mask).sum() / (outline | mask).sum() > 0.93
    assert found.geometric_score.item() > 0.93


def test_refined_poses_stay_as_they_are_and_get_the_box_of_the_model(library: ObjectLibrary) -> None:
    frame, mask = seen(SMALL, pose(SIDE, PLACE))
    found = scored(frame, library, mask).detections
    posed = with_coarse_poses(found, frame, library)
    torch.testing.assert_close(posed.rotation, found.rotation)
    torch.testing.assert_close(posed.translation_m, found.translation_m)
    torch.testing.assert_close(posed.pose_covariance, found.pose_covariance)
    assert posed.model_box_m is not None
    np.testing.assert_allclose(posed.model_box_m[0].numpy(), SMALL.bounds, atol=1e-6)


def test_a_verified_object_has_the_evidence_that_its_score_was_made_of(library: ObjectLibrary) -> None:
    frame, mask = seen(SMALL, pose(SIDE, PLACE))
    found = scored(frame, library, mask).detections
    assert found.evidence is not None
    assert found.evidence.names == (*TERMS, *LOOKS, "single_instance")
    values = found.evidence.values
    terms, looks, single = values.split([len(TERMS), len(LOOKS), 1], dim=1)
    torch.testing.assert_close(looks, torch.tensor([[0.6, 0.0, 0.9]]))
    assert single.item() == 0
    probabilities = pose_probabilities(terms, *looks.unbind(dim=1))
    torch.testing.assert_close(probabilities.amax(dim=1), found.score)


def test_the_outline_of_an_object_that_is_there_speaks_for_it(library: ObjectLibrary) -> None:
    frame, mask = seen(SMALL, pose(SIDE, PLACE))
    evidence = scored(frame, library, mask).detections.evidence_of(0)
    assert evidence is not None
    assert evidence["outline_iou"]["value"] > 0.9
    assert evidence["outline_iou"]["contribution"] > 0.2


def test_where_there_is_no_pose_there_is_no_evidence(library: ObjectLibrary) -> None:
    frame, mask = seen(SMALL, pose(SIDE, PLACE))
    bare = ObjectLibrary((replace(library.objects[0], surface=None),))
    found = scored(frame, bare, mask)
    assert len(found.detections) == 1
    assert found.detections.evidence_of(0) is None


def test_a_part_of_an_object_is_no_second_one(library: ObjectLibrary) -> None:
    frame, mask = seen(SMALL, pose(SIDE, PLACE))
    part = mask.copy()
    part[:, : int(np.nonzero(mask)[1].mean())] = False
    assert match(frame, library, mask, part).rows.sum() == 1


def test_a_patch_of_a_wall_is_less_probable_than_an_object_and_not_published(library: ObjectLibrary) -> None:
    frame, mask = seen(SMALL, pose(SIDE, (0.2, 0.1, 0.6)))
    patch = np.zeros_like(mask)
    patch[180:240, 100:170] = True
    found = match(frame, library, mask, patch)
    assert found.verified is not None
    by_row = dict(zip(torch.nonzero(found.rows)[:, 0].tolist(), found.verified.probability.tolist(), strict=True))
    assert by_row[0] > 0.5
    assert by_row.get(1, 0.0) < Settings().score_threshold


def test_without_depth_outline_and_colors_speak_beside_looks(library: ObjectLibrary) -> None:
    frame, mask = seen(SMALL, pose(SIDE, PLACE))
    found = scored(replace(frame, depth_m=None), library, mask).detections
    evidence = found.evidence_of(0)
    assert evidence is not None
    assert evidence["outline_iou"]["value"] > 0.8
    assert evidence["measured"]["value"] == 0


def test_without_depth_a_mask_of_another_outline_is_less_probable(library: ObjectLibrary) -> None:
    frame, mask = seen(SMALL, pose(SIDE, PLACE))
    rows, columns = np.indices(mask.shape)
    cross = (abs(rows - 60) < 12) | (abs(columns - 60) < 12)
    cross &= (abs(rows - 60) < 50) & (abs(columns - 60) < 50)
    found = match(replace(frame, depth_m=None), library, mask, cross)
    assert found.verified is not None
    by_row = dict(zip(torch.nonzero(found.rows)[:, 0].tolist(), found.verified.probability.tolist(), strict=True))
    assert by_row[0] > 1.5 * by_row.get(1, 0.0)


def test_without_depth_there_is_no_pose_and_the_proposal_is_the_mask(library: ObjectLibrary) -> None:
    frame, mask = seen(SMALL, pose(SIDE, PLACE))
    given = inputs(replace(frame, depth_m=None), library, mask)
    found = VERIFIED.matcher.match(given)
    assert found.verified is not None
    assert torch.isnan(found.verified.rotation).all()
    assert torch.equal(found.verified.masks, given.proposals.masks)


def test_two_halves_of_an_object_that_is_cut_in_two_are_one_detection(library: ObjectLibrary) -> None:
    frame, mask = seen(LARGE, pose(SIDE, PLACE))
    left, right = mask.copy(), mask.copy()
    middle = int(np.nonzero(mask)[1].mean())
    left[:, middle:] = False
    right[:, :middle] = False
    found = match(frame, ObjectLibrary(library.objects[1:]), left, right)
    assert found.verified is not None
    assert len(found.verified.masks) == 1
    whole = found.verified.masks[0].numpy()
    assert (whole & mask).sum() / (whole | mask).sum() > 0.9


@pytest.mark.parametrize("missing", ["views", "surface"])
def test_objects_that_cannot_be_verified_are_judged_by_looks_beside_others_that_can(
    library: ObjectLibrary, missing: str
) -> None:
    small, large = library.objects
    bare = replace(small, **{missing: None})
    frame, mask = seen(SMALL, pose(SIDE, PLACE))
    for mixed in (ObjectLibrary((bare,)), ObjectLibrary((bare, large)), ObjectLibrary((large, bare))):
        found = scored(frame, mixed, mask)
        assert_scores_are_probabilities(found)
        assert [mixed.ids[index] for index in found.detections.object_index.tolist()] in ([], ["small"])


def test_a_library_of_one_object_is_enough(library: ObjectLibrary) -> None:
    frame, mask = seen(SMALL, pose(SIDE, PLACE))
    found = scored(frame, library.without("large"), mask)
    assert_scores_are_probabilities(found)
    assert len(found.detections) == 1
    assert found.detections.score.item() > 0.5


def test_what_is_no_object_at_all_leaves_no_matches_and_no_exception(library: ObjectLibrary) -> None:
    frame, mask = seen(SMALL, pose(SIDE, PLACE))
    rows, columns = (int(values.mean()) for values in np.nonzero(mask))
    pixels = [np.zeros_like(mask) for _ in range(4)]
    for pixel, (row, column) in zip(pixels, [(rows, columns), (0, 0), (479, 639), (rows, columns + 1)], strict=True):
        pixel[row, column] = True
    assert_scores_are_probabilities(scored(frame, library, *pixels))


def test_what_looks_like_an_object_but_fits_none_in_size_stays_with_hardly_any_probability(
    library: ObjectLibrary,
) -> None:
    frame, mask = seen(SMALL, pose(SIDE, PLACE))
    found = scored(replace(frame, depth_m=frame.depth_m * 10), library, mask)
    assert len(found.detections) == 1
    assert found.detections.score.item() < 0.05
    np.testing.assert_array_equal(found.detections.masks[0].numpy(), mask)


def test_a_mask_without_readings_is_judged_by_looks(library: ObjectLibrary) -> None:
    frame, mask = seen(SMALL, pose(SIDE, PLACE))
    frame.depth_m[mask] = 0.0
    found = scored(frame, library, mask)
    assert_scores_are_probabilities(found)
    posed = with_coarse_poses(found.detections, frame, library)
    assert torch.isfinite(posed.score).all()


@pytest.mark.parametrize("depth_m", [0.0, 0.01, 50.0])
def test_odd_depth_gives_no_nan(library: ObjectLibrary, depth_m: float) -> None:
    frame, mask = seen(SMALL, pose(SIDE, PLACE))
    odd = replace(frame, depth_m=np.full_like(frame.depth_m, depth_m))
    assert_scores_are_probabilities(scored(odd, library, mask, np.ones_like(mask)))


@pytest.mark.parametrize("place", [(0.3, 0.0, 0.6), (-0.32, -0.22, 0.6)], ids=["edge", "corner"])
def test_objects_partly_out_of_the_image_are_found(library: ObjectLibrary, place: tuple[float, float, float]) -> None:
    frame, mask = seen(SMALL, pose(SIDE, place))
    assert mask[:, [0, -1]].any()
    found = scored(frame, library, mask)
    assert_scores_are_probabilities(found)
    assert found.detections.masks.shape[1:] == mask.shape


def test_no_proposals_are_no_matches(library: ObjectLibrary) -> None:
    frame, _ = seen(SMALL, pose(SIDE, PLACE))
    found = match(frame, library)
    assert found.rows.shape == (0,)
    assert found.verified is not None
    assert found.verified.masks.shape == (0, 480, 640)


def test_a_frame_of_one_pixel_is_one_without_objects(library: ObjectLibrary) -> None:
    camera = Camera(np.array([[1.0, 0, 0.5], [0, 1.0, 0.5], [0, 0, 1]]), 2, 2)
    frame = Frame(np.zeros((2, 2, 3), np.uint8), np.full((2, 2), 0.6, np.float32), camera)
    assert_scores_are_probabilities(scored(frame, library, np.eye(2, dtype=bool)))


def test_the_same_frame_gives_the_same_numbers_with_and_without_inference_mode(library: ObjectLibrary) -> None:
    frame, mask = seen(SMALL, pose(SIDE, PLACE))
    first = match(frame, library, mask).verified
    with torch.inference_mode():
        second = match(frame, library, mask).verified
    assert first is not None
    assert second is not None
    assert not first.probability.requires_grad
    assert torch.equal(first.probability, second.probability)
    assert torch.equal(first.rotation, second.rotation)


def test_probabilities_lie_within_0_and_1_whatever_the_terms() -> None:
    generator = torch.Generator().manual_seed(0)
    terms = 100 * torch.randn(500, len(TERMS), generator=generator)
    looks = [10 * torch.randn(500, generator=generator) for _ in range(3)]
    each, by_looks = pose_probabilities(terms, *looks), looks_probability(*looks)
    assert each.shape == (500, 2)
    assert by_looks.shape == (500,)
    for probability in (each, by_looks):
        assert ((probability >= 0) & (probability <= 1)).all()


USUAL = {
    "agreeing": 0.97, "close": 0.8, "explained": 0.9, "outline_iou": 0.85, "inside": 0.95, "continues": 0.2,
    "nearer": 0.1, "hidden": 0.05, "measured": 0.9, "normals": 0.9, "color_correlation": 0.2, "chroma": 0.1,
    "visible_pixels": 3.4, "balanced_chroma": 0.1, "saturation": 0.2, "edges": 0.5, "inner_edges": 0.2,
    "relative_noise": -2.0,
}  # fmt: skip
"""Evidence for an object that is there."""


@pytest.mark.parametrize("name", ["agreeing", "close", "explained", "outline_iou", "normals"])
def test_the_more_of_a_pose_agrees_the_more_probable_it_is(name: str) -> None:
    terms = torch.tensor([[{**USUAL, name: value}[term] for term in TERMS] for value in (0.3, 0.6, 0.9)])
    probability = pose_probabilities(terms, *(torch.full((3,), value) for value in (0.7, 0.2, 0.8)))
    assert (probability.diff(dim=0) > 0).all()
    assert probability[-1].max() > 0.4


def test_looks_alone_are_more_probable_the_more_alike_they_are() -> None:
    semantic = torch.tensor([0.2, 0.5, 0.8])
    probability = looks_probability(semantic, torch.full((3,), 0.2), torch.tensor([0.9]))
    assert (probability.diff() > 0).all()


@pytest.mark.parametrize("with_depth", [True, False])
def test_more_of_what_speaks_for_an_object_never_lowers_its_probability(with_depth: bool) -> None:
    calibration = shipped_calibration(torch.device("cpu"), with_depth)
    features = calibration.mean + calibration.deviation * torch.randn(200, FEATURES, generator=torch.manual_seed(3))
    before = calibration(features)
    for name, sign in [*((name, 1.0) for name in RISING), *((name, -1.0) for name in FALLING)]:
        moved = features.clone()
        index = FEATURE_NAMES.index(name)
        moved[:, index] += sign * 0.5 * calibration.deviation[index]
        assert (calibration(moved) >= before - 1e-6).all(), name
