"""Caches that are damaged, cannot be written or are cut short by a killed process or a full disk."""

from __future__ import annotations

import logging
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from small_onboarding import MeanColor, Views, onboard, same
from torch import Tensor

from ism_ros.objects.spec import ObjectSpec
from ism_ros.objects.stores.descriptor_cache import read_descriptors, write_descriptors
from ism_ros.objects.stores.patch_tokens import PatchStorage
from ism_ros.rendering.templates import read_templates

ON_DISK = PatchStorage("disk")


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
