"""Rendering in a process of its own gives the same, says the same, and takes nothing along when it ends."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import numpy as np
import psutil
import pytest

from ism_ros.cad.mesh_loading import CadError
from ism_ros.objects.spec import ObjectSpec
from ism_ros.objects.template_builder import ObjectTemplates, build_templates
from ism_ros.objects.template_process import NICENESS, TemplateProcess, TemplateProcessStoppedError


@pytest.fixture(scope="module")
def spec(cad: Path) -> ObjectSpec:
    return ObjectSpec("box", cad, "mm")


@pytest.fixture(scope="module")
def templates(spec: ObjectSpec, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ObjectTemplates, list[int]]:
    """Rendered by the child: the folder, what it gave, and the progress it told."""
    folder, told = tmp_path_factory.mktemp("cache") / "box", []
    prepared = TemplateProcess()(spec, folder, lambda done, total: told.append(done))
    return folder, prepared, told


def children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "template_process" in " ".join(child.cmdline())]


@pytest.mark.slow
def test_the_child_gives_what_would_have_been_made_here(
    spec: ObjectSpec, templates: tuple[Path, ObjectTemplates, list[int]]
) -> None:
    folder, prepared, told = templates
    here = build_templates(spec, folder)  # reads what the child has rendered and kept
    for name in ("rgb", "masks", "rotations", "points_m"):
        np.testing.assert_array_equal(getattr(prepared, name), getattr(here, name))
    assert told == list(range(1, 43))


def test_errors_and_warnings_are_those_of_this_process(
    templates: tuple[Path, ObjectTemplates, list[int]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(CadError, match=r"lost\.ply does not exist"):
        TemplateProcess()(ObjectSpec("lost", tmp_path / "lost.ply"), tmp_path / "cached")
    folder = tmp_path / "cached"
    folder.mkdir()
    with caplog.at_level(logging.WARNING), pytest.raises(CadError):
        TemplateProcess()(ObjectSpec("lost", tmp_path / "lost.ply"), folder)
    assert "cached templates are damaged" in caplog.messages[0]
    assert caplog.records[0].reason == "cache_damaged"


@pytest.mark.slow
def test_a_cache_that_cannot_be_written_is_warned_of_once_however_many_processes_meet_it(
    spec: ObjectSpec, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "templates").write_text("a file where the folder should be")
    with caplog.at_level(logging.WARNING):
        for name in ("box", "carton"):
            TemplateProcess()(spec, tmp_path / "templates" / name)
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith(f"cannot keep files in {tmp_path / 'templates'} (")
    assert caplog.records[0].reason == "cache_not_written"


def test_it_runs_at_low_priority_and_ends_when_it_is_stopped(spec: ObjectSpec, tmp_path: Path) -> None:
    process, nice = TemplateProcess(), []

    def stop(done: int, total: int) -> None:
        nice.extend(child.nice() for child in children())
        threading.Thread(target=process.stop).start()

    with pytest.raises(TemplateProcessStoppedError):
        process(spec, tmp_path / "cached", stop)
    assert min(nice) >= NICENESS
    assert children() == []
    assert not (tmp_path / "cached").exists()


def test_giving_up_ends_the_child(spec: ObjectSpec, tmp_path: Path) -> None:
    def give_up(done: int, total: int) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        TemplateProcess()(spec, tmp_path / "cached", give_up)
    assert children() == []


def test_a_child_that_is_killed_is_an_error_that_says_so(spec: ObjectSpec, tmp_path: Path) -> None:
    def kill(done: int, total: int) -> None:
        for child in children():
            child.kill()

    with pytest.raises(ValueError, match="'box' could not be prepared: its process was killed"):
        TemplateProcess()(spec, tmp_path / "cached", kill)
