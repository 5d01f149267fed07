"""Environments of subprocesses: with and without what this setup or a ROS distribution has added to the shell's."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

OWN_MARK = ".ism_ros_prefix"
"""File in the prefixes made here: distinguishes what a shell has sourced of them from a ROS distribution."""
PATH_VARIABLES = (
    "AMENT_PREFIX_PATH", "CMAKE_PREFIX_PATH", "COLCON_PREFIX_PATH", "LD_LIBRARY_PATH", "PATH", "PYTHONPATH",
)  # fmt: skip
"""Variables that hold lists of paths."""


def split_path(value: str | None) -> list[str]:
    """The non-empty entries of a PATH-like variable."""
    return [entry for entry in (value or "").split(os.pathsep) if entry]


def is_own(entry: str) -> bool:
    """Whether a path lies in a prefix made by this script, of this checkout or another."""
    path = Path(entry)
    return any((folder / OWN_MARK).exists() for folder in (path, *path.parents))


def foreign_entries(value: str | None) -> list[str]:
    """The entries of a PATH-like variable that this script has not made."""
    return [entry for entry in split_path(value) if not is_own(entry)]


def without_own(env: dict[str, str]) -> dict[str, str]:
    """An environment as if no .ros2/setup.bash had been sourced, and without what a surrounding make adds."""
    env = dict(env)
    for name in PATH_VARIABLES:
        if name in env:
            env[name] = os.pathsep.join(foreign_entries(env[name]))
    for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "VIRTUAL_ENV"):
        env.pop(name, None)
    return env


def clean_environment() -> dict[str, str]:
    """The environment without any ROS, which would leak into a build."""
    env = without_own(dict(os.environ))
    for name in (
        "AMENT_PREFIX_PATH", "CMAKE_PREFIX_PATH", "COLCON_PREFIX_PATH", "PYTHONPATH", "PYTHONHOME",
        "_ROS_WHEELS_BOOTSTRAP_COMPLETE", "PYENV_VERSION",
    ):  # fmt: skip
        env.pop(name, None)
    return env


def run_quiet(command: list[str], env: dict[str, str] | None = None) -> str | None:
    """Standard output of a command, or None when it cannot be run or fails."""
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env, check=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode().strip()
