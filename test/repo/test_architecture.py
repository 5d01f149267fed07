"""docs/architecture.md is true: what it names exists, each package is in its table; folders and modules are small."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
TEXT = (REPO / "docs" / "architecture.md").read_text(encoding="utf-8")
PACKAGE = REPO / "ism_ros"
MAX_FILES, MAX_LINES = 10, 350
"""Most Python files of a folder, and most lines of a module."""
PYTHON_FILES = [
    path.relative_to(REPO)
    for folder in ("ism_ros", "test", "benchmarks", "training", "tools")
    for path in sorted((REPO / folder).rglob("*.py"))
]


def test_every_package_is_in_the_table() -> None:
    packages = {f"ism_ros/{path.name}/" for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    modules = {f"ism_ros/{path.name}" for path in PACKAGE.glob("*.py")}
    named = set(re.findall(r"^\| `(ism_ros/[^`]+)`", TEXT, re.M))
    assert packages | modules <= named


def test_every_file_that_is_named_exists() -> None:
    named = set(re.findall(r"`([\w/]+(?:\.py|/))`", TEXT))
    everywhere = {path.relative_to(PACKAGE).as_posix() + ("/" if path.is_dir() else "") for path in PACKAGE.rglob("*")}
    missing = {
        word
        for word in named
        if not (REPO / word).exists() and not any(path == word or path.endswith("/" + word) for path in everywhere)
    }
    assert not missing - {"training_scenes/"}


def test_the_main_path_is_one_screen() -> None:
    assert len((PACKAGE / "model.py").read_text(encoding="utf-8").splitlines()) <= 200


def test_folders_are_small() -> None:
    modules = [path for path in PYTHON_FILES if path.name not in ("__init__.py", "conftest.py")]
    counts = Counter(path.parent.as_posix() for path in modules)
    assert not {folder: count for folder, count in counts.items() if count > MAX_FILES}


def test_modules_are_short() -> None:
    lines = {path.as_posix(): len((REPO / path).read_text(encoding="utf-8").splitlines()) for path in PYTHON_FILES}
    assert not {path: count for path, count in lines.items() if count > MAX_LINES}
