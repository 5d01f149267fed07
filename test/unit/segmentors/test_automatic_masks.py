"""Automatic masks: which of a model's masks are kept."""

from __future__ import annotations

import logging
import math

import numpy as np
import pytest
import torch
from dummy_networks import sam_weights
from torch import Tensor
from torch.nn.functional import interpolate

from ism_ros.checkpoints.loaders.sam_checkpoint import load_sam
from ism_ros.data.boxes import boxes_from_masks
from ism_ros.segmentors.sam.automatic_masks import AutomaticMasks, MaskOptions
from ism_ros.segmentors.sam.image_crops import (
    Crop,
    generate_crop_boxes,
    is_box_near_crop_edge,
    point_grid,
    resize_to_width,
)
from ism_ros.segmentors.sam.mask_stability import boxes_of_logits, stability_bounds, stability_score
from ism_ros.segmentors.sam.resized_masks import AxisResize, bilinear_matrix
from ism_ros.segmentors.sam.sam_segmentor import PromptableSam

SIZE = (96, 128)
SMALL = (48, 64)


class Discs:
    """A promptable model of an image with discs: a point in one gives it, its inner half and its surroundings.

    Logits are smooth: `sharpness` a pixel inside, so that a large sharpness makes a mask stable.
    """

    device = torch.device("cpu")

    def __init__(self, discs: list[tuple[float, float, float, float]]) -> None:
        self.discs = torch.tensor(discs)  # x, y, radius, sharpness

    def embed(self, image_rgb: np.ndarray) -> tuple[int, int]:
        return image_rgb.shape[0], image_rgb.shape[1]

    def predict(self, embedding: tuple[int, int], points_xy: Tensor) -> tuple[Tensor, Tensor]:
        y, x = torch.meshgrid(torch.arange(SMALL[0]) * 2 + 0.5, torch.arange(SMALL[1]) * 2 + 0.5, indexing="ij")
        distance = torch.cdist(points_xy, self.discs[:, :2])
        nearest = self.discs[distance.argmin(dim=1)]
        inside = distance.amin(dim=1) < nearest[:, 2]
        around = torch.hypot(x - nearest[:, 0, None, None], y - nearest[:, 1, None, None])
        radii = nearest[:, 2, None] * torch.tensor([1.0, 0.5, 1.6])
        logits = (radii[:, :, None, None] - around[:, None]) * nearest[:, 3, None, None, None]
        predicted_iou = torch.tensor([0.95, 0.9, 0.5]).expand(len(points_xy), 3) * inside[:, None]
        return logits, predicted_iou

    def upscale(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        return interpolate(logits[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]

    def axes(self, size: tuple[int, int]) -> tuple[AxisResize, AxisResize]:
        small = tuple(map(int, self.extent(size)))
        rows, columns = (AxisResize(bilinear_matrix(*pair).float()) for pair in zip(size, small, strict=True))
        return rows, columns

    def extent(self, size: tuple[int, int]) -> tuple[float, float]:
        return SMALL


IMAGE = np.zeros((*SIZE, 3), dtype=np.uint8)
TWO = [(30.0, 40.0, 20.0, 4.0), (90.0, 60.0, 15.0, 4.0)]
OPTIONS = MaskOptions(width=0, points_per_side=12)


def disc(x: float, y: float, radius: float) -> Tensor:
    rows, columns = torch.meshgrid(torch.arange(float(SIZE[0])), torch.arange(float(SIZE[1])), indexing="ij")
    return torch.hypot(columns - float(x), rows - float(y)) < radius


def iou(first: Tensor, second: Tensor) -> float:
    return float((first & second).sum() / (first | second).sum())


def test_each_disc_is_found_once_with_its_inner_half() -> None:
    proposals = AutomaticMasks(Discs(TWO)).propose(IMAGE, OPTIONS)
    assert len(proposals) == 4
    for x, y, radius, _ in TWO:
        for expected in (disc(x, y, radius), disc(x, y, radius / 2)):
            assert max(iou(mask, expected) for mask in proposals.masks) > 0.93


def test_proposals_come_best_predicted_iou_first() -> None:
    confidence = AutomaticMasks(Discs(TWO)).propose(IMAGE, OPTIONS).confidence.tolist()
    assert confidence == sorted(confidence, reverse=True)
    assert set(np.round(confidence, 2)) == {0.95, 0.9}


def test_unstable_masks_are_dropped() -> None:
    blurred = [(30.0, 40.0, 20.0, 0.1), (90.0, 60.0, 15.0, 4.0)]
    proposals = AutomaticMasks(Discs(blurred)).propose(IMAGE, OPTIONS)
    assert max(iou(mask, disc(30, 40, 20)) for mask in proposals.masks) < 0.1
    assert max(iou(mask, disc(90, 60, 15)) for mask in proposals.masks) > 0.9


def test_deciding_only_what_is_near_at_full_size_changes_nothing() -> None:
    discs = [(20.0 + 30 * i, 20.0 + 28 * j, 9.0 + i, 0.5 + 0.5 * (i + j)) for i in range(4) for j in range(3)]
    small, full = (
        AutomaticMasks(Discs(discs)).propose(
            IMAGE, MaskOptions(width=0, points_per_side=24, stability=0.7, stability_margin=margin)
        )
        for margin in (1.0, math.inf)
    )
    assert len(full) >= 8
    assert small.masks.equal(full.masks)


def blobs(seed: int, small: tuple[int, int], count: int = 60) -> Tensor:
    """Logits (N, h, w) of masks from about 10 large pixels on: ellipses, ragged and sharp to any degree."""
    rng = np.random.default_rng(seed)
    y, x = torch.meshgrid(torch.arange(float(small[0])), torch.arange(float(small[1])), indexing="ij")
    made = []
    for _ in range(count):
        radius, stretch = float(np.exp(rng.uniform(np.log(1.5), np.log(30)))), rng.uniform(0.4, 2.5)
        cx, cy = rng.uniform(0, small[1]), rng.uniform(0, small[0])
        distance = torch.hypot((x - cx) * stretch, y - cy)
        noise = torch.from_numpy(rng.normal(0, 1, (1, 1, small[0] // 4, small[1] // 4))).float()
        ragged = interpolate(noise, size=small, mode="bilinear")[0, 0]
        made.append((radius - distance) * rng.uniform(0.3, 6.0) + ragged * rng.uniform(0, 4))
    return torch.stack(made)


@pytest.mark.parametrize("seed", range(20))
def test_which_masks_are_stable_is_what_they_are_at_full_size(seed: int) -> None:
    class Given(Discs):
        def extent(self, size: tuple[int, int]) -> tuple[float, float]:
            return (96.0, 128.0)

    logits = blobs(seed, (96, 128))
    predicted_iou = torch.linspace(0.89, 1, len(logits))[:, None]
    bounded, full = (
        AutomaticMasks(Given([])).select(
            logits[:, None], predicted_iou, (240, 320), MaskOptions(stability=0.85, stability_margin=margin)
        )
        for margin in (1.0, math.inf)
    )
    assert 5 < len(full.predicted_iou) < len(logits) - 5
    assert bounded.predicted_iou.equal(full.predicted_iou)


@pytest.fixture(scope="module")
def small_sam(tmp_path_factory: pytest.TempPathFactory) -> PromptableSam:
    file = tmp_path_factory.mktemp("sam") / "sam.pth"
    torch.save(sam_weights(), file)
    return PromptableSam(load_sam(file))


@pytest.mark.parametrize("seed", range(20))
def test_the_masks_of_a_network_are_those_decided_at_full_size(small_sam: PromptableSam, seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    bounded, full = (
        AutomaticMasks(small_sam).propose(
            image, MaskOptions(width=0, points_per_side=8, predicted_iou=0.0, stability=0.7, stability_margin=margin)
        )
        for margin in (1.0, math.inf)
    )
    assert len(full) > 0
    assert bounded.masks.equal(full.masks)


def test_the_bounds_of_stability_leave_most_large_masks_decided() -> None:
    logits = torch.stack([torch.full((192, 256), -9.0), torch.full((192, 256), -9.0)])
    logits[0, 40:140, 40:140] = 9.0
    logits[1, 40:44, 40:44] = 9.0
    least, most = stability_bounds(logits, torch.arange(2), (192.0, 256.0), (480, 640))
    assert least[0] > 0.85
    assert least[1] < 0.85 < most[1]


def test_the_size_of_batches_changes_nothing() -> None:
    whole, pieces = (
        AutomaticMasks(Discs(TWO), points, masks).propose(IMAGE, OPTIONS) for points, masks in ((1000, 1000), (5, 1))
    )
    assert whole.masks.equal(pieces.masks)


def test_an_image_without_discs_gives_nothing() -> None:
    assert len(AutomaticMasks(Discs([(-500.0, -500.0, 1.0, 1.0)])).propose(IMAGE, OPTIONS)) == 0


def test_masks_of_a_scaled_image_come_at_its_own_size() -> None:
    large = np.zeros((SIZE[0] * 3, SIZE[1] * 3, 3), dtype=np.uint8)
    proposals = AutomaticMasks(Discs(TWO)).propose(large, MaskOptions(width=SIZE[1], points_per_side=12))
    assert proposals.masks.shape[1:] == (288, 384)
    expected = interpolate(disc(30, 40, 20)[None, None].float(), scale_factor=3)[0, 0] > 0
    assert max(iou(mask, expected) for mask in proposals.masks) > 0.93


def test_batches_shrink_when_memory_runs_out_and_say_so(caplog: pytest.LogCaptureFixture) -> None:
    class Scarce(Discs):
        def predict(self, embedding: tuple[int, int], points_xy: Tensor) -> tuple[Tensor, Tensor]:
            if len(points_xy) > 10:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().predict(embedding, points_xy)

    with caplog.at_level(logging.WARNING):
        scarce = AutomaticMasks(Scarce(TWO), points_per_batch=64).propose(IMAGE, OPTIONS)
    assert scarce.masks.equal(AutomaticMasks(Discs(TWO)).propose(IMAGE, OPTIONS).masks)
    assert "64 point prompts at once do not fit into memory: going on with 32" in caplog.text


def test_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    class Broken(Discs):
        def predict(self, embedding: tuple[int, int], points_xy: Tensor) -> tuple[Tensor, Tensor]:
            raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        AutomaticMasks(Broken(TWO)).propose(IMAGE, OPTIONS)


def test_points_lie_in_the_middle_of_equal_cells() -> None:
    assert point_grid(2, (40, 80)).tolist() == [[20.0, 10.0], [60.0, 10.0], [20.0, 30.0], [60.0, 30.0]]


def test_stability_is_the_ratio_of_sure_pixels() -> None:
    logits = torch.tensor([[[5.0, 0.5, -0.5, -5.0]], [[-5.0, -5.0, -5.0, -5.0]]])
    assert stability_score(logits).tolist() == pytest.approx([1 / 3, 0.0])


def test_boxes_of_small_logits_are_those_of_the_large_masks() -> None:
    rng = np.random.default_rng(1)
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    blobs = [
        (radius - torch.hypot((x - cx) * sx, y - cy)) * 3
        for cx, cy, radius, sx in rng.uniform([5, 5, 3, 0.5], [59, 43, 14, 2.0], (50, 4))
    ]
    logits = torch.stack(blobs)[:, :48]
    large = interpolate(logits[:, None], size=(480, 640), mode="bilinear", align_corners=False)[:, 0] > 0
    difference = (boxes_of_logits(logits, (48, 64), (480, 640)) - boxes_from_masks(large)).abs()
    assert difference.max() <= 2


def test_crops_cover_the_image_and_overlap() -> None:
    crops = list(generate_crop_boxes((300, 400), layers=2, overlap_ratio=512 / 1500))
    assert crops[0] == Crop(0, 0, 400, 300, 0)
    assert [crop.layer for crop in crops].count(1) == 4
    assert [crop.layer for crop in crops].count(2) == 16
    for layer in (1, 2):
        covered = np.zeros((300, 400), dtype=int)
        for crop in crops:
            if crop.layer == layer:
                covered[crop.y_first : crop.y_end, crop.x_first : crop.x_end] += 1
        assert covered.min() == 1
        assert covered.max() == 4


def test_a_box_at_the_border_of_a_crop_but_not_of_the_image_is_cut_off() -> None:
    crop = Crop(0, 0, 200, 300, 1)
    boxes = torch.tensor([[0, 50, 90, 120], [100, 50, 199, 120], [40, 40, 90, 90]])
    assert is_box_near_crop_edge(boxes, crop, (300, 400)).tolist() == [False, True, False]


def test_crops_find_the_same_discs_once() -> None:
    class Local(Discs):
        """Sees only the crop, whose place it knows by the values that the image has there."""

        def embed(self, image_rgb: np.ndarray) -> tuple[int, int]:
            self.origin = torch.tensor([float(image_rgb[0, 0, 0]), float(image_rgb[0, 0, 1])])
            return super().embed(image_rgb)

        def predict(self, embedding: tuple[int, int], points_xy: Tensor) -> tuple[Tensor, Tensor]:
            height, width = embedding
            scale = torch.tensor([SIZE[1] / width, SIZE[0] / height])
            here = [
                (*((disc[:2] - self.origin) * scale).tolist(), float(disc[2] * scale.mean()), 2.0)
                for disc in self.discs
            ]
            return Discs(here).predict(embedding, points_xy * scale)

    image = np.zeros((*SIZE, 3), dtype=np.uint8)
    image[..., 0], image[..., 1] = np.arange(SIZE[1])[None], np.arange(SIZE[0])[:, None]
    options = MaskOptions(width=0, points_per_side=12, crop_layers=1, predicted_iou=0.93)
    proposals = AutomaticMasks(Local(TWO)).propose(image, options)
    for x, y, radius, _ in TWO:
        assert sum(iou(mask, disc(x, y, radius)) > 0.8 for mask in proposals.masks) == 1


def test_an_image_is_scaled_to_a_width_with_its_shape() -> None:
    assert resize_to_width(np.zeros((720, 1280, 3), np.uint8), 640).shape == (360, 640, 3)
