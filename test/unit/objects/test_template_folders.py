"""Template folders as known objects: with and without poses, beside a CAD file, changed and broken."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from small_onboarding import MeanColor, onboard

from ism_ros.objects.spec import ObjectSpec
from ism_ros.rendering.templates import TemplateError
from ism_ros.rendering.views.viewpoints import object_to_camera_rotations


def test_a_template_folder_is_described_as_it_is(template_folder: Callable[[int], Path], tmp_path: Path) -> None:
    folder = template_folder(42)
    known = onboard(ObjectSpec("thing", None, "mm", folder, 5), MeanColor(), tmp_path / "cache")
    assert (known.template_count, known.category_id, known.source) == (42, 5, str(folder))
    assert known.rotations is not None
    np.testing.assert_allclose(known.rotations.numpy(), object_to_camera_rotations(), atol=1e-6)
    assert known.points_m is not None
    points_m = known.points_m + known.centre_m
    assert points_m.min() > 0.0099
    assert points_m.max() < 0.0501


def test_templates_are_cropped_whole_to_their_last_row_and_column(
    template_folder: Callable[[int], Path], tmp_path: Path
) -> None:
    known = onboard(ObjectSpec("thing", None, "mm", template_folder(2)), MeanColor(), tmp_path / "cache")
    # As many red columns as green ones: the mean color lies half way.
    torch.testing.assert_close(known.class_tokens[0, 0], known.class_tokens[0, 1], atol=1e-5, rtol=0)


def test_templates_of_unknown_pose_give_no_geometry_and_say_so_once(
    template_folder: Callable[[int], Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spec = ObjectSpec("thing", None, "mm", template_folder(6))
    with caplog.at_level(logging.WARNING):
        known = onboard(spec, MeanColor(), tmp_path / "cache")
        onboard(spec, MeanColor(), tmp_path / "cache")
    assert known.rotations is None
    assert [message for message in caplog.messages if "have no poses.npy" in message] == caplog.messages
    assert len(caplog.messages) == 1


def test_with_both_points_come_from_the_cad_file(
    cad: Path, template_folder: Callable[[int], Path], tmp_path: Path
) -> None:
    known = onboard(ObjectSpec("thing", cad, "mm", template_folder(42)), MeanColor(), tmp_path / "cache")
    assert known.points_m is not None
    assert known.points_m.min() < -0.02


@pytest.fixture
def reference_templates(warm: Path, tmp_path: Path) -> Path:
    """Of the box, with nothing but what the reference tool writes."""
    (made,) = (warm / "templates").iterdir()
    return Path(shutil.copytree(made, tmp_path / "views", ignore=shutil.ignore_patterns("*.json", "poses.npy")))


def test_templates_are_in_the_units_in_which_they_are_as_large_as_the_cad_file(
    cad: Path, reference_templates: Path, tmp_path: Path
) -> None:
    in_metres = tmp_path / "box.ply"
    trimesh.load(cad).apply_scale(0.001).export(in_metres)
    known = onboard(ObjectSpec("box", in_metres, "m", reference_templates), MeanColor(), tmp_path / "cache")
    assert known.surface is not None
    assert known.warnings == ()
    np.testing.assert_allclose(np.ptp(known.surface.points_m, axis=0), [0.06, 0.04, 0.03], atol=3e-3)


def test_templates_of_another_size_than_the_cad_file_are_doubted(reference_templates: Path, tmp_path: Path) -> None:
    ball = tmp_path / "ball.ply"
    trimesh.creation.icosphere(2, 80).export(ball)
    known = onboard(ObjectSpec("ball", ball, "mm", reference_templates), MeanColor(), tmp_path / "cache")
    (doubt,) = known.warnings
    assert "its templates show something of 60 x 40 x 30 mm" in doubt.text
    assert "but its CAD model is 160 x 160 x 160 mm" in doubt.text


def test_a_changed_template_is_described_again(template_folder: Callable[[int], Path], tmp_path: Path) -> None:
    spec = ObjectSpec("thing", None, "mm", template_folder(3))
    descriptor = MeanColor()
    onboard(spec, descriptor, tmp_path / "cache")
    assert spec.templates is not None
    Image.new("RGB", (20, 20), (0, 0, 255)).save(spec.templates / "rgb_1.png")
    known = onboard(spec, descriptor, tmp_path / "cache")
    assert descriptor.seen == [3, 3]
    assert known.class_tokens[1, 2] == pytest.approx(1)


def test_a_broken_template_folder_is_refused_also_after_it_was_fine(
    template_folder: Callable[[int], Path], tmp_path: Path
) -> None:
    spec = ObjectSpec("thing", None, "mm", template_folder(3))
    onboard(spec, MeanColor(), tmp_path / "cache")
    assert spec.templates is not None
    (spec.templates / "mask_2.png").unlink()
    with pytest.raises(TemplateError, match=r"mask_2\.png is missing"):
        onboard(spec, MeanColor(), tmp_path / "cache")
