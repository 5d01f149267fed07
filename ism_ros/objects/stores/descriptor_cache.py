"""Descriptors of one object on disk: a small .npz and an .npy of patch tokens, of which single templates are read.

The .npz appears last and names the checksums of the .npy: without it, or with one that does not fit, there is no
cache. Each file appears whole or not at all.
"""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ism_ros.checks.input_warnings import InputWarning
from ism_ros.errors import first_line
from ism_ros.objects.stores.patch_tokens import DamagedFileError, PatchFile, Rebuild, checksums_of
from ism_ros.runtime.atomic_files import open_atomically
from ism_ros.runtime.cache_folder import DAMAGED, mark_used, warn_not_written, write_array

Arrays = dict[str, NDArray[Any]]
"""Small arrays of an object by name; see CachedDescriptors."""

_ARRAYS = (
    "class_tokens", "rotations", "points_m", "bounds_m", "view_maps", "view_surface_m", "view_reach_m",
    "view_rotations", "view_centre_m", "surface_points_m", "surface_normals", "surface_colors", "surface_spacing_m",
    "surface_centre_m", "surface_of_view", "surface_is_rim",
)  # fmt: skip
_CHECKSUMS = "patch_checksums"
_WARNINGS = "warnings"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CachedDescriptors:
    """Descriptors as they are cached.

    Attributes:
        arrays: class_tokens (T, D), and where there are any: rotations (T, 3, 3), points_m (K, 3), bounds_m (2, 3), and
            of `rendering.views.polar_maps.ViewMaps` view_maps, view_surface_m, view_reach_m (1,), view_rotations and
            view_centre_m, and of `rendering.views.surface_samples.SurfaceSamples` surface_points_m, surface_normals,
            surface_colors, surface_spacing_m (1,), surface_centre_m, surface_of_view and surface_is_rim.
        patches: The file of patch tokens.
        warnings: What was doubtful about the object's files, so that it is said at every start.
    """

    arrays: Arrays
    patches: PatchFile
    warnings: tuple[InputWarning, ...] = ()


def read_descriptors(stem: Path, rebuild: Rebuild | None = None) -> CachedDescriptors | None:
    """Read what `write_descriptors` wrote.

    Checksums of the zip format find damage in the small arrays. Of the patch tokens only the size is checked here:
    PatchFile checks every template when it is read.

    Args:
        stem: Path of both files, without their suffixes.
        rebuild: Writes the file of patch tokens again where it turns out to be damaged later.

    Returns:
        The descriptors; None where there is nothing usable, with a warning in the log where it is damaged.
    """
    small = _small(stem)
    if not small.exists():
        return None
    try:
        with np.load(small, allow_pickle=False) as content:
            arrays = {name: content[name] for name in content.files if name in _ARRAYS}
            checksums = tuple(content[_CHECKSUMS].tolist())
            rows = content[_WARNINGS].tolist() if _WARNINGS in content.files else []
            warnings = tuple(InputWarning(reason, text) for reason, text in rows)
        if len(arrays["class_tokens"]) != len(checksums):
            raise ValueError("arrays of different lengths")
        mark_used(small)
        return CachedDescriptors(arrays, PatchFile(_large(stem), checksums, rebuild), warnings)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, NotImplementedError) as error:
        warn_damaged(stem, error)
        return None


def warn_damaged(stem: Path, error: Exception) -> None:
    """Warn in the log that cached descriptors are damaged and rebuilt.

    Args:
        stem: Path of their files, without suffixes.
        error: What is wrong with them.
    """
    logger.warning(
        "cached descriptors %s are damaged and rebuilt (%s)", stem, first_line(error), extra={"reason": DAMAGED}
    )


def write_descriptors(
    stem: Path,
    arrays: Arrays,
    patch_tokens: NDArray[np.generic],
    warnings: Sequence[InputWarning] = (),
    rebuild: Rebuild | None = None,
) -> PatchFile | None:
    """Cache descriptors, whole or not at all.

    Args:
        stem: Path of both files, without their suffixes.
        arrays: As of CachedDescriptors.
        patch_tokens: (T, P, C) float32 or float16.
        warnings: As of CachedDescriptors.
        rebuild: As of `read_descriptors`.

    Returns:
        The file of patch tokens; None, with a warning in the log, where the cache cannot be written.
    """
    checksums = checksums_of(patch_tokens)
    rows = np.array([[warning.reason, warning.text] for warning in warnings], dtype=np.str_).reshape(-1, 2)
    with_checksums = {**arrays, _CHECKSUMS: np.array(checksums, np.uint32), _WARNINGS: rows}
    try:
        with open_atomically(_small(stem), "wb") as small:
            np.savez(small, **with_checksums)  # type: ignore[arg-type]
            small.flush()  # a full disk shows here, before the large file gets its place
            with open_atomically(_large(stem), "wb") as large:
                write_array(large, patch_tokens)
        return PatchFile(_large(stem), checksums, rebuild)
    except (OSError, DamagedFileError) as error:
        warn_not_written(stem.parent, first_line(error))
        return None


def _small(stem: Path) -> Path:
    return stem.with_name(f"{stem.name}.npz")


def _large(stem: Path) -> Path:
    return stem.with_name(f"{stem.name}.patches.npy")
