"""Frames that have lost their colors: they are told, and compared with objects in gray."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from ism_ros.cli.main import main
from ism_ros.config.settings import Settings
from ism_ros.data.camera import Camera
from ism_ros.data.frame import Frame
from ism_ros.io.frame_files import read_frame
from ism_ros.loading import load_model
from ism_ros.model import InstanceSegmentationModel
from ism_ros.objects.grayscale import grayscale_images, grayscale_views
from ism_ros.rendering.template_renderer import render_templates
from ism_ros.rendering.views.polar_maps import make_view_maps
from ism_ros.selftest.sample_files import SCENE
from ism_ros.sim.benchmark_scenes.known_objects import known_objects


@pytest.fixture(scope="module")
def model(sample_cache: Path) -> InstanceSegmentationModel:
    return load_model(Settings(objects_file=str(SCENE / "objects.yaml"), cache_dir=str(sample_cache), device="cpu"))


@pytest.fixture(scope="module")
def frame() -> Frame:
    return read_frame(SCENE / "rgb.jpg", SCENE / "depth.png", SCENE / "camera.json")


def in_gray(frame: Frame) -> Frame:
    return replace(frame, rgb=grayscale_images(frame.rgb))


def scores(model: InstanceSegmentationModel, frame: Frame) -> dict[str, float]:
    """Of the best of each class."""
    found = model.segment(frame)
    return {found.class_id(row): float(found.score[row]) for row in reversed(range(len(found)))}


def of(rgb: np.ndarray) -> Frame:
    height, width = rgb.shape[:2]
    return Frame(rgb, None, Camera(np.array([[100.0, 0, width / 2], [0, 100.0, height / 2], [0, 0, 1]]), width, height))


def test_objects_are_found_in_gray_nearly_as_well_as_in_color(model: InstanceSegmentationModel, frame: Frame) -> None:
    in_color, gray = scores(model, frame), scores(model, in_gray(frame))
    assert gray.keys() == in_color.keys() == {"carton", "banana"}
    for name, score in in_color.items():
        assert gray[name] > score - 0.15  # colors that agree speak for an object, and none are seen


def test_that_a_frame_has_no_colors_is_told_with_its_detections(model: InstanceSegmentationModel, frame: Frame) -> None:
    assert [warning.reason for warning in model.segment(in_gray(frame)).warnings] == ["grey_image"]
    assert model.segment(frame).warnings == ()


def test_gray_frames_do_not_change_what_is_found_in_frames_with_colors(
    model: InstanceSegmentationModel, frame: Frame
) -> None:
    before = model.segment(frame)
    model.segment(in_gray(frame))
    assert torch.equal(before.score, model.segment(frame).score)


def test_the_gray_variant_of_an_object_has_a_gray_surface(model: InstanceSegmentationModel) -> None:
    known = model.library.objects[0]
    assert known.grayscale is not None
    assert known.surface is not None
    gray = known.grayscale().surface
    assert gray is not None
    np.testing.assert_array_equal(gray.colors, np.repeat(gray.colors[:, :1], 3, axis=1))
    np.testing.assert_allclose(gray.colors[:, 0], known.surface.colors @ (0.299, 0.587, 0.114), atol=1e-5)
    np.testing.assert_array_equal(gray.points_m, known.surface.points_m)


@pytest.mark.parametrize("quality", [40, 75, 95])
def test_a_gray_picture_is_one_after_jpeg_as_well(frame: Frame, quality: int) -> None:
    gray = in_gray(frame)
    assert gray.is_gray
    assert not frame.is_gray
    _, encoded = cv2.imencode(".jpg", gray.rgb, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert of(cv2.imdecode(encoded, cv2.IMREAD_COLOR)).is_gray


def test_a_colorless_scene_before_a_camera_with_colors_is_no_gray_picture(frame: Frame) -> None:
    noise = np.random.default_rng(0).normal(0, 2.0, frame.rgb.shape)
    noisy = np.clip(in_gray(frame).rgb + noise, 0, 255).astype(np.uint8)
    assert not of(noisy).is_gray


def test_a_small_colored_thing_makes_a_picture_one_with_colors(frame: Frame) -> None:
    rgb = in_gray(frame).rgb.copy()
    rgb[100:130, 200:230, 0] = 200
    assert not of(rgb).is_gray


def test_a_picture_that_shows_nothing_is_not_called_gray() -> None:
    assert not of(np.zeros((48, 64, 3), np.uint8)).is_gray
    assert not of(np.full((48, 64, 3), 128, np.uint8)).is_gray


@pytest.mark.slow
def test_descriptors_in_gray_are_made_with_the_first_gray_frame_and_kept_in_the_cache(
    frame: Frame, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(objects_file=str(SCENE / "objects.yaml"), cache_dir=str(tmp_path), device="cpu")

    def kept() -> dict[Path, int]:
        return {file: file.stat().st_ino for file in (tmp_path / "descriptors").iterdir()}

    first = load_model(settings)
    first.segment(frame)
    in_color = kept()
    assert "gray" not in caplog.text
    first.segment(in_gray(frame))
    assert "object 1 of 2, 'carton', is described in gray" in caplog.text
    both = kept()
    assert len(both) == 2 * len(in_color)
    again = scores(load_model(settings), in_gray(frame))
    assert again == scores(first, in_gray(frame))
    assert kept() == both


def test_maps_of_gray_views_are_those_of_gray_pictures() -> None:
    mesh = known_objects(0, count=1)[0]
    templates = render_templates(mesh, size_px=96, samples=1)
    assert templates.rotations is not None
    pictures = [*templates.rgb], [*grayscale_images(templates.rgb)]
    of_colors, of_gray = (
        make_view_maps(rgb, [*templates.masks], [*templates.xyz_m], templates.rotations) for rgb in pictures
    )
    np.testing.assert_allclose(grayscale_views(of_colors).maps.astype(float), of_gray.maps.astype(float), atol=0.03)


@pytest.mark.parametrize("kind", ["one channel", "JPEG of one channel", "16 levels a channel"])
def test_gray_files_are_found_by_the_command_line(
    kind: str, sample_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gray = cv2.imread(str(SCENE / "rgb.jpg"), cv2.IMREAD_GRAYSCALE)
    file = tmp_path / ("gray.jpg" if "JPEG" in kind else "gray.png")
    cv2.imwrite(str(file), cv2.cvtColor(gray // 16 * 16, cv2.COLOR_GRAY2BGR) if "levels" in kind else gray)
    monkeypatch.setenv("ISM_CACHE_DIR", str(sample_cache))
    scene = ["--depth", SCENE / "depth.png", "--camera", SCENE / "camera.json", "--objects", SCENE / "objects.yaml"]
    arguments = ["ism", "segment", "--rgb", file, *scene, "--output", tmp_path / "out"]
    monkeypatch.setattr(sys, "argv", [str(argument) for argument in arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert "warning: the rgb image has no colors" in " ".join(capsys.readouterr().err.split())
    assert {found["category_id"] for found in json.loads((tmp_path / "out" / "detection_ism.json").read_text())} == {
        1,
        2,
    }
