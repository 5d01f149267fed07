"""The Python API: the example of the README as it stands, and what `import ism_ros` costs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import ism_ros

README = Path(__file__).parents[2] / "README.md"


def test_the_example_of_the_readme_runs_as_it_stands_and_prints_what_it_says(
    sample_cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = re.findall(r"## In Python\n\n```python\n(.*?)```", README.read_text(encoding="utf-8"), re.S)
    monkeypatch.setenv("ISM_CACHE_DIR", str(sample_cache))
    names: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec"), names)
    printed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert printed == re.findall(r"^# (\w+) 0\.", code, re.M)
    assert names["overlay"].shape == names["frame"].rgb.shape
    assert names["masks"].shape == (len(printed), *names["frame"].rgb.shape[:2])


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
