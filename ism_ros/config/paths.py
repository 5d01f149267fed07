"""Where files of the user go when no setting names a folder (platformdirs; on Linux the XDG base directories)."""

from __future__ import annotations

from pathlib import Path

from platformdirs import user_cache_path, user_data_path

APPLICATION = "ism_ros"
"""Folder of this program within those of the user."""


def default_cache_dir() -> Path:
    """Name the folder of templates and descriptors, which may be deleted at any time.

    Returns:
        On Linux $XDG_CACHE_HOME/ism_ros, or ~/.cache/ism_ros.
    """
    return user_cache_path(APPLICATION, appauthor=False)


def default_checkpoints_dir() -> Path:
    """Name the folder of downloaded checkpoints.

    Returns:
        On Linux $XDG_DATA_HOME/ism_ros/checkpoints, or ~/.local/share/ism_ros/checkpoints.
    """
    return user_data_path(APPLICATION, appauthor=False) / "checkpoints"


def default_server_dir() -> Path:
    """Name the folder of objects that were uploaded to the server, and of its jobs.

    Returns:
        On Linux $XDG_DATA_HOME/ism_ros/server, or ~/.local/share/ism_ros/server.
    """
    return user_data_path(APPLICATION, appauthor=False) / "server"
