"""What killed programs and earlier versions left in the cache goes; everything else stays."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ism_ros.objects.cache_folder import STALE_S, remove_stale

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
