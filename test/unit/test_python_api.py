"""The Python API: the example of the README as it stands, and what `import ism_ros` costs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import trimesh

import ism_ros
from ism_ros.selftest.sample_files import SCENE

README = Path(__file__).parents[2] / "README.md"


def test_the_example_of_the_readme_runs_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = re.findall(r"## In Python\n\n```python\n(.*?)```", README.read_text(encoding="utf-8"), re.S)
    for name, file in {"rgb.jpg": "rgb.png", "depth.png": "depth.png", "camera.json": "camera.json"}.items():
        shutil.copy(SCENE / name, tmp_path / file)
    trimesh.load(SCENE / "banana.ply").apply_scale(1000.0).export(tmp_path / "mug.ply")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ISM_CACHE_DIR", str(tmp_path / "cache"))
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)
    assert "mug 0." in capsys.readouterr().out
    assert names["overlay"].shape == names["frame"].rgb.shape  # type: ignore[attr-defined]
    assert len(names["masks"]) == len(names["found"])  # type: ignore[arg-type]


def test_every_public_name_can_be_imported() -> None:
    for name in ism_ros.__all__:
        assert getattr(ism_ros, name) is not None


def test_a_name_that_is_not_there_is_an_error_that_lists_those_that_are() -> None:
    with pytest.raises(AttributeError, match="load_model"):
        ism_ros.load_modle  # noqa: B018


def test_importing_the_package_imports_no_library() -> None:
    code = "import sys, ism_ros; print(sorted({'torch', 'numpy', 'cv2', 'pydantic'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
