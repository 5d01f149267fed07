"""Large frames by tiles: what is seen, how it is merged over the seams, and which frames are divided at all."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ism_ros.config.settings import Settings, SettingsError
from ism_ros.config.sources import load_settings
from ism_ros.data.camera import Camera
from ism_ros.data.frame import Frame
from ism_ros.data.proposals import Proposals
from ism_ros.rendering.renderer import render
from ism_ros.segmentors.base import SEGMENTORS, create_segmentor
from ism_ros.segmentors.tile_layout import frame_of_tile, tile_boxes, tiles_per_side
from ism_ros.segmentors.tiled import TiledSegmentor, with_tiles_for_objects

LARGE = (1200, 1600)


def make_frame(things: list[tuple[int, int, int, int]], size: tuple[int, int] = LARGE) -> Frame:
    """White rectangles (x, y, width, height) on black; depth is the number of the column, in metres per 1,000."""
    height, width = size
    rgb = np.zeros((height, width, 3), np.uint8)
    for x, y, columns, rows in things:
        rgb[y : y + rows, x : x + columns] = 255
    depth_m = np.broadcast_to(np.arange(1, width + 1, dtype=np.float32) / 1000, size).copy()
    camera = Camera(np.array([[1500.0, 0, width / 2], [0, 1500, height / 2], [0, 0, 1]]), width, height)
    return Frame(rgb, depth_m, camera)


class AtWidth:
    """A segmentor that sees white regions in pictures scaled to a width of 200 pixels, from 4 x 4 pixels on."""

    name, is_small = "at width 200", True

    def __init__(self) -> None:
        self.seen: list[Frame] = []

    def propose(self, frame: Frame, stability_score_threshold: float | None = None) -> Proposals:
        self.seen.append(frame)
        size = round(200 * frame.height / frame.width), 200
        small = cv2.resize(frame.rgb[..., 0], size[::-1], interpolation=cv2.INTER_AREA) > 127
        count, labels, stats, _ = cv2.connectedComponentsWithStats(small.astype(np.uint8))
        large = [label for label in range(1, count) if stats[label, 2:4].min() >= 4]
        masks = [
            cv2.resize((labels == label).astype(np.uint8), (frame.width, frame.height), interpolation=cv2.INTER_NEAREST)
            for label in large
        ]
        made = torch.from_numpy(np.array(masks, bool).reshape(-1, frame.height, frame.width))
        return Proposals(made, torch.tensor([0.5 + 0.001 * label for label in large]))


def boxes_of(proposals: Proposals) -> set[tuple[int, ...]]:
    return {tuple(box) for box in proposals.boxes_xyxy.tolist()}


def best_iou(proposals: Proposals, thing: tuple[int, int, int, int]) -> float:
    x, y, columns, rows = thing
    true = torch.zeros(proposals.masks.shape[1:], dtype=torch.bool)
    true[y : y + rows, x : x + columns] = True
    return max((float((m & true).sum() / (m | true).sum()) for m in proposals.masks), default=0.0)


def test_small_things_are_found_by_tiles_and_large_ones_as_before() -> None:
    small, large = (700, 500, 16, 16), (100, 100, 240, 160)
    frame = make_frame([small, large])
    without, tiled = AtWidth().propose(frame), TiledSegmentor(AtWidth(), "3").propose(frame)
    assert best_iou(without, small) == 0
    assert best_iou(tiled, small) > 0.6
    assert best_iou(tiled, large) > 0.9
    assert len(tiled) == 2
    assert tiled.masks.shape[1:] == LARGE


@pytest.mark.parametrize("per_side", [2, 3, 4, 5])
def test_a_thing_anywhere_is_found_once(per_side: int) -> None:
    segmentor = TiledSegmentor(AtWidth(), str(per_side))
    for x, y in [(780, 580), (500, 20), (1020, 700), (0, 0), (1570, 1170), (530, 610)]:
        thing = (x, y, 30, 30)
        proposals = segmentor.propose(make_frame([thing]))
        assert len(proposals) == 1
        assert best_iou(proposals, thing) > 0.6


def test_what_only_tiles_see_and_all_of_them_cut_is_joined() -> None:
    class TilesAlone(AtWidth):
        def propose(self, frame: Frame, stability_score_threshold: float | None = None) -> Proposals:
            found = super().propose(frame)
            return found if frame.camera.is_cropped else found[torch.zeros(len(found), dtype=torch.bool)]

    bar = (100, 560, 1400, 60)
    proposals = TiledSegmentor(TilesAlone(), "3").propose(make_frame([bar]))
    assert len(proposals) == 1
    assert best_iou(proposals, bar) > 0.9


def test_two_things_that_a_seam_separates_stay_two() -> None:
    tiles = list(tile_boxes(*LARGE, 2))
    seam = tiles[0][2]
    things = [(seam - 90, 300, 80, 60), (seam + 10, 300, 80, 60)]
    proposals = TiledSegmentor(AtWidth(), "2").propose(make_frame(things))
    assert len(proposals) == 2
    assert all(best_iou(proposals, thing) > 0.8 for thing in things)


def test_tiles_cover_the_frame_are_alike_and_overlap() -> None:
    for per_side in (2, 3, 7):
        covered = np.zeros((1001, 1333), int)
        tiles = list(tile_boxes(*covered.shape, per_side))
        assert len({(x_end - x, y_end - y) for x, y, x_end, y_end in tiles}) == 1
        for x, y, x_end, y_end in tiles:
            covered[y:y_end, x:x_end] += 1
        assert covered.min() == 1
        assert covered.max() == 4


def test_a_tile_is_what_the_same_camera_sees_there() -> None:
    frame = make_frame([(700, 500, 16, 16)])
    tile = frame_of_tile(frame, (600, 400, 1000, 700))
    assert (tile.height, tile.width) == (300, 400)
    assert tile.rgb[100, 100].tolist() == [255] * 3
    u, v = np.array([100.0]), np.array([100.0])
    here = tile.camera.back_project(u, v, tile.depth_m[100:101, 100])
    np.testing.assert_allclose(here, frame.camera.back_project(u + 600, v + 400, frame.depth_m[500:501, 700]))
    assert tile.warnings == frame.warnings


@pytest.mark.parametrize(("height", "width", "divided"), [(480, 640, False), (720, 1280, False), (1944, 2592, True)])
def test_auto_divides_frames_well_above_the_size_that_the_network_sees(height: int, width: int, divided: bool) -> None:
    assert (tiles_per_side(height, width, "auto", SEGMENTORS.get("tiny").tile_pixels) > 1) is divided
    assert tiles_per_side(height, width, "auto", SEGMENTORS.get("sam").tile_pixels) == 1
    assert tiles_per_side(height, width, "off", 600_000) == 1
    assert tiles_per_side(height, width, "3", None) == 3


@pytest.mark.parametrize(("diameter_m", "per_side"), [(0.2, 1), (0.05, 2), (0.02, 3), (0.001, 3)])
def test_auto_divides_any_frame_where_the_smallest_known_object_would_be_small(
    diameter_m: float, per_side: int
) -> None:
    inner = AtWidth()
    frame = replace(make_frame([], (480, 640)), depth_m=np.full((480, 640), 1.5, np.float32))
    segmentor = with_tiles_for_objects(TiledSegmentor(inner, "auto", 600_000), [0.3, None, diameter_m])
    segmentor.propose(frame)
    assert len(inner.seen) == (1 if per_side == 1 else 1 + per_side**2)


def test_without_depth_or_known_sizes_only_large_frames_are_divided() -> None:
    inner = AtWidth()
    frame = make_frame([], (480, 640))
    tiled = TiledSegmentor(inner, "auto", 600_000)
    with_tiles_for_objects(tiled, [0.01]).propose(replace(frame, depth_m=None))
    with_tiles_for_objects(tiled, [None]).propose(frame)
    with_tiles_for_objects(TiledSegmentor(inner, "off", 600_000), [0.01]).propose(frame)
    assert len(inner.seen) == 3
    assert with_tiles_for_objects(inner, [0.01]) is inner


def test_frames_that_are_not_divided_are_seen_once_as_they_are() -> None:
    inner = AtWidth()
    frame = make_frame([(100, 100, 60, 60)], (480, 640))
    proposals = TiledSegmentor(inner, "auto", 600_000).propose(frame)
    assert inner.seen == [frame]
    assert boxes_of(proposals) == boxes_of(AtWidth().propose(frame))


def test_frames_too_small_for_so_many_tiles_have_fewer() -> None:
    assert tiles_per_side(100, 300, "4", None) == 1
    assert tiles_per_side(130, 300, "4", None) == 2


def test_the_memory_of_masks_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ism_ros.segmentors.tiled.MAX_MASK_BYTES", 3 * LARGE[0] * LARGE[1])
    things = [(100 + 200 * i, 100 + 150 * j, 80, 60) for i in range(4) for j in range(3)]
    proposals = TiledSegmentor(AtWidth(), "2").propose(make_frame(things))
    assert len(proposals) == 3
    assert proposals.confidence.tolist() == sorted(proposals.confidence.tolist(), reverse=True)


@pytest.mark.parametrize(
    ("given", "read"),
    [("auto", "auto"), (False, "off"), ("off", "off"), (3, "3"), ("3", "3"), (None, None), ("9", None)],
)
def test_the_setting_is_read_as_yaml_and_ros_write_it(given: Any, read: str | None) -> None:
    if read is None:
        with pytest.raises(SettingsError, match="tiles"):
            load_settings(None, {"tiles": given}, environment={})
    else:
        assert load_settings(None, {"tiles": given}, environment={}).tiles == read
    assert Settings().tiles == "auto"


@pytest.mark.slow
def test_small_things_in_a_rendered_frame_of_5_megapixels_get_masks() -> None:
    frame, masks = rendered_cubes()
    off, auto = (create_segmentor("tiny", settings={"tiles": tiles}).propose(frame) for tiles in ("off", "auto"))
    recall = []
    for proposals in (off, auto):
        found = proposals.masks.numpy()
        recall.append(np.mean([max((m & true).sum() / (m | true).sum() for m in found) >= 0.5 for true in masks]))
    assert recall[0] < 0.3
    assert recall[1] > 0.7


def rendered_cubes() -> tuple[Frame, list[NDArray[np.bool_]]]:
    """Twelve cubes of 5 mm, 16 pixels, on a table of 1 m at 0.8 m."""
    import trimesh

    from ism_ros.cad.surfaces import surface_of

    camera = Camera(np.array([[2490.0, 0, 1295.5], [0, 2490, 971.5], [0, 0, 1]]), 2592, 1944)
    table = trimesh.creation.box((1.0, 1.0, 0.02))
    table.visual.vertex_colors = (120, 110, 100, 255)
    cube = trimesh.creation.box((0.005, 0.005, 0.005))
    cube.visual.vertex_colors = (190, 60, 40, 255)
    poses = []
    for number in range(12):
        pose = np.eye(4)
        angle = 0.4 * number
        pose[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        pose[:3, 3] = -0.25 + 0.15 * (number % 4), -0.17 + 0.15 * (number // 4), 0.7975
        poses.append(pose)
    under = np.eye(4)
    under[2, 3] = 0.81
    view = render([surface_of(cube)] * 12 + [surface_of(table)], [*poses, under], camera, samples=1)
    masks = [view.instance == number for number in range(12)]
    rng = np.random.default_rng(0)
    rgb = np.clip(view.rgb + rng.normal(0, 4, view.rgb.shape), 0, 255).astype(np.uint8)
    return Frame(rgb, view.depth_m, camera), masks
