"""The digest by which results of another program are told apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from ism_ros.bop.run_folder import ENGINE_FILES, program_digest

SOURCES = Path(__file__).resolve().parents[3] / "ism_ros"
WITHOUT_INFLUENCE = {"bench", "bop", "cli", "export", "node", "selftest", "server", "sim", "tracking"}
"""Folders that use the model; of `bop` two files count."""
WITH_INFLUENCE = [
    path.name for path in SOURCES.iterdir() if (path / "__init__.py").is_file() and path.name not in WITHOUT_INFLUENCE
]


def digests(package: Path, file: str) -> tuple[str, str]:
    """Of a package before and after a change to the one file that it has."""
    (package / file).parent.mkdir(parents=True, exist_ok=True)
    (package / file).write_text("1")
    before = program_digest(package)
    (package / file).write_text("2")
    return before, program_digest(package)


@pytest.mark.parametrize(
    "file",
    [
        "model.py",
        *ENGINE_FILES,
        *(f"{folder}/sub/module.py" for folder in sorted(WITH_INFLUENCE)),
    ],
)
def test_a_change_to_what_finds_things_makes_it_another_program(file: str, tmp_path: Path) -> None:
    before, after = digests(tmp_path, file)
    assert before != after


@pytest.mark.parametrize("folder", sorted(WITHOUT_INFLUENCE))
def test_a_change_to_an_interface_does_not(folder: str, tmp_path: Path) -> None:
    before, after = digests(tmp_path, f"{folder}/report/module.py")
    assert before == after


@pytest.mark.parametrize("file", ENGINE_FILES)
def test_every_file_that_counts_is_there(file: str) -> None:
    assert (SOURCES / file).is_file()
