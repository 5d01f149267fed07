"""Where our scores differ from the reference on purpose, and what happens at the edges."""

from __future__ import annotations

import pytest
import torch

from ism_ros.data.camera import Camera
from ism_ros.matching import geometry, in_plane_rotation, patch_scores, sam6d, similarity

INTRINSICS = torch.tensor([[100.0, 0.0, 20.0], [0.0, 100.0, 15.0], [0.0, 0.0, 1.0]])
CAMERA = Camera(INTRINSICS.numpy(), 41, 31)


def test_one_disjoint_pair_leaves_the_other_geometric_scores_alone() -> None:
    projected = torch.tensor([[0, 0, 10, 10], [50, 50, 60, 60]])
    boxes = torch.tensor([[0, 0, 10, 10], [0, 0, 10, 10]])
    assert geometry.geometric_score(projected, boxes).tolist() == [1.0, 0.0]


def test_no_proposals_give_no_scores() -> None:
    pairwise = similarity.pairwise_similarity(torch.zeros(0, 8), torch.rand(3, 42, 8))
    semantic, object_index, best_template = similarity.semantic_score(pairwise)
    appearance, visible_ratio = patch_scores.patch_scores(torch.zeros(0, 4, 8), torch.zeros(0, 4, 8))
    assert [len(part) for part in (semantic, object_index, best_template, appearance, visible_ratio)] == [0] * 5


def test_padding_templates_never_raise_a_score() -> None:
    templates = torch.nn.functional.normalize(torch.rand(1, 6, 8), dim=-1)
    padded = torch.cat([templates, torch.zeros(1, 30, 8)], dim=1)
    query = torch.rand(5, 8)
    plain, _, _ = similarity.semantic_score(similarity.pairwise_similarity(query, templates))
    with_padding, _, _ = similarity.semantic_score(similarity.pairwise_similarity(query, padded))
    torch.testing.assert_close(plain, with_padding)


def test_fewer_templates_than_top_k_are_all_averaged() -> None:
    pairwise = torch.tensor([[[0.2, 0.4, 0.9]]])
    score, _, best_template = similarity.semantic_score(pairwise, top_k=5)
    assert torch.isclose(score[0], torch.tensor(0.5))
    assert best_template.tolist() == [2]


def test_similarity_does_not_depend_on_length() -> None:
    query, templates = torch.rand(4, 8), torch.rand(2, 3, 8)
    torch.testing.assert_close(
        similarity.pairwise_similarity(query * 7.0, templates * 0.3), similarity.pairwise_similarity(query, templates)
    )


def test_a_crop_without_valid_patches_scores_zero() -> None:
    appearance, visible_ratio = patch_scores.patch_scores(torch.zeros(1, 4, 8), torch.zeros(1, 4, 8))
    assert appearance.tolist() == [0.0]
    assert visible_ratio.tolist() == [0.0]


def test_a_mask_without_depth_has_no_position() -> None:
    masks = torch.ones(2, 30, 40, dtype=torch.bool)
    masks[1, 10:] = False
    depth_m = torch.zeros(30, 40)
    depth_m[20:] = 1.0
    position_m, pixels = geometry.mean_position_m(masks, depth_m, CAMERA)
    assert pixels.tolist() == [400, 0]
    assert torch.isfinite(position_m[0]).all()
    assert torch.isnan(position_m[1]).all()


def test_a_flat_patch_of_depth_is_at_its_centre() -> None:
    masks = torch.zeros(1, 31, 41, dtype=torch.bool)
    masks[0, 10:21, 15:26] = True
    position_m, _ = geometry.mean_position_m(masks, torch.full((31, 41), 2.0), CAMERA)
    torch.testing.assert_close(position_m[0], torch.tensor([0.0, 0.0, 2.0]))


def test_points_behind_the_camera_stay_inside_the_image() -> None:
    points = torch.tensor([[0.0, 0.0, -5.0], [100.0, -100.0, 1.0]])
    box = geometry.projected_boxes(points, torch.eye(3)[None], torch.zeros(1, 3), INTRINSICS, (30, 40))
    assert (box >= 0).all()
    assert (box <= torch.tensor([39, 29, 39, 29])).all()


def test_final_score_without_geometry_is_the_mean_of_the_other_two() -> None:
    zero = torch.zeros(1)
    final = sam6d.final_score(torch.tensor([0.8]), torch.tensor([0.4]), zero, zero)
    assert torch.isclose(final, torch.tensor(0.6))


def bar(angle: float) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(120.0), torch.arange(160.0), indexing="ij")
    along = (x - 80) * torch.cos(torch.tensor(angle)) + (y - 60) * torch.sin(torch.tensor(angle))
    across = (y - 60) * torch.cos(torch.tensor(angle)) - (x - 80) * torch.sin(torch.tensor(angle))
    return ((along.abs() < 40) & (across.abs() < 8))[None]


@pytest.mark.parametrize("angle", [0.0, 0.5, 1.2, -0.9])
def test_a_long_object_is_turned_to_lie_along_its_mask(angle: float) -> None:
    intrinsics = torch.tensor([[200.0, 0, 80], [0, 200.0, 60], [0, 0, 1]])
    line = torch.linspace(-0.2, 0.2, 50)
    points = torch.stack([line, line * 0, line * 0], dim=1)
    profiles = in_plane_rotation.silhouette_profiles(bar(angle))
    turned = in_plane_rotation.rotate_in_plane(
        torch.eye(3)[None], profiles, points, torch.tensor([[0.0, 0, 1]]), intrinsics
    )
    direction = turned[0] @ torch.tensor([1.0, 0, 0])
    half_a_step = torch.pi / in_plane_rotation.DIRECTIONS
    assert abs(float(torch.atan2(direction[1], direction[0])) - angle) < half_a_step + 0.01


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_which_end_is_which_is_seen_in_the_outline(turns: int) -> None:
    y, x = torch.meshgrid(torch.arange(-60.0, 60.0), torch.arange(-60.0, 60.0), indexing="ij")
    wedge = (x > -30) & (x < 50) & (y.abs() < (50 - x) / 4)
    mask = wedge.rot90(-turns)[None]
    points = torch.tensor([[-0.03, -0.02, 0.0], [-0.03, 0.02, 0.0], [0.05, 0.0, 0.0]])
    intrinsics = torch.tensor([[1000.0, 0, 60], [0, 1000.0, 60], [0, 0, 1]])
    turned = in_plane_rotation.rotate_in_plane(
        torch.eye(3)[None], in_plane_rotation.silhouette_profiles(mask), points, torch.tensor([[0.0, 0, 1]]), intrinsics
    )
    direction = turned[0] @ torch.tensor([1.0, 0, 0])
    expected = torch.tensor([torch.pi / 2 * turns])
    assert float(direction[0] * expected.cos() + direction[1] * expected.sin()) > 0.99


def test_a_round_mask_turns_nothing() -> None:
    y, x = torch.meshgrid(torch.arange(120.0), torch.arange(160.0), indexing="ij")
    disc = ((x - 80) ** 2 + (y - 60) ** 2 < 900)[None]
    points = torch.tensor([[-0.1, 0.0, 0.0], [0.1, 0.0, 0.0]])
    intrinsics = torch.tensor([[200.0, 0, 80], [0, 200.0, 60], [0, 0, 1]])
    turned = in_plane_rotation.rotate_in_plane(
        torch.eye(3)[None], in_plane_rotation.silhouette_profiles(disc), points, torch.tensor([[0.0, 0, 1]]), intrinsics
    )
    assert torch.equal(turned[0], torch.eye(3))


@pytest.mark.parametrize("invalid", ["none", "some", "query", "template", "both"])
def test_scores_template_by_template_are_those_of_all_at_once(invalid: str) -> None:
    generator = torch.Generator().manual_seed(3)
    query, templates = (
        torch.nn.functional.normalize(torch.randn((count, 9, 4), generator=generator), dim=2) for count in (8, 3)
    )
    if invalid == "some":
        query *= torch.rand((8, 9, 1), generator=generator) < 0.4
        templates *= torch.rand((3, 9, 1), generator=generator) < 0.4
    if invalid in ("query", "both"):
        query[2] = 0
    if invalid in ("template", "both"):
        templates[1] = 0
    if invalid == "both":
        query[:, 1:] = 0
    selected = torch.tensor([7, 2, 0, 5, 4])
    groups = [
        (templates[0], torch.tensor([1, 3])),
        (templates[1], torch.tensor([0])),
        (templates[2], torch.tensor([4, 2])),
    ]
    appearance, visible = patch_scores.patch_scores_by_template(query, selected, groups)
    wanted = patch_scores.patch_scores(query[selected], templates[[1, 0, 2, 0, 2]])
    torch.testing.assert_close(appearance, wanted[0])
    torch.testing.assert_close(visible, wanted[1])
    for chunk in (1, 2, 128):
        appearance, visible = patch_scores._patch_scores_in_batches(query, selected, groups, chunk)
        torch.testing.assert_close(appearance, wanted[0])
        torch.testing.assert_close(visible, wanted[1])


def test_no_selected_proposal_has_no_scores() -> None:
    nothing = torch.zeros(0, dtype=torch.int64)
    appearance, visible = patch_scores.patch_scores_by_template(torch.rand(3, 4, 5), nothing, [])
    assert appearance.shape == visible.shape == (0,)
