"""What killed programs and earlier versions left in the cache goes; everything else stays."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ism_ros.runtime.cache_folder import STALE_S, keep_below, mark_used, remove_stale

KEY, OTHER = "0123456789abcdef" * 2, "fedcba9876543210" * 2


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    for path in (
        f"templates/{KEY}/rgb_0.png",
        f"templates/.{KEY}.a1b2_3cd/rgb_0.png",
        "templates/.mine.a1b2_3cd/rgb_0.png",
        f"descriptors/{KEY}.npz",
        f"descriptors/{KEY}.patches.npy",
        f"descriptors/.{KEY}.zz9yy8xx",
        f"descriptors/{OTHER}.npz",
        "descriptors/" + "a" * 32 + ".patches.npy",
        "descriptors/thesis.npz",
        "notes.txt",
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(b"x")
    for path in tmp_path.rglob("*"):
        os.utime(path, (1e9, 1e9))
    return tmp_path


def test_unfinished_files_and_halves_of_descriptors_are_removed(cache: Path) -> None:
    assert sorted(str(path.relative_to(cache)) for path in remove_stale(cache)) == [
        f"descriptors/.{KEY}.zz9yy8xx",
        "descriptors/" + "a" * 32 + ".patches.npy",
        f"descriptors/{OTHER}.npz",  # the older format had no .patches.npy
        f"templates/.{KEY}.a1b2_3cd",
    ]
    assert {str(path.relative_to(cache)) for path in cache.rglob("*") if path.is_file()} == {
        f"templates/{KEY}/rgb_0.png",
        "templates/.mine.a1b2_3cd/rgb_0.png",
        f"descriptors/{KEY}.npz",
        f"descriptors/{KEY}.patches.npy",
        "descriptors/thesis.npz",
        "notes.txt",
    }


def test_what_another_process_may_still_be_writing_stays(cache: Path) -> None:
    assert remove_stale(cache, now_s=1e9 + STALE_S - 1) == []


def test_a_cache_that_is_not_there_is_no_error(tmp_path: Path) -> None:
    assert remove_stale(tmp_path / "nowhere") == []


@pytest.fixture
def full(tmp_path: Path) -> Path:
    """Two entries of 1,000 bytes, the templates older than the descriptors, and a file that is nobody's."""
    for name, size, age_s in (
        (f"templates/{KEY}/rgb_0.png", 1000, 300),
        (f"descriptors/{OTHER}.npz", 100, 200),
        (f"descriptors/{OTHER}.patches.npy", 900, 200),
        ("descriptors/thesis.npz", 5000, 400),
    ):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(bytes(size))
        for path in (file, file.parent):
            os.utime(path, (1e9 - age_s, 1e9 - age_s))
    return tmp_path


def left(cache: Path) -> set[str]:
    return {str(path.relative_to(cache)) for path in cache.rglob("*") if path.is_file()}


def test_beyond_the_budget_the_least_recently_used_goes_first(full: Path) -> None:
    assert keep_below(full, 1500) == 1000
    assert left(full) == {f"descriptors/{OTHER}.npz", f"descriptors/{OTHER}.patches.npy", "descriptors/thesis.npz"}


def test_what_was_used_stays_longer(full: Path) -> None:
    mark_used(full / "templates" / KEY)
    keep_below(full, 1500)
    assert left(full) == {f"templates/{KEY}/rgb_0.png", "descriptors/thesis.npz"}


def test_within_the_budget_nothing_goes(full: Path) -> None:
    before = left(full)
    assert keep_below(full, 2000) == 0
    assert left(full) == before
