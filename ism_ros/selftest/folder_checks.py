"""Checks of the folders of the cache and of checkpoints."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ism_ros.checkpoints.catalog import CHECKPOINTS, installed_path, partial_path
from ism_ros.selftest.findings import Finding

MIN_FREE_BYTES = 1_000_000_000
"""Free space of a disk below which there is a warning."""


def check_folder(subject: str, folder: Path, setting: str) -> Finding:
    """Check whether files can be written into a folder, or it can be made, and how much space there is.

    Args:
        subject: What is checked.
        folder: The folder.
        setting: Name of the setting that names it, for the advice.

    Returns:
        One finding.
    """
    nearest = folder
    while not nearest.exists() and nearest != nearest.parent:
        nearest = nearest.parent
    advice = f"make it writable, or set {setting} (ISM_{setting.upper()}) to another folder"
    if not nearest.is_dir():
        return Finding(subject, "failed", f"{folder}: {nearest} is a file", advice)
    if not os.access(nearest, os.W_OK | os.X_OK):
        return Finding(subject, "warning", f"{folder} cannot be written", advice)
    free = shutil.disk_usage(nearest).free
    found = f"{folder}, {free / 1e9:.0f} GB free" + ("" if nearest == folder else ", not made yet")
    if free < MIN_FREE_BYTES:
        return Finding(subject, "warning", found, f"make room, or set {setting} to another folder")
    return Finding(subject, "passed", found)


def check_checkpoints_dir(checkpoints_dir: Path) -> list[Finding]:
    """Check the folder of checkpoints and its contents."""
    return [
        check_folder("checkpoints", checkpoints_dir, "checkpoints_dir"),
        check_checkpoints(checkpoints_dir),
    ]


def check_checkpoints(checkpoints_dir: Path) -> Finding:
    """Find out which official checkpoints are installed, and which were downloaded in part.

    Args:
        checkpoints_dir: Folder of checkpoints.

    Returns:
        One finding.
    """
    try:
        here = [name for name, checkpoint in CHECKPOINTS.items() if installed_path(checkpoint, checkpoints_dir)]
    except OSError as error:
        return Finding("models", "failed", f"{checkpoints_dir} cannot be read: {error.strerror}", "make it readable")
    begun = [
        name
        for name, checkpoint in CHECKPOINTS.items()
        if name not in here and partial_path(checkpoints_dir / checkpoint.file_name).is_file()
    ]
    found = ", ".join(here) if here else "no checkpoint: tiny needs none"
    if begun:
        advice = f"ism weights download {' '.join(begun)}"
        return Finding("models", "warning", f"{found}; half fetched: {', '.join(begun)}", advice)
    return Finding("models", "passed", found)
