"""From CAD file or template folder to known object; everything slow happens once."""

from __future__ import annotations

import logging
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from torch import Tensor

from ism_ros.cad.mesh_loading import CadError
from ism_ros.descriptors.base import Descriptors
from ism_ros.objects import onboarding
from ism_ros.objects.known_object import KnownObject
from ism_ros.objects.spec import ObjectSpec
from ism_ros.objects.stores.descriptor_cache import read_descriptors, write_descriptors
from ism_ros.objects.stores.patch_tokens import PatchFile, PatchStorage
from ism_ros.objects.template_builder import POINT_COUNT, build_templates
from ism_ros.rendering.templates import TemplateError, read_templates
from ism_ros.rendering.views.viewpoints import object_to_camera_rotations

ON_DISK = PatchStorage("disk")

onboard = partial(onboarding.onboard, template_builder=partial(build_templates, size_px=48))
"""Pictures of 48 pixels: all the same to what is tested here, and fast."""


@dataclass
class MeanColor:
    """A descriptor so small that its numbers can be checked: the mean color, and that of each of four quarters."""

    fingerprint: str = "mean color 1"
    seen: list[int] = field(default_factory=list)
    name = "mean_color"
    crop_size = 32
    rotation_sensitive = True
    view_prior_weight = 0.0

    def describe(self, crops: Tensor, crop_masks: Tensor) -> Descriptors:
        assert crops.shape == (len(crops), 3, 32, 32)
        assert crop_masks.any(dim=(1, 2)).all()
        assert (crops * ~crop_masks[:, None] == 0).all()
        self.seen.append(len(crops))
        tokens = crops.sum(dim=(2, 3)) / crop_masks.sum(dim=(1, 2))[:, None]
        quarters = crops.unfold(2, 16, 16).unfold(3, 16, 16).mean(dim=(4, 5)).flatten(2).transpose(1, 2)
        normalize = torch.nn.functional.normalize
        return Descriptors(normalize(tokens, dim=1), normalize(quarters, dim=2))

    def describe_templates(self, crops: Tensor, crop_masks: Tensor) -> Descriptors:
        return self.describe(crops, crop_masks)


@dataclass
class Views:
    """Counts the views that are rendered."""

    told: list[int] = field(default_factory=list)

    def __call__(self, done: int, total: int) -> None:
        assert total == 42
        self.told.append(done)


@pytest.fixture(scope="module")
def cad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    mesh = trimesh.creation.box((60, 40, 30))
    mesh.visual.face_colors = [200, 100, 50, 255]
    file = tmp_path_factory.mktemp("cad") / "box.ply"
    mesh.export(file)
    return file


@pytest.fixture(scope="module")
def warm(cad: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache in which the box is."""
    cache = tmp_path_factory.mktemp("warm")
    onboard(ObjectSpec("box", cad, "mm"), MeanColor(), cache)
    return cache


@pytest.fixture
def cache(warm: Path, tmp_path: Path) -> Path:
    """A copy of the warm cache, to be spoilt."""
    shutil.copytree(warm, tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture
def template_folder(tmp_path: Path) -> Callable[[int], Path]:
    """Makes a folder like those of the reference tool, red on the left and green on the right, without poses."""

    def make(count: int) -> Path:
        folder = tmp_path / f"views_{count}"
        folder.mkdir()
        mask = np.zeros((20, 20), np.uint8)
        mask[4:16, 2:18] = 255
        picture = np.full((20, 20, 3), 90, np.uint8)
        picture[:, :10], picture[:, 10:] = (255, 0, 0), (0, 255, 0)
        xyz_mm = np.zeros((20, 20, 3), np.float16)
        xyz_mm[4:16, 2:18] = np.random.default_rng(0).uniform(10, 50, (12, 16, 3))
        for index in range(count):
            Image.fromarray(picture).save(folder / f"rgb_{index}.png")
            Image.fromarray(mask).save(folder / f"mask_{index}.png")
            np.save(folder / f"xyz_{index}.npy", xyz_mm)
        return folder

    return make


def same(first: KnownObject, second: KnownObject) -> bool:
    names = ("class_tokens", "patch_tokens", "rotations", "points_m")
    return all(torch.equal(getattr(first, name), getattr(second, name)) for name in names)


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


@pytest.mark.parametrize("suffix", [".npz", ".npy"])
@pytest.mark.parametrize("damage", ["cut", "empty", "flipped"])
def test_damaged_descriptors_are_rebuilt_with_one_line_in_the_log(
    cad: Path, cache: Path, caplog: pytest.LogCaptureFixture, damage: str, suffix: str
) -> None:
    spec = ObjectSpec("box", cad, "mm")
    healthy = onboard(spec, MeanColor(), cache)
    (file,) = (cache / "descriptors").glob(f"*{suffix}")
    content = bytearray(file.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 0xFF
    file.write_bytes(content[: {"cut": len(content) // 2, "empty": 0, "flipped": None}[damage]])
    descriptor = MeanColor()
    with caplog.at_level(logging.WARNING):
        rebuilt = onboard(spec, descriptor, cache)
    assert descriptor.seen == [42]
    assert same(rebuilt, healthy)
    assert len(caplog.messages) == 1
    assert "are damaged and rebuilt" in caplog.messages[0]
    again = MeanColor()
    onboard(spec, again, cache)
    assert again.seen == []


@pytest.mark.parametrize("damage", ["cut", "flipped", "gone"])
def test_patch_tokens_left_on_disk_are_rebuilt_when_a_frame_meets_the_damage(
    cad: Path, cache: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    spec, descriptor = ObjectSpec("box", cad, "mm"), MeanColor()
    healthy = onboard(spec, descriptor, cache)
    known = onboard(spec, descriptor, cache, storage=ON_DISK)
    (file,) = (cache / "descriptors").glob("*.npy")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.unlink() if damage == "gone" else file.write_bytes(content[: -1 if damage == "cut" else None])
    with caplog.at_level(logging.WARNING):
        tokens = known.patch_tokens_of(torch.arange(42))
    assert torch.equal(tokens, healthy.patch_tokens_of(torch.arange(42)))
    assert descriptor.seen == [42]
    assert len(caplog.messages) == 1
    assert "are damaged and rebuilt" in caplog.messages[0]


def test_patch_tokens_are_not_rebuilt_from_an_object_that_has_changed(cad: Path, cache: Path, tmp_path: Path) -> None:
    changed = tmp_path / "box.ply"
    shutil.copy(cad, changed)
    known = onboard(ObjectSpec("box", changed, "mm"), MeanColor(), cache, storage=ON_DISK)
    trimesh.creation.box((60, 40, 31)).export(changed)
    (file,) = (cache / "descriptors").glob("*.npy")
    file.write_bytes(b"")
    with pytest.raises(OSError, match="object 'box' have changed since it was added; add it again"):
        known.patch_tokens_of(torch.tensor([0]))


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


def test_patch_tokens_for_the_disk_stay_in_memory_where_it_cannot_be_written(cad: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "cache"
    blocked.write_text("a file where the folder should be")
    known = onboard(ObjectSpec("box", cad, "mm"), MeanColor(), blocked, storage=ON_DISK)
    assert isinstance(known.patch_tokens, Tensor)


@pytest.mark.parametrize("files_in_place", [0, 1])
def test_a_process_killed_while_it_writes_leaves_no_cache_that_is_taken_for_whole(
    cad: Path, warm: Path, tmp_path: Path, files_in_place: int
) -> None:
    code = f"""
import os, signal
from pathlib import Path
import numpy as np
from ism_ros.objects.stores import descriptor_cache

replace, done = os.replace, []

def killed(source, target):
    if len(done) == {files_in_place}:
        os.kill(os.getpid(), signal.SIGKILL)
    done.append(target)
    replace(source, target)

os.replace = killed
descriptor_cache.write_descriptors(
    Path({str(tmp_path)!r}) / "key", {{"class_tokens": np.ones((2, 3), np.float32)}}, np.ones((2, 4, 3), np.float32)
)
"""
    root = str(Path(__file__).parents[3])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=False)
    assert done.returncode == -9
    assert len(list(tmp_path.glob("key*"))) == files_in_place
    assert read_descriptors(tmp_path / "key") is None
    arrays, tokens = {"class_tokens": np.zeros((2, 3), np.float32)}, np.zeros((2, 4, 3), np.float32)
    assert write_descriptors(tmp_path / "key", arrays, tokens) is not None
    again = read_descriptors(tmp_path / "key")
    assert again is not None
    assert torch.equal(again.patches.read_all(), torch.zeros(2, 4, 3))


def test_damaged_templates_are_rendered_again_with_one_line_in_the_log(
    cad: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder,) = (cache / "templates").iterdir()
    picture = folder / "rgb_30.png"
    picture.write_bytes(picture.read_bytes()[:100])
    views = Views()
    with caplog.at_level(logging.WARNING):
        onboard(ObjectSpec("box", cad, "mm"), MeanColor(fingerprint="new"), cache, progress=views)
    assert len(views.told) == 42
    assert len(caplog.messages) == 1
    assert "rgb_30.png" in caplog.messages[0]
    assert len(read_templates(folder)) == 42


def test_a_cache_that_cannot_be_written_is_done_without(
    cad: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "cache"
    blocked.write_text("a file where the folder should be")
    with caplog.at_level(logging.WARNING):
        for name in ("box", "carton"):
            known = onboard(ObjectSpec(name, cad, "mm"), MeanColor(), blocked)
            assert known.template_count == 42
    assert [message.partition(" (")[0] for message in caplog.messages] == [
        f"cannot keep files in {blocked / folder}" for folder in ("templates", "descriptors")
    ]


@contextmanager
def room_for_files_of(size_bytes: int) -> Iterator[None]:
    """Files cannot be written beyond this size, as where a disk or a quota is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_no_half_written_file(cad: Path, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = sorted((cache / "descriptors").iterdir())
    with caplog.at_level(logging.WARNING), room_for_files_of(10_000):
        known = onboard(ObjectSpec("box", cad, "mm"), MeanColor(fingerprint="new"), cache)
    assert known.template_count == 42
    assert "File too large" in caplog.text
    assert sorted((cache / "descriptors").iterdir()) == before


def test_giving_up_in_the_middle_keeps_nothing(cad: Path, tmp_path: Path) -> None:
    class GivenUpError(Exception):
        pass

    def give_up(done: int, total: int) -> None:
        if done == 3:
            raise GivenUpError

    with pytest.raises(GivenUpError):
        onboard(ObjectSpec("box", cad, "mm"), MeanColor(), tmp_path / "cache", progress=give_up)
    assert not (tmp_path / "cache").exists()


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


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CadError, match=r"gone\.ply does not exist"):
        onboard(ObjectSpec("gone", tmp_path / "gone.ply", "mm"), MeanColor(), tmp_path)
    with pytest.raises(TemplateError, match="gone does not exist"):
        onboard(ObjectSpec("gone", None, "mm", tmp_path / "gone"), MeanColor(), tmp_path)
    with pytest.raises(TemplateError, match="needs a CAD file, a template folder, or both"):
        onboard(ObjectSpec("gone"), MeanColor(), tmp_path)


ON_A_FULL_DISK = """
import logging, sys
from pathlib import Path
import numpy as np
from ism_ros.objects.stores.descriptor_cache import write_descriptors
from ism_ros.objects.spec import ObjectSpec
from ism_ros.objects.stores.objects_file import ObjectsStore
from ism_ros.objects.template_builder import build_templates

logging.basicConfig(stream=sys.stdout, format="%(message)s")
disk, cad = Path(sys.argv[1]), Path(sys.argv[2])
spec = ObjectSpec("box", cad, "mm", None, 2)
prepared = build_templates(spec, disk / "templates" / "key")
assert len(prepared.rgb) == 42
tokens = np.ones((42, 256, 64), np.float32)
assert write_descriptors(disk / "descriptors" / "key", {"class_tokens": tokens[:, 0]}, tokens) is None
old = "objects:\\n  - {id: mug, cad: mug.ply, units: mm}\\n"
(disk / "objects.yaml").write_text(old)
store = ObjectsStore(disk / "objects.yaml", True)
store._text, store._signature = old, None
with (disk / "filler").open("wb", buffering=0) as filler:
    try:
        while True:
            filler.write(bytes(1024))
    except OSError:
        pass
store.change("box", spec)
try:
    store.save()
except OSError as error:
    print("objects file:", error)
assert (disk / "objects.yaml").read_text() == old
print(sorted(str(path.relative_to(disk)) for path in disk.rglob("*")))
"""


@pytest.mark.slow
def test_a_disk_that_is_really_full_costs_the_cache_only(cad: Path, tmp_path: Path) -> None:
    mount = 'mount -t tmpfs -o size=300k none "$1" || exit 77; exec "$2" -c "$3" "$1" "$4"'
    command = ["unshare", "-rm", "sh", "-c", mount, "sh", str(tmp_path), sys.executable, ON_A_FULL_DISK, str(cad)]
    root = str(Path(__file__).parents[3])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    try:
        done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("no unshare here to mount a small disk with")
    if "unshare" in done.stderr or done.returncode == 77:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert ["No space left on device" in line for line in said] == [True, True, True, False], said
    assert said[-1] == "['descriptors', 'filler', 'objects.yaml', 'templates']"
