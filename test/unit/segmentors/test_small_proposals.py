"""Which proposals are left out as too small, and the warning about them where nothing else was found."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from ism_ros.cli.main import main
from ism_ros.config.sources import load_settings
from ism_ros.data.camera import Camera
from ism_ros.data.crops import crop_resize_pad
from ism_ros.data.frame import Frame
from ism_ros.data.masks import large_enough
from ism_ros.data.proposals import Proposals
from ism_ros.segmentors.base import SAM6D_MIN_MASK
from ism_ros.segmentors.small_proposals import split_small, too_small_warning

CUBES = Path(__file__).parents[2] / "data" / "reports" / "small_objects"
"""Nine boxes of 24 mm at 0.7 m, 28 x 24 pixels each, as a bug report showed them."""


@pytest.fixture
def segment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list]:
    monkeypatch.setenv("ISM_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "cache_of_cubes"))
    output = tmp_path_factory.mktemp("out")
    files = {"rgb": "rgb.jpg", "depth": "depth.png", "camera": "camera.json", "cad": "cube24.ply"}
    scene = [word for name, file in files.items() for word in (f"--{name}", str(CUBES / file))]

    def run(*arguments: object) -> list:
        monkeypatch.setattr(sys, "argv", ["ism", "segment", *scene, "--output", str(output), *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
        return json.loads((output / "detection_ism.json").read_text())

    return run


def squares(sides: list[int], height: int, width: int) -> Proposals:
    """One square in the upper left corner for each side."""
    masks = torch.zeros(len(sides), height, width, dtype=torch.bool)
    for mask, side in zip(masks, sides, strict=True):
        mask[:side, :side] = True
    return Proposals(masks, torch.ones(len(sides)))


def test_objects_of_28_x_24_pixels_are_found(segment: Callable[..., list]) -> None:
    assert len(segment()) == 9


def test_what_was_left_out_as_too_small_is_told_where_nothing_is_found(
    segment: Callable[..., list], capsys: pytest.CaptureFixture[str]
) -> None:
    assert segment("--min-mask-pixels", 2000) == []
    said = " ".join(capsys.readouterr().err.split())
    count = re.search(r"warning: nothing was found, but (\d+) regions of the size of the objects are left out", said)
    assert count
    assert int(count[1]) >= 9
    assert "less than 2000 pixels: lower min_mask_pixels" in said
    assert "0 detections: " in said


def test_the_least_size_comes_from_the_environment_too(
    segment: Callable[..., list], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISM_MIN_MASK_PIXELS", "2000")
    assert segment() == []


@pytest.mark.parametrize(("height", "width"), [(480, 640), (1944, 2592)])
def test_the_least_size_counts_pixels_whatever_the_size_of_the_image(height: int, width: int) -> None:
    kept, left_out = split_small(squares([9, 10, 30], height, width), 100)
    assert [int(mask.sum()) for mask in kept.masks] == [100, 900]
    assert left_out.areas.tolist() == [81]


@pytest.mark.parametrize("models", [{"profile": "accurate"}, {"segmentor": "fastsam", "descriptor": "dinov2"}])
def test_the_models_of_sam6d_keep_its_ratios_to_the_image_unless_the_least_size_is_set(models: dict) -> None:
    assert load_settings(None, models, environment={}).min_mask_pixels == SAM6D_MIN_MASK
    assert load_settings(None, {**models, "min_mask_pixels": 50}, environment={}).min_mask_pixels == 50
    proposals = squares([9, 15, 27, 28, 29, 30, 60], 480, 640)
    kept, _ = split_small(proposals, SAM6D_MIN_MASK)
    assert kept.masks.equal(proposals.masks[large_enough(proposals.masks, proposals.boxes_xyxy)])


def test_masks_that_have_no_crop_are_left_out_at_any_least_size() -> None:
    masks = torch.zeros(4, 48, 64, dtype=torch.bool)
    masks[0, 5, 5] = masks[1, 7, 3:50] = masks[2, 3:40, 7] = masks[3, 2:4, 2:4] = True
    kept, left_out = split_small(Proposals(masks, torch.ones(4)), 0)
    assert (len(kept), len(left_out)) == (1, 3)
    _, crop_masks = crop_resize_pad(torch.zeros(3, 48, 64), kept.masks, kept.boxes_xyxy, 96)
    assert crop_masks.any()


def test_regions_that_are_not_of_the_size_of_an_object_are_not_told() -> None:
    camera = Camera(np.array([[600.0, 0, 32], [0, 600.0, 24], [0, 0, 1]]), 64, 48)
    frame = Frame(np.zeros((48, 64, 3), np.uint8), np.full((48, 64), 0.6, np.float32), camera)
    _, left_out = split_small(squares([9, 2], 48, 64), 100)  # 9 mm wide, and 2 mm
    told = too_small_warning(left_out, frame, [0.012], 100)
    assert told is not None
    assert told.reason == "too_small"
    assert "1 region of the size of the objects is left out" in told.text
    assert too_small_warning(left_out, frame, [0.2], 100) is None
    without_depth = Frame(frame.rgb, None, camera)
    told = too_small_warning(left_out, without_depth, [0.2], 100)
    assert told is not None
    assert "2 regions are left out" in told.text
