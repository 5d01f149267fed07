"""`ism render`, run as a user runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from ism_ros.cli.main import main
from ism_ros.rendering.templates import read_templates


@dataclass(frozen=True)
class Done:
    """How a run of `ism` ended."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def ism(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Runs `ism` with the given arguments in a wide terminal without colors."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "dumb")

    def run(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["ism", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return Done(int(ended.value.code or 0), *capsys.readouterr())

    return run


def assert_refused(done: Done, said: str) -> None:
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.startswith("ism: ")
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.fixture
def box(tmp_path: Path) -> Path:
    trimesh.creation.box((60, 40, 30)).export(tmp_path / "box.ply")
    return tmp_path / "box.ply"


def test_a_cad_model_becomes_a_template_folder(ism: Callable[..., Done], box: Path, tmp_path: Path) -> None:
    done = ism("render", box, tmp_path / "out", "--units", "mm", "--size", 64)
    assert done.returncode == 0, done.stderr
    templates = read_templates(tmp_path / "out")
    assert templates.rgb.shape == (42, 64, 64, 3)
    assert np.abs(templates.xyz_m).max() == pytest.approx(0.03, rel=1e-3)
    with Image.open(tmp_path / "out" / "templates.png") as sheet:
        assert sheet.size == (7 * 140, 6 * 140)
    assert "42 templates in" in done.stderr
    assert "60 x 40 x 30 mm" in done.stderr


def test_gltf_needs_no_units(ism: Callable[..., Done], tmp_path: Path) -> None:
    trimesh.creation.box((0.06, 0.04, 0.03)).export(tmp_path / "box.glb")
    assert ism("render", tmp_path / "box.glb", tmp_path / "out", "--size", 32).returncode == 0


def test_other_formats_do(ism: Callable[..., Done], box: Path, tmp_path: Path) -> None:
    assert_refused(ism("render", box, tmp_path / "out"), "add --units mm or --units m")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere.ply", "out", "--units", "mm"], "nowhere.ply does not exist"),
        (["box.ply", "out", "--units", "feet"], "units 'feet' are unknown; choose mm, cm, m or inch"),
        (["box.ply", "out", "--units", "m"], "78.1 m across when read in m"),
        (["box.ply", "keep", "--units", "mm"], "holds 'letter.txt', which is no template"),
        (["box.ply", "box.ply", "--units", "mm"], "box.ply is a file; choose a folder"),
    ],
)
def test_a_users_mistake_is_told_in_one_line(
    ism: Callable[..., Done],
    box: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    said: str,
) -> None:
    (tmp_path / "keep").mkdir()
    (tmp_path / "keep" / "letter.txt").write_text("dear")
    monkeypatch.chdir(tmp_path)
    assert_refused(ism("render", *arguments), said)
    assert (tmp_path / "keep" / "letter.txt").read_text() == "dear"


def test_sizes_beyond_reason_are_refused(ism: Callable[..., Done], box: Path, tmp_path: Path) -> None:
    done = ism("render", box, tmp_path / "out", "--units", "mm", "--size", "4")
    assert done.returncode == 2
    assert "--size" in done.stderr
    assert not (tmp_path / "out").exists()


def test_help_teaches_with_an_example(ism: Callable[..., Done]) -> None:
    done = ism("render", "--help")
    assert done.returncode == 0
    assert "ism render mug.ply templates/mug --units mm" in done.stdout


def test_help_comes_without_loading_models() -> None:
    code = "import sys, ism_ros.cli.main; print(sorted({'torch', 'trimesh', 'cv2', 'scipy'} & set(sys.modules)))"
    root = str(Path(__file__).parents[3])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.stdout.strip() == "[]", done.stderr


def test_the_commands_are_listed(ism: Callable[..., Done]) -> None:
    done = ism("--help")
    assert "render" in done.stdout
    assert "segment" in done.stdout
