"""From CAD file to known object; everything slow happens once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from small_onboarding import MeanColor, Views, onboard, same
from torch import Tensor

from ism_ros.cad.mesh_loading import CadError
from ism_ros.objects.spec import ObjectSpec
from ism_ros.objects.stores.patch_tokens import PatchFile, PatchStorage
from ism_ros.objects.template_builder import POINT_COUNT
from ism_ros.rendering.templates import TemplateError
from ism_ros.rendering.views.viewpoints import object_to_camera_rotations


def test_a_cad_file_becomes_a_known_object(cad: Path, cache: Path) -> None:
    known = onboard(ObjectSpec("box", cad, "mm", category_id=3), MeanColor(), cache)
    assert (known.id, known.category_id, known.source) == ("box", 3, str(cad))
    assert known.class_tokens.shape == (42, 3)
    assert known.patch_tokens.shape == (42, 4, 3)
    assert known.rotations is not None
    assert known.points_m is not None
    np.testing.assert_allclose(known.rotations.numpy(), object_to_camera_rotations(), atol=1e-6)
    assert known.points_m.shape == (POINT_COUNT, 3)
    np.testing.assert_allclose(np.ptp(known.points_m.numpy(), axis=0), [0.06, 0.04, 0.03], atol=1e-3)
    assert {tensor.dtype for tensor in (known.class_tokens, known.patch_tokens, known.rotations)} == {torch.float32}
    color = torch.nn.functional.normalize(torch.tensor([200.0, 100, 50]), dim=0)
    assert (known.class_tokens @ color).min() > 0.999


def test_a_cad_file_is_viewed_from_between_its_templates_as_well(cad: Path, cache: Path) -> None:
    known = onboard(ObjectSpec("box", cad, "mm"), MeanColor(), cache)
    assert known.views is not None
    assert len(known.views.maps) == len(known.views.rotations) == len(known.views.centroid_m) == 162
    np.testing.assert_allclose(known.views.rotations[:42], object_to_camera_rotations(), atol=1e-6)
    assert known.views.nearest_template[:42].tolist() == list(range(42))
    similarity = torch.rand(3, 42)
    cosines = known.views.rotations[:, 2] @ known.views.rotations[:42, 2].T
    nearest = known.views.nearest_template
    np.testing.assert_allclose(cosines[np.arange(162), nearest], cosines.max(axis=1), atol=1e-5)
    assert torch.equal(known.views.from_templates(similarity), similarity[:, nearest])


def test_the_surface_comes_out_of_the_cache_bit_by_bit(cad: Path, tmp_path: Path) -> None:
    spec = ObjectSpec("part", cad=cad, category_id=1)
    first, second = (onboard(spec, MeanColor(), tmp_path / "cache").surface for _ in range(2))
    assert first is not None
    assert second is not None
    for one in fields(first):
        np.testing.assert_array_equal(getattr(first, one.name), getattr(second, one.name))
        assert np.asarray(getattr(first, one.name)).dtype == np.asarray(getattr(second, one.name)).dtype


def test_templates_alone_are_all_the_views_there_are(cad: Path, cache: Path, tmp_path: Path) -> None:
    onboard(ObjectSpec("box", cad, "mm"), MeanColor(), tmp_path)
    (folder,) = (tmp_path / "templates").iterdir()
    known = onboard(ObjectSpec("box", None, "mm", templates=folder), MeanColor(), cache)
    assert known.views is not None
    assert len(known.views.maps) == 42


def test_rendering_and_describing_happen_once(cad: Path, tmp_path: Path) -> None:
    spec, descriptor, views = ObjectSpec("box", cad, "mm"), MeanColor(), Views()
    first = onboard(spec, descriptor, tmp_path, progress=views)
    second = onboard(spec, descriptor, tmp_path, progress=views)
    assert views.told == list(range(1, 43))
    assert descriptor.seen == [42]
    assert same(first, second)


def test_a_warm_start_neither_renders_nor_loads_the_cad_library(cad: Path, warm: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from ism_ros.objects import onboarding
from ism_ros.objects.spec import ObjectSpec

class NeverUsed:
    name, fingerprint, crop_size, rotation_sensitive, view_prior_weight = "mean_color", "mean color 1", 32, True, 0.0

known = onboarding.onboard(ObjectSpec("box", Path({str(cad)!r}), "mm"), NeverUsed(), Path({str(warm)!r}))
print(known.template_count, sorted({{"trimesh", "embreex"}} & set(sys.modules)))
"""
    root = str(Path(__file__).parents[3])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.stdout.strip() == "42 []", done.stderr


def test_another_descriptor_describes_the_kept_templates(cad: Path, cache: Path) -> None:
    descriptor, views = MeanColor(fingerprint="mean color 2"), Views()
    onboard(ObjectSpec("box", cad, "mm"), descriptor, cache, progress=views)
    assert descriptor.seen == [42]
    assert views.told == []


def test_an_object_of_kept_templates_is_the_one_that_was_rendered(cad: Path, tmp_path: Path) -> None:
    spec = ObjectSpec("box", cad, "mm")
    rendered, kept = (onboard(spec, MeanColor(fingerprint=name), tmp_path) for name in ("mean color", "another"))
    for part in ("surface", "views"):
        of_rendered, of_kept = getattr(rendered, part), getattr(kept, part)
        for one in fields(of_rendered):
            np.testing.assert_array_equal(getattr(of_rendered, one.name), getattr(of_kept, one.name))


def test_the_name_and_place_of_a_cad_file_do_not_matter(cad: Path, cache: Path, tmp_path: Path) -> None:
    copy = tmp_path / "renamed.ply"
    shutil.copy(cad, copy)
    descriptor = MeanColor()
    onboard(ObjectSpec("another", copy, "mm"), descriptor, cache)
    assert descriptor.seen == []


def test_a_changed_cad_file_is_rendered_again(cad: Path, cache: Path, tmp_path: Path) -> None:
    changed = tmp_path / "box.ply"
    trimesh.creation.box((60, 40, 31)).export(changed)
    views = Views()
    onboard(ObjectSpec("box", changed, "mm"), MeanColor(), cache, progress=views)
    assert len(views.told) == 42


def test_other_units_are_another_object(tmp_path: Path, cache: Path) -> None:
    file = tmp_path / "big.ply"
    trimesh.creation.box((6, 4, 3)).export(file)
    small, large = (onboard(ObjectSpec("big", file, units), MeanColor(), cache) for units in ("mm", "m"))
    assert small.points_m is not None
    assert large.points_m is not None
    assert large.points_m.abs().max() == pytest.approx(1000 * float(small.points_m.abs().max()), rel=1e-4)


def test_a_changed_texture_is_rendered_again(tmp_path: Path, cache: Path) -> None:
    material = trimesh.visual.material.SimpleMaterial(image=Image.new("RGB", (4, 4), (255, 0, 0)))
    corners = [[0, 0, 0], [50, 0, 0], [50, 50, 0], [0, 50, 0], [25, 25, 30]]
    visual = trimesh.visual.TextureVisuals(uv=np.full((5, 2), 0.5), material=material)
    trimesh.Trimesh(corners, [[0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4]], visual=visual).export(tmp_path / "tent.obj")
    (texture,) = tmp_path.glob("*.png")
    red = onboard(ObjectSpec("tent", tmp_path / "tent.obj", "mm"), MeanColor(), cache)
    Image.new("RGB", (4, 4), (0, 0, 255)).save(texture)
    blue = onboard(ObjectSpec("tent", tmp_path / "tent.obj", "mm"), MeanColor(), cache)
    assert red.class_tokens[:, 0].min() > 0.9
    assert blue.class_tokens[:, 2].min() > 0.9


def test_patch_tokens_on_disk_are_those_in_memory(cad: Path, cache: Path) -> None:
    in_memory, on_disk = (
        onboard(ObjectSpec("box", cad, "mm"), MeanColor(), cache, storage=PatchStorage(place))
        for place in ("host", "disk")
    )
    assert isinstance(on_disk.patch_tokens, PatchFile)
    assert isinstance(in_memory.patch_tokens, Tensor)
    some = torch.tensor([41, 3, 3, 0])
    assert torch.equal(on_disk.patch_tokens_of(some), in_memory.patch_tokens[some])


def test_patch_tokens_of_another_precision_are_described_again(cad: Path, cache: Path) -> None:
    descriptor = MeanColor()
    half = onboard(ObjectSpec("box", cad, "mm"), descriptor, cache, storage=PatchStorage("host", "float16"))
    assert descriptor.seen == [42]
    assert half.patch_tokens.dtype == torch.float16
    assert half.patch_tokens_of(torch.tensor([0])).dtype == torch.float32


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CadError, match=r"gone\.ply does not exist"):
        onboard(ObjectSpec("gone", tmp_path / "gone.ply", "mm"), MeanColor(), tmp_path)
    with pytest.raises(TemplateError, match="gone does not exist"):
        onboard(ObjectSpec("gone", None, "mm", tmp_path / "gone"), MeanColor(), tmp_path)
    with pytest.raises(TemplateError, match="needs a CAD file, a template folder, or both"):
        onboard(ObjectSpec("gone"), MeanColor(), tmp_path)
