"""The depth segmentor on made-up depth scenes whose truth is exact."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ism_ros.data.camera import Camera
from ism_ros.data.frame import Frame
from ism_ros.segmentors import create_segmentor
from ism_ros.segmentors.depth import DepthSegmentor
from ism_ros.segmentors.depth_geometry import fill_from_behind, find_planes
from ism_ros.segmentors.merge_tree import merge_by_boundary
from ism_ros.segmentors.patches import Patches
from ism_ros.segmentors.regions import Regions, in_free_places
from ism_ros.segmentors.superpixels import Boundaries, contacts, measure_borders, watershed

HEIGHT, WIDTH = 240, 320
CAMERA = Camera(np.array([[300.0, 0, 160], [0, 300.0, 120], [0, 0, 1]]), WIDTH, HEIGHT)
TABLE_M = 0.8
GREY = (128, 120, 112)

Box = tuple[slice, slice]


def table(noise_m: float = 0.001, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Colour and depth of a bare table that falls away from the camera, with sensor noise."""
    rng = np.random.default_rng(seed)
    rgb = np.full((HEIGHT, WIDTH, 3), GREY, np.float64) + rng.normal(0, 3, (HEIGHT, WIDTH, 3))
    disparity = 1 / TABLE_M + 0.001 * (np.arange(HEIGHT)[:, None] - HEIGHT / 2) * np.ones(WIDTH)
    depth = 1 / disparity + rng.normal(0, noise_m, (HEIGHT, WIDTH))
    return rgb, depth


def put(
    rgb: np.ndarray, depth: np.ndarray, where: Box, height_m: float, colour: tuple[int, ...] = GREY
) -> None:
    """Raises a box of `height_m` from what is there and paints it."""
    depth[where] -= height_m
    rgb[where] += np.array(colour) - np.array(GREY)


def frame_of(rgb: np.ndarray, depth: np.ndarray | None) -> Frame:
    height, width = rgb.shape[:2]
    camera = Camera(CAMERA.intrinsics, width, height, is_cropped=True)
    depth_m = None if depth is None else depth.astype(np.float32)
    return Frame(np.clip(rgb, 0, 255).astype(np.uint8), depth_m, camera)


def best_iou(masks: torch.Tensor, where: Box) -> float:
    truth = torch.zeros(masks.shape[1:], dtype=torch.bool)
    truth[where] = True
    shared = (masks & truth).flatten(1).sum(1)
    return float((shared / (masks | truth).flatten(1).sum(1)).max()) if len(masks) else 0.0


@pytest.fixture(scope="module")
def segmentor() -> DepthSegmentor:
    return DepthSegmentor()


def test_is_created_by_name() -> None:
    assert create_segmentor("depth").name == "depth"


def test_touching_boxes_of_different_height_and_the_same_colour_are_two_objects(
    segmentor: DepthSegmentor,
) -> None:
    rgb, depth = table()
    left, right = np.s_[80:160, 100:150], np.s_[90:160, 150:210]
    put(rgb, depth, left, 0.12)
    put(rgb, depth, right, 0.06)
    masks = segmentor.propose(frame_of(rgb, depth)).masks
    assert best_iou(masks, left) > 0.75
    assert best_iou(masks, right) > 0.75


def test_touching_boxes_of_the_same_height_are_told_apart_by_colour(segmentor: DepthSegmentor) -> None:
    rgb, depth = table()
    left, right = np.s_[80:160, 100:150], np.s_[80:160, 150:210]
    put(rgb, depth, left, 0.08, (200, 40, 40))
    put(rgb, depth, right, 0.08, (40, 60, 190))
    masks = segmentor.propose(frame_of(rgb, depth)).masks
    assert best_iou(masks, left) > 0.75
    assert best_iou(masks, right) > 0.75


def test_an_object_in_the_colours_of_the_table_is_found_by_depth(segmentor: DepthSegmentor) -> None:
    rgb, depth = table()
    box = np.s_[90:150, 120:200]
    put(rgb, depth, box, 0.05)
    assert best_iou(segmentor.propose(frame_of(rgb, depth)).masks, box) > 0.75


def test_a_card_too_thin_for_depth_is_found_by_colour(segmentor: DepthSegmentor) -> None:
    rgb, depth = table()
    card = np.s_[100:150, 110:190]
    put(rgb, depth, card, 0.001, (220, 200, 60))
    assert best_iou(segmentor.propose(frame_of(rgb, depth)).masks, card) > 0.75


def test_a_printed_box_is_found_whole(segmentor: DepthSegmentor) -> None:
    rgb, depth = table()
    box = np.s_[70:170, 110:210]
    put(rgb, depth, box, 0.08, (200, 190, 180))
    put(rgb, depth, np.s_[90:130, 130:170], 0.0, (30, 60, 160))
    put(rgb, depth, np.s_[140:160, 120:200], 0.0, (190, 40, 40))
    assert best_iou(segmentor.propose(frame_of(rgb, depth)).masks, box) > 0.75


def test_an_object_without_any_reading_is_found_by_colour(segmentor: DepthSegmentor) -> None:
    rgb, depth = table()
    cup = np.s_[90:150, 120:170]
    put(rgb, depth, cup, 0.0, (20, 20, 24))
    depth[cup] = 0
    assert best_iou(segmentor.propose(frame_of(rgb, depth)).masks, cup) > 0.75


def test_the_shadow_hole_beside_an_object_is_not_part_of_it(segmentor: DepthSegmentor) -> None:
    rgb, depth = table()
    box = np.s_[80:160, 130:190]
    put(rgb, depth, box, 0.12)
    depth[80:160, 105:130] = 0
    assert best_iou(segmentor.propose(frame_of(rgb, depth)).masks, box) > 0.75


def test_every_object_in_a_crowd_has_its_own_proposal(segmentor: DepthSegmentor) -> None:
    rgb, depth = table()
    rng = np.random.default_rng(5)
    boxes = []
    for row in range(3):
        for column in range(4):
            y, x = 45 + row * 62, 30 + column * 66
            boxes.append(np.s_[y : y + int(rng.integers(30, 56)), x : x + int(rng.integers(30, 60))])
            put(rgb, depth, boxes[-1], float(rng.uniform(0.03, 0.15)), tuple(rng.integers(40, 220, 3)))
    masks = segmentor.propose(frame_of(rgb, depth)).masks
    assert min(best_iou(masks, box) for box in boxes) > 0.75


def test_a_bare_plane_gives_few_proposals(segmentor: DepthSegmentor) -> None:
    assert len(segmentor.propose(frame_of(*table()))) <= 10


def test_works_from_colour_alone_without_depth(segmentor: DepthSegmentor) -> None:
    rgb, depth = table()
    box = np.s_[90:150, 120:200]
    put(rgb, depth, box, 0.05, (200, 60, 60))
    without, empty = (
        segmentor.propose(frame_of(rgb, None)),
        segmentor.propose(frame_of(rgb, np.zeros_like(depth))),
    )
    assert best_iou(without.masks, box) > 0.75
    assert torch.equal(without.masks, empty.masks)


def test_the_same_frame_gives_the_same_proposals(segmentor: DepthSegmentor) -> None:
    rgb, depth = table()
    put(rgb, depth, np.s_[80:160, 100:150], 0.1, (200, 40, 40))
    first, second = (segmentor.propose(frame_of(rgb, depth)) for _ in range(2))
    assert torch.equal(first.masks, second.masks)
    assert torch.equal(first.confidence, second.confidence)


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (7, 9), (16, 16), (33, 250), (480, 640), (900, 1200)])
def test_takes_images_of_any_size(segmentor: DepthSegmentor, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    rgb = rng.uniform(0, 255, (*size, 3))
    depth = rng.uniform(0.3, 3.0, size) * (rng.random(size) < 0.8)
    proposals = segmentor.propose(frame_of(rgb, depth))
    assert proposals.masks.shape[1:] == size


def test_large_images_keep_their_objects(segmentor: DepthSegmentor) -> None:
    rgb, depth = table()
    put(rgb, depth, np.s_[80:160, 100:180], 0.1, (200, 40, 40))
    large = [image.repeat(3, axis=0).repeat(3, axis=1) for image in (rgb, depth)]
    assert best_iou(segmentor.propose(frame_of(*large)).masks, np.s_[240:480, 300:540]) > 0.75


def test_proposals_are_aligned_capped_and_finite() -> None:
    rng = np.random.default_rng(3)
    rgb, depth = table()
    for _ in range(60):
        y, x = int(rng.integers(0, 200)), int(rng.integers(0, 280))
        put(rgb, depth, np.s_[y : y + 25, x : x + 25], 0.02, tuple(rng.integers(0, 255, 3)))
    proposals = DepthSegmentor(max_proposals=30).propose(frame_of(rgb, depth))
    assert 20 < len(proposals) <= 30
    assert proposals.masks.dtype == torch.bool
    assert torch.isfinite(proposals.confidence).all()
    assert ((proposals.confidence >= 0) & (proposals.confidence <= 1)).all()
    assert (proposals.confidence.diff() <= 0).all()
    for mask, (x0, y0, x1, y1) in zip(proposals.masks, proposals.boxes_xyxy.tolist(), strict=True):
        rows, columns = torch.nonzero(mask, as_tuple=True)
        assert (x0, y0, x1, y1) == (columns.min(), rows.min(), columns.max(), rows.max())


def test_no_two_proposals_are_nearly_the_same(segmentor: DepthSegmentor) -> None:
    rgb, depth = table()
    put(rgb, depth, np.s_[80:160, 100:150], 0.12, (200, 40, 40))
    put(rgb, depth, np.s_[90:160, 150:210], 0.06, (40, 200, 40))
    masks = segmentor.propose(frame_of(rgb, depth)).masks.flatten(1).float()
    shared = masks @ masks.T
    iou = shared / (masks.sum(1)[:, None] + masks.sum(1)[None] - shared)
    assert float((iou - torch.eye(len(masks))).max()) < 0.86


def test_masks_are_put_on_the_device_asked_for() -> None:
    rgb, depth = table()
    put(rgb, depth, np.s_[80:160, 100:150], 0.1, (200, 40, 40))
    proposals = DepthSegmentor(device="meta").propose(frame_of(rgb, depth))
    assert {t.device.type for t in (proposals.masks, proposals.confidence, proposals.boxes_xyxy)} == {"meta"}


def test_a_hole_beside_an_object_is_filled_with_what_is_behind_it() -> None:
    disparity = np.array([[5.0, 0, 0, 9.0, 9.0, 0], [0, 0, 0, 0, 0, 0]], np.float32)
    filled = fill_from_behind(disparity, disparity > 0)
    assert filled.tolist() == [[5.0, 5.0, 5.0, 9.0, 9.0, 9.0]] * 2


def test_the_plane_of_a_noisy_table_is_found_beside_a_wall() -> None:
    rng = np.random.default_rng(0)
    u, v = np.meshgrid(np.arange(160.0), np.arange(120.0))
    truth = np.where(v > 60, 300 + 0.8 * v, 348 + 0.2 * (u - 80)) + rng.normal(0, 0.8, u.shape)
    planes = find_planes(truth.astype(np.float32), np.ones_like(u, np.float32), np.ones_like(u, bool), 4)
    assert min(np.abs(planes - np.array([0, 0.8, 300])) @ np.array([80, 60, 1.0])) < 1.0
    assert min(np.abs(planes - np.array([0.2, 0, 332])) @ np.array([80, 60, 1.0])) < 1.0


def test_patches_end_at_edges_and_cover_the_image() -> None:
    edges = np.zeros((60, 80), np.uint8)
    edges[:, 39:41] = 255
    labels = watershed(edges, 10)
    assert set(np.unique(labels)) == set(range(labels.max() + 1))
    assert not set(np.unique(labels[:, :38])) & set(np.unique(labels[:, 43:]))


def test_borders_between_patches_are_measured() -> None:
    labels = np.array([[0, 0, 1], [0, 0, 1], [2, 2, 2]], np.int32)
    cue = np.zeros((3, 3), np.uint8)
    cue[2] = 51
    borders = measure_borders(labels, contacts(labels), [cue])
    assert borders.pairs.tolist() == [[0, 1], [0, 2], [1, 2]]
    assert borders.length.tolist() == [2, 2, 1]
    assert borders.cues[:, 0].tolist() == pytest.approx([0.0, 0.2, 0.2])


def test_the_weakest_border_goes_first_and_joined_borders_are_averaged_by_length() -> None:
    pairs = np.array([[0, 1], [1, 2], [0, 2], [2, 3]])
    length = np.array([10, 10, 30, 10], np.float32)
    strength = np.array([0.1, 0.8, 0.4, 0.2], np.float32)
    area = np.full(4, 100, np.float32)
    tree = merge_by_boundary(
        pairs, length, strength, area, np.zeros((4, 3), np.float32), 1.0, length[:, None]
    )
    joined = {frozenset(pair) for pair in tree.children[:2].tolist()}
    assert joined == {frozenset({0, 1}), frozenset({2, 3})}
    assert tree.height[2] == pytest.approx((0.8 * 10 + 0.4 * 30) / 40, rel=1e-4)
    assert tree.shared[2, 0] == 40
    assert tree.sums(area)[-1] == 400


def test_a_plain_region_in_a_free_place_is_found_after_the_parts_of_a_conspicuous_one() -> None:
    # patches: three of a box, one pen, and the table
    area = np.array([10.0, 10.0, 10.0, 5.0, 400.0], np.float32)
    nothing = np.zeros(5, np.float32)
    borders = Boundaries(np.zeros((0, 2), np.int64), np.zeros(0, np.float32), np.zeros((0, 4), np.float32))
    patches = Patches(
        np.zeros((1, 5), np.int32), area, np.zeros((5, 3), np.float32), nothing, nothing, nothing, nothing, borders
    )
    box, part, pen, table = [1, 1, 1, 0, 0], [1, 1, 0, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 1, 1]
    regions = Regions(np.array([box, part, pen, table], bool), np.array([0.9, 0.8, 0.1, 0.5], np.float32))
    assert in_free_places(patches, regions, np.array([0]), at_most=3).tolist() == [2]
