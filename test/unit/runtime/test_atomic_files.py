"""Files that appear whole, whatever others do in the same folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ism_ros.runtime.atomic_files import write_atomically

UNFINISHED = ".notes.txt.a1b2_3cd"


def test_what_a_killed_program_left_is_removed_by_the_next_write(tmp_path: Path) -> None:
    for name in (UNFINISHED, ".notes.txt.a_longer_name", ".other.txt.a1b2_3cd"):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (1e9, 1e9))
    write_atomically(tmp_path / "notes.txt", "new")
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"notes.txt", ".notes.txt.a_longer_name", ".other.txt.a1b2_3cd"}


def test_a_write_goes_on_where_another_process_removed_what_was_left_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "iterdir", lambda folder: iter([folder / UNFINISHED]))  # listed, and gone since
    write_atomically(tmp_path / "notes.txt", "new")
    assert (tmp_path / "notes.txt").read_text() == "new"
