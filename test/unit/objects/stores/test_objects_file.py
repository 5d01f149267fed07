"""The objects file of a running node: read whole, kept as the library is, and never written over unseen."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from ism_ros.objects.spec import ObjectsFileError, ObjectSpec, read_objects_file
from ism_ros.objects.stores.objects_file import ObjectsStore

TEXT = "# bin 4\nobjects:\n  - {id: mug, cad: mug.ply, units: mm}  # blue\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    for name in ("mug.ply", "cup.ply", "bowl.ply"):
        (tmp_path / name).write_bytes(b"ply")
    (tmp_path / "objects.yaml").write_text(TEXT)
    return tmp_path / "objects.yaml"


@pytest.fixture
def cup(file: Path) -> ObjectSpec:
    return ObjectSpec("cup", file.parent / "cup.ply", "mm", None, 2)


def ids(file: Path) -> list[str]:
    return [spec.id for spec in read_objects_file(file)]


def opened(file: Path, saves: bool = True) -> ObjectsStore:
    store = ObjectsStore(file, saves)
    store.read()
    return store


def test_changes_are_there_when_the_file_is_read_again(file: Path, cup: ObjectSpec) -> None:
    store = opened(file)
    store.change("cup", cup)
    store.change("mug", None)
    assert store.save() == ""
    assert opened(file).read() == (cup,)
    assert "# bin 4" in file.read_text()
    assert not store.is_edited()


def test_without_saving_nothing_is_ever_written(file: Path, cup: ObjectSpec) -> None:
    store = opened(file, saves=False)
    store.change("cup", cup)
    store.save()
    assert file.read_text() == TEXT


def test_a_file_that_is_missing_at_first_begins_with_the_first_object(tmp_path: Path, cup: ObjectSpec) -> None:
    new = tmp_path / "new" / "objects.yaml"
    store = ObjectsStore(new, saves=True)
    assert store.read() == ()
    store.change("cup", cup)
    store.save()
    assert ids(new) == ["cup"]


def test_an_edit_is_noticed_and_a_mere_touch_is_none(file: Path) -> None:
    store = opened(file)
    os.utime(file, (1, 1))
    assert not store.is_edited()
    file.write_text(TEXT.replace("mug,", "jug,"))
    assert store.is_edited()


def test_a_file_that_is_gone_is_noticed_and_not_written_anew(file: Path, cup: ObjectSpec) -> None:
    store = opened(file)
    file.unlink()
    assert store.is_edited()
    store.change("cup", cup)
    with pytest.raises(ObjectsFileError, match="gone"):
        store.save()
    assert not file.exists()
    file.write_text(TEXT)
    store.save()
    assert ids(file) == ["mug", "cup"]


def test_what_somebody_wrote_meanwhile_stays_beside_what_is_saved(file: Path, cup: ObjectSpec) -> None:
    store = opened(file)
    file.write_text(TEXT + "  - {id: bowl, cad: bowl.ply, units: m, category_id: 7}  # by hand\n")
    store.change("cup", cup)
    store.save()
    assert ids(file) == ["mug", "bowl", "cup"]
    assert "# by hand" in file.read_text()
    assert store.is_edited(), "the node still does not know the bowl"


def test_a_file_that_makes_no_sense_at_the_moment_is_left_alone_until_it_does(file: Path, cup: ObjectSpec) -> None:
    store = opened(file)
    half = TEXT[: TEXT.index("mug.ply")]
    file.write_text(half)
    store.change("cup", cup)
    with pytest.raises(ObjectsFileError, match="not YAML"):
        store.save()
    assert file.read_text() == half
    assert store.unsaved == ("cup",)
    file.write_text(TEXT)
    store.save()
    assert ids(file) == ["mug", "cup"]
    assert store.unsaved == ()


def test_comments_that_cannot_be_kept_are_kept_in_a_copy(file: Path, cup: ObjectSpec) -> None:
    text = "objects: [ # one list\n  {id: mug, cad: mug.ply, units: mm}]\n"
    file.write_text(text)
    store = opened(file)
    store.change("cup", cup)
    assert "objects.yaml.bak has them" in store.save()
    assert file.with_name("objects.yaml.bak").read_text() == text
    assert ids(file) == ["mug", "cup"]


def test_a_link_stays_a_link_and_the_mode_of_the_file_stays(file: Path, cup: ObjectSpec, tmp_path: Path) -> None:
    file.chmod(0o600)
    link = tmp_path / "link.yaml"
    link.symlink_to(file)
    store = opened(link)
    store.change("cup", cup)
    store.save()
    assert link.is_symlink()
    assert ids(file) == ["mug", "cup"]
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_disk_that_takes_no_more_leaves_the_old_file_whole_and_nothing_beside_it(file: Path, cup: ObjectSpec) -> None:
    store = opened(file)
    before = sorted(file.parent.iterdir())
    store.change("cup", cup)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))  # EFBIG instead of ENOSPC
    try:
        with pytest.raises(OSError, match="large"):
            store.save()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert file.read_text() == TEXT
    assert sorted(file.parent.iterdir()) == before
    store.save()
    assert ids(file) == ["mug", "cup"]


def test_a_process_killed_while_it_saves_leaves_the_old_file_and_what_it_left_goes_away_later(file: Path) -> None:
    code = f"""
import os, signal
from pathlib import Path
from ism_ros.objects.stores.objects_file import ObjectsStore
store = ObjectsStore(Path({str(file)!r}), True)
store.read()
store.change("mug", None)
os.replace = lambda *names: os.kill(os.getpid(), signal.SIGKILL)
store.save()
"""
    root = str(Path(__file__).parents[4])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == -9
    assert file.read_text() == TEXT
    (left,) = file.parent.glob(".objects.yaml.*")
    os.utime(left, (1, 1))
    store = opened(file)
    store.change("mug", None)
    store.save()
    assert not left.exists()
