"""The cache folder: arrays are written there, and what killed programs and earlier versions left is removed."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ism_ros.runtime.atomic_files import STALE_S

NOT_WRITTEN, DAMAGED = "cache_not_written", "cache_damaged"
"""Reasons, in the attribute `reason` of log records, by which problems of the cache are counted."""

ONNX_FOLDER = "onnx"
"""Folder of the cache in which each exported network has a folder."""

_FOLDERS = ("templates", ONNX_FOLDER)
"""Folders of the cache whose entries are folders."""
_KEY = "[0-9a-f]{32}"
_UNFINISHED = re.compile(rf"\.{_KEY}(?:\.npz|\.patches\.npy)?\.[a-z0-9_]{{8}}")
_SMALL = re.compile(rf"({_KEY})\.npz")
_LARGE = re.compile(rf"({_KEY})\.patches\.npy")

_not_written: set[Path] = set()
"""Folders of which this process has warned."""

logger = logging.getLogger(__name__)


def remove_stale(cache_dir: Path, now_s: float | None = None) -> list[Path]:
    """Remove what no program will use: unfinished files and folders, and descriptors of which one file is missing.

    Earlier formats of descriptors had only the .npz. Nothing younger than STALE_S, and nothing of another name, is
    touched; what cannot be removed stays.

    Args:
        cache_dir: Folder of the cache.
        now_s: Unix time; None = the present.

    Returns:
        What was removed.
    """
    before_s = (time.time() if now_s is None else now_s) - STALE_S
    removed = [path for path in _useless(cache_dir) if _is_older(path, before_s) and _removed(path)]
    if removed:
        logger.info("removed %d unfinished or outdated files from the cache %s", len(removed), cache_dir)
    return removed


def keep_below(cache_dir: Path, max_bytes: int) -> int:
    """Remove templates, descriptors and networks, the least recently used first, until the cache is small enough.

    Objects in use keep working: what they need again is rebuilt.

    Args:
        cache_dir: Folder of the cache.
        max_bytes: Size that they may have together.

    Returns:
        The bytes that were removed.
    """
    entries = sorted(_entries(cache_dir), key=lambda entry: entry.used_s)
    excess = before = sum(entry.size_bytes for entry in entries) - max_bytes
    for entry in entries:
        if excess <= 0:
            break
        removed = [_removed(path) for path in entry.paths]  # all of them, also after one that stays
        if all(removed):
            excess -= entry.size_bytes
    if before > excess:
        freed_mb = (before - excess) / 1e6
        logger.info("removed %.0f MB from the cache %s, which may take %.0f", freed_mb, cache_dir, max_bytes / 1e6)
    return before - excess


def mark_used(path: Path) -> None:
    """Note that a file or folder of the cache was used now; a cache that cannot be written is left as it is.

    Args:
        path: The file or folder.
    """
    with contextlib.suppress(OSError):
        os.utime(path)


def warn_not_written(folder: Path, cause: str) -> None:
    """Warn in the log that nothing can be kept in a folder of the cache, once a process and folder.

    Every call makes a record with the reason NOT_WRITTEN and the attribute `not_written`, (folder, cause), so that
    others can count it or hand it on; all but the first are at level DEBUG.

    Args:
        folder: The folder.
        cause: Why, in a few words.
    """
    level = logging.DEBUG if folder in _not_written else logging.WARNING
    _not_written.add(folder)
    extra = {"reason": NOT_WRITTEN, "not_written": (folder, cause)}
    logger.log(level, "cannot keep files in %s (%s); going on without", folder, cause, extra=extra)


def write_array(stream: IO[bytes], array: NDArray[Any]) -> None:
    """Write an array as .npy; np.save on a full disk says how many items were written, but not why.

    Args:
        stream: Open for writing bytes.
        array: Of any shape and dtype.

    Raises:
        OSError: It cannot be written.
    """
    array = np.ascontiguousarray(array)
    np.lib.format.write_array_header_1_0(stream, np.lib.format.header_data_from_array_1_0(array))
    stream.write(array.reshape(-1).view(np.uint8).data)


@dataclass(frozen=True)
class _Entry:
    """Files that are removed together: a folder of templates or of a network, or both files of descriptors."""

    paths: tuple[Path, ...]
    size_bytes: int
    used_s: float


def _entries(cache_dir: Path) -> Iterator[_Entry]:
    for folder in (item for name in _FOLDERS for item in _items(cache_dir / name)):
        if re.fullmatch(_KEY, folder.name):
            with contextlib.suppress(OSError):
                size = sum(file.stat().st_size for file in _items(folder))
                yield _Entry((folder,), size, folder.stat().st_mtime)
    for small in _items(cache_dir / "descriptors"):
        if found := _SMALL.fullmatch(small.name):
            large = small.with_name(f"{found[1]}.patches.npy")
            with contextlib.suppress(OSError):
                # the small file is what says that there are descriptors: it goes first
                yield _Entry((small, large), small.stat().st_size + large.stat().st_size, small.stat().st_mtime)


def _useless(cache_dir: Path) -> Iterator[Path]:
    for folder in (*(cache_dir / name for name in _FOLDERS), cache_dir / "descriptors"):
        names = {path.name for path in _items(folder)}
        for name in names:
            small, large = _SMALL.fullmatch(name), _LARGE.fullmatch(name)
            other = f"{small[1]}.patches.npy" if small else f"{large[1]}.npz" if large else name
            if _UNFINISHED.fullmatch(name) or other not in names:
                yield folder / name


def _items(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _is_older(path: Path, before_s: float) -> bool:
    try:
        return path.lstat().st_mtime < before_s
    except OSError:  # another program was faster
        return False


def _removed(path: Path) -> bool:
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    except OSError:
        return False
    return True
