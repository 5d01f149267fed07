"""Guided prompts of SAM and SAM 2: what is asked for, in how many calls, and what the networks make of boxes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dummy_networks import SAM, SAM2_IMAGE_SIZE, SAM2_SMALL, install, sam2_weights, save_sam2
from torch import Tensor

from ism_ros.checkpoints.loaders.sam2_checkpoint import load_sam2
from ism_ros.checkpoints.loaders.sam_checkpoint import load_sam
from ism_ros.config.settings import Settings
from ism_ros.config.sources import load_settings
from ism_ros.data.camera import Camera
from ism_ros.data.frame import Frame
from ism_ros.data.proposals import Proposals
from ism_ros.segmentors.base import create_segmentor
from ism_ros.segmentors.sam.automatic_masks import AutomaticMasks, AutomaticMaskSegmentor, MaskOptions
from ism_ros.segmentors.sam.guided_prompts import GuidedPrompter, Guides, points_in_each, regions_of_depth
from ism_ros.segmentors.sam.image_crops import Crop
from ism_ros.segmentors.sam.sam2_segmentor import PromptableSam2
from ism_ros.segmentors.sam.sam_segmentor import PromptableSam
from ism_ros.sim.benchmark_scenes.known_objects import known_objects, make_scene_object
from ism_ros.sim.benchmark_scenes.scene_rendering import observe
from ism_ros.sim.benchmark_scenes.table_scene import make_scene

sys.path.append(str(Path(__file__).resolve().parents[3] / "benchmarks"))

from accuracy.real_frames import frame_folders, read_real_frame

SIZE = (120, 160)
NOTHING = MaskOptions(width=0, points_per_side=16, predicted_iou=1.0)
"""Options by which no mask is kept: what counts here is which are asked for."""


def rectangle(x: int, y: int, width: int, height: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[y : y + height, x : x + width] = True
    return mask


def make_frame(raised: tuple[np.ndarray, ...] = (), depth: bool = True) -> Frame:
    """A table seen from above, on which some things are 3 cm high."""
    depth_m = np.full(SIZE, 0.8, np.float32)
    for mask in raised:
        depth_m[mask] = 0.77
    rgb = np.random.default_rng(0).integers(0, 255, (*SIZE, 3), dtype=np.uint8)
    camera = Camera(np.array([[150.0, 0, 80], [0, 150, 60], [0, 0, 1]]), SIZE[1], SIZE[0])
    return Frame(rgb, depth_m if depth else None, camera)


class Guide:
    """A segmentor that proposes given masks."""

    name, is_small = "given", True

    def __init__(self, *masks: np.ndarray) -> None:
        self._masks = masks

    def propose(self, frame: Frame, stability_score_threshold: float | None = None) -> Proposals:
        masks = torch.from_numpy(np.array(self._masks).reshape(-1, frame.height, frame.width))
        return Proposals(masks, torch.ones(len(masks)))


class Counting:
    """A promptable model that notes how many points and boxes each of its calls has."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.points: list[int] = []
        self.boxes: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def predict(self, embedding: Any, points_xy: Tensor) -> tuple[Tensor, Tensor]:
        self.points.append(len(points_xy))
        return self._model.predict(embedding, points_xy)

    def predict_boxes(self, embedding: Any, boxes_xyxy: Tensor) -> tuple[Tensor, Tensor]:
        self.boxes.append(len(boxes_xyxy))
        return self._model.predict_boxes(embedding, boxes_xyxy)


def sam_model(folder: Path) -> PromptableSam:
    return PromptableSam(load_sam(SAM, decoder_heads=4))


def sam2_network(folder: Path) -> Any:
    return load_sam2(save_sam2(sam2_weights(), folder / "sam2.pt"), SAM2_IMAGE_SIZE, SAM2_SMALL)


def sam2_model(folder: Path) -> PromptableSam2:
    return PromptableSam2(sam2_network(folder))


@pytest.mark.parametrize("model", [sam_model, pytest.param(sam2_model, marks=pytest.mark.slow)])
def test_guided_prompts_take_an_eighth_of_the_calls_of_the_grid(model: Callable[[Path], Any], tmp_path: Path) -> None:
    frame = make_frame((rectangle(20, 20, 30, 20), rectangle(90, 60, 24, 24)))
    guide = Guide(rectangle(20, 20, 30, 20), rectangle(60, 80, 10, 10))
    grid, guided = Counting(model(tmp_path)), Counting(model(tmp_path))
    AutomaticMaskSegmentor("grid", grid, NOTHING).propose(frame)
    AutomaticMaskSegmentor("guided", guided, NOTHING, prompter=GuidedPrompter(guide, 16)).propose(frame)
    assert (grid.points, grid.boxes) == ([64] * 4, [])
    assert guided.boxes == [2]
    assert 3 < sum(guided.points) <= 16 + 3
    assert len(guided.points) == 1


def test_prompts_are_asked_in_batches() -> None:
    counting = Counting(sam_model(Path()))
    guides = Guides(torch.rand(25, 2) * 100, torch.tensor([[10.0, 10, 40, 40]]).expand(25, 4), np.ones(SIZE, bool), 8)
    AutomaticMasks(counting, points_per_batch=10).propose(make_frame().rgb, NOTHING, guides.in_crop)
    assert (counting.points, counting.boxes) == ([10, 10, 5], [10, 10, 5])


def test_the_points_of_the_grid_are_those_that_no_guide_covers() -> None:
    prompter = GuidedPrompter(Guide(rectangle(0, 0, 40, 30)), points_per_side=16)
    points, boxes = prompter(make_frame())(Crop(0, 0, SIZE[1], SIZE[0], 0), SIZE)
    assert boxes.tolist() == [[0, 0, 39, 29]]
    on_grid = {(x, y) for x in (20.0, 60, 100, 140) for y in (15.0, 45, 75, 105)}
    in_guide, *rest = map(tuple, points.tolist())
    assert rectangle(0, 0, 40, 30)[int(in_guide[1]), int(in_guide[0])]
    assert set(rest) == on_grid - {(20.0, 15.0)}


def test_a_large_guide_such_as_a_table_leaves_the_grid_as_it_is() -> None:
    prompter = GuidedPrompter(Guide(rectangle(0, 0, 160, 90)), points_per_side=16)
    points, _ = prompter(make_frame())(Crop(0, 0, SIZE[1], SIZE[0], 0), SIZE)
    assert len(points) == 1 + 16


def test_an_object_and_its_part_share_a_point() -> None:
    whole, part, other = rectangle(20, 20, 60, 60), rectangle(40, 40, 21, 21), rectangle(100, 20, 9, 9)
    (x, y), at_other = points_in_each([whole, part, other])
    assert whole[y, x]
    assert part[y, x]
    assert at_other == (104, 24)


def test_the_point_of_a_ring_lies_on_it() -> None:
    ring = rectangle(20, 20, 60, 60) & ~rectangle(30, 30, 40, 40)
    ((x, y),) = points_in_each([ring])
    assert ring[y, x]


def test_what_stands_on_a_table_is_a_region_of_the_depth() -> None:
    things = (rectangle(20, 20, 30, 20), rectangle(90, 60, 24, 24))
    frame = make_frame(things)
    nothing = np.zeros((0, *SIZE), bool)
    regions = regions_of_depth(frame, nothing)
    assert len(regions) == 2
    for region, thing in zip(regions, sorted(things, key=np.count_nonzero, reverse=True), strict=True):
        assert not (region & ~thing).any()
        assert region.sum() > 0.7 * thing.sum()
    (left,) = regions_of_depth(frame, things[0][None])
    assert (left & things[1]).any()
    assert regions_of_depth(make_frame(things, depth=False), nothing) == []


def test_guides_are_scaled_to_the_image_and_taken_in_the_crops_that_hold_them() -> None:
    guides = Guides(
        torch.tensor([[40.0, 30.0], [150.0, 100.0]]),
        torch.tensor([[30.0, 20, 50, 40], [70.0, 50, 90, 70]]),
        np.zeros(SIZE, bool),
        2,
    )
    points, boxes = guides.in_crop(Crop(0, 0, 160, 120, 1), (240, 320))
    assert points[:1].tolist() == [[80.5, 60.5]]
    assert len(points) == 1 + 4
    assert boxes.tolist() == [[60.5, 40.5, 100.5, 80.5]]


def test_the_least_confident_boxes_give_way_where_there_are_too_many_prompts() -> None:
    boxes = torch.arange(100.0)[:, None] * torch.tensor([0.5, 0.1, 1.0, 1.0])
    guides = Guides(torch.rand(60, 2) * 100, boxes, np.ones(SIZE, bool), 8)
    points, kept = guides.in_crop(Crop(0, 0, SIZE[1], SIZE[0], 0), SIZE)
    assert len(points) == 60
    torch.testing.assert_close(kept, boxes[:68])


def test_a_crop_without_anything_to_ask_for_is_not_looked_at() -> None:
    class NotThere:
        device = torch.device("cpu")

    guides = Guides(torch.zeros(0, 2), torch.zeros(0, 4), np.ones(SIZE, bool), 8)
    proposals = AutomaticMasks(NotThere()).propose(make_frame().rgb, NOTHING, guides.in_crop)  # type: ignore[arg-type]
    assert len(proposals) == 0


def test_a_box_is_its_two_corners_as_the_authors_of_sam_embed_them() -> None:
    network = load_sam(SAM, decoder_heads=4)
    model, box = PromptableSam(network), torch.tensor([10.0, 20, 70, 90])
    side = network.config.vision_config.image_size
    encoder = network.prompt_encoder
    with torch.inference_mode():
        embedding = model.embed(make_frame().rgb)
        logits, predicted_iou = model.predict_boxes(embedding, box[None])
        corners = encoder.shared_embedding((box.view(1, 1, 2, 2) * side / 160 + 0.5), (side, side))
        kinds = torch.cat([encoder.point_embed[2].weight, encoder.point_embed[3].weight])
        dense = encoder.no_mask_embed.weight.reshape(1, -1, 1, 1).expand(1, -1, *embedding[0].shape[2:])
        places = network.get_image_wide_positional_embeddings()
        expected, expected_iou = network.mask_decoder(
            image_embeddings=embedding[0],
            image_positional_embeddings=places,
            sparse_prompt_embeddings=corners + kinds,
            dense_prompt_embeddings=dense,
            multimask_output=True,
        )[:2]
    torch.testing.assert_close(logits, expected[0])
    torch.testing.assert_close(predicted_iou, expected_iou[0])


def test_a_box_is_two_points_of_its_own_kind_as_the_authors_of_sam_2_pass_it(tmp_path: Path) -> None:
    network, boxes = sam2_network(tmp_path), torch.tensor([[10.0, 20, 70, 90], [0.0, 0, 159, 119]])
    model = PromptableSam2(network)
    factor = torch.tensor([SAM2_IMAGE_SIZE / 160, SAM2_IMAGE_SIZE / 120])
    with torch.inference_mode():
        embedding = model.embed(make_frame().rgb)
        logits, predicted_iou = model.predict_boxes(embedding, boxes)
        expected = network(
            image_embeddings=embedding.features,
            input_points=(boxes.view(2, 2, 2) * factor)[None],
            input_labels=torch.tensor([2, 3]).expand(1, 2, 2),
            multimask_output=True,
        )
    torch.testing.assert_close(logits, expected.pred_masks[0])
    torch.testing.assert_close(predicted_iou, expected.iou_scores[0])


@pytest.mark.parametrize("family", ["sam/vit_h", pytest.param("sam2/tiny", marks=pytest.mark.slow)])
def test_the_setting_prompts_chooses(family: str, tmp_path: Path) -> None:
    name, model = family.split("/")
    settings = {"points_per_side": 4, "predicted_iou_threshold": 0.0, "stability_score_threshold": 0.0}
    frame = make_frame((rectangle(20, 20, 60, 50),))
    found = {
        prompts: create_segmentor(
            name, "cpu", model, install(tmp_path / prompts, family), {**settings, "prompts": prompts}
        ).propose(frame)
        for prompts in ("grid", "guided")
    }
    assert all(len(proposals) > 0 for proposals in found.values())
    assert all(proposals.masks.shape[1:] == SIZE for proposals in found.values())
    assert found["grid"].confidence.tolist() != found["guided"].confidence.tolist()


@pytest.mark.parametrize(
    ("profile", "prompts"), [("", "grid"), ("accurate", "grid"), ("balanced", "grid"), ("fast", "guided")]
)
def test_profiles_that_are_held_against_numbers_of_others_ask_by_the_grid(profile: str, prompts: str) -> None:
    assert load_settings(None, {"profile": profile}, environment={}).prompts == prompts


def test_the_grid_is_the_default() -> None:
    assert Settings().prompts == "grid"


def asked_for(frame: Frame, masks: np.ndarray) -> tuple[int, np.ndarray]:
    """How many prompts a frame gets, and which of the masks (N, H, W) have a point inside."""
    size = frame.height, frame.width
    points, boxes = GuidedPrompter(create_segmentor("tiny"))(frame)(Crop(0, 0, size[1], size[0], 0), size)
    columns, rows = points.round().long().numpy().T
    inside = masks[:, rows.clip(0, size[0] - 1), columns.clip(0, size[1] - 1)].any(axis=1)
    return len(points) + len(boxes), inside


@pytest.mark.slow
def test_every_instance_of_a_rendered_table_has_a_point_inside_with_an_eighth_of_the_prompts() -> None:
    counts = []
    for number in (3, 4):
        frame, truth = observe(make_scene(number, [make_scene_object(mesh) for mesh in known_objects(3)]))
        count, inside = asked_for(frame, truth.masks[truth.visible_share > 0.1])
        counts.append(count)
        assert inside.all()
    assert max(counts) <= 32**2 / 8


@pytest.mark.slow
@pytest.mark.skipif("ISM_REAL_FRAMES" not in os.environ, reason="ISM_REAL_FRAMES names no folder of real frames")
def test_nearly_every_instance_of_real_frames_has_a_point_inside_with_an_eighth_of_the_prompts() -> None:
    counts, hits = [], []
    for folder in frame_folders(Path(os.environ["ISM_REAL_FRAMES"])):
        real = read_real_frame(folder)
        masks = [instance.mask for instance in real.instances if instance.mask is not None]
        if masks:
            count, inside = asked_for(real.frame, np.stack(masks))
            counts.append(count)
            hits += inside.tolist()
    assert np.mean(hits) > 0.95
    assert max(counts) <= 32**2 / 8
