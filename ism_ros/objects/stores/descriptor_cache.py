"""Descriptors of one object on disk: a small .npz beside an .npy of patch tokens, single templates of which are read.

The .npz is written last and names the checksums of the .npy: without it, or with one that does not fit, there is no
cache. Each file appears whole or not at all.
"""

from __future__ import annotations

import logging
import os
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ism_ros.checks.input_warnings import InputWarning
from ism_ros.objects.stores.patch_tokens import DamagedFileError, PatchFile, checksums_of
from ism_ros.runtime.cache_folder import DAMAGED, NOT_WRITTEN, mark_used, reason, write_array

Arrays = dict[str, NDArray[np.floating[Any]]]

_ARRAYS = (
    "class_tokens", "rotations", "points_m", "bounds_m", "view_maps", "view_surface_m", "view_reach_m",
    "view_rotations", "view_centre_m",
)  # fmt: skip
_CHECKSUMS = "patch_checksums"
_WARNINGS = "warnings"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CachedDescriptors:
    """arrays: class_tokens (T, D), and where there are any: rotations (T, 3, 3), points_m (K, 3), bounds_m (2, 3), and
    of views.Views view_maps, view_surface_m, view_reach_m (1,), view_rotations and view_centre_m. warnings: what was
    doubtful about the object's files, so that it is said at every start."""

    arrays: Arrays
    patches: PatchFile
    warnings: tuple[InputWarning, ...] = ()


def read_descriptors(stem: Path) -> CachedDescriptors | None:
    """What write_descriptors wrote, or None where there is nothing usable; a warning says that it is damaged.

    Zip checksums tell damage to the small arrays. Of the patch tokens only the size is checked here: PatchFile holds
    every template against its checksum when it is read.
    """
    small = _small(stem)
    if not small.exists():
        return None
    try:
        with np.load(small, allow_pickle=False) as content:
            arrays = {name: content[name] for name in content.files if name in _ARRAYS}
            checksums = tuple(content[_CHECKSUMS].tolist())
            told = content[_WARNINGS].tolist() if _WARNINGS in content.files else []
            warnings = tuple(InputWarning(reason, text) for reason, text in told)
        if len(arrays["class_tokens"]) != len(checksums):
            raise ValueError("arrays of different lengths")
        mark_used(small)
        return CachedDescriptors(arrays, PatchFile(_large(stem), checksums), warnings)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, NotImplementedError) as error:
        warn_damaged(stem, error)
        return None


def warn_damaged(stem: Path, error: Exception) -> None:
    """Says in the log that the cache is damaged and will be made anew."""
    logger.warning(
        "cached descriptors %s are damaged and made anew (%s)", stem, reason(error), extra={"reason": DAMAGED}
    )


def write_descriptors(
    stem: Path, arrays: Arrays, patch_tokens: NDArray[np.generic], warnings: Sequence[InputWarning] = ()
) -> PatchFile | None:
    """Writes whole or not at all; a cache that cannot be written is only worth a warning, and gives None."""
    checksums = checksums_of(patch_tokens)
    unfinished: list[Path] = []
    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
        large = _unfinished(stem, lambda stream: write_array(stream, patch_tokens), unfinished)
        told = np.array([[warning.reason, warning.text] for warning in warnings], dtype=np.str_).reshape(-1, 2)
        with_checksums = {**arrays, _CHECKSUMS: np.array(checksums, np.uint32), _WARNINGS: told}
        small = _unfinished(stem, lambda stream: np.savez(stream, **with_checksums), unfinished)  # type: ignore[arg-type]
        os.replace(large, _large(stem))
        os.replace(small, _small(stem))
        return PatchFile(_large(stem), checksums)
    except (OSError, DamagedFileError) as error:
        for file in unfinished:
            file.unlink(missing_ok=True)
        logger.warning(
            "cannot keep descriptors in %s (%s); going on without",
            stem.parent,
            reason(error),
            extra={"reason": NOT_WRITTEN},
        )
        return None


def _unfinished(stem: Path, write: Callable[[IO[bytes]], None], made: list[Path]) -> Path:
    handle, name = tempfile.mkstemp(prefix=f".{stem.name}.", dir=stem.parent)
    made.append(Path(name))
    with os.fdopen(handle, "wb") as stream:
        write(stream)
    return made[-1]


def _small(stem: Path) -> Path:
    return stem.with_name(f"{stem.name}.npz")


def _large(stem: Path) -> Path:
    return stem.with_name(f"{stem.name}.patches.npy")
