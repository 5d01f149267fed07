"""Paths in requests: only inside of the declared folders, whatever links and dots they contain."""

from __future__ import annotations

import os
from pathlib import Path

from ism_ros.server.errors import RequestError

MAX_DEPTH = 64
"""Folders in one path, at most."""


class DataDirectories:
    """The folders that paths of requests may lie in."""

    def __init__(self, data_root: str) -> None:
        """Initialize.

        Args:
            data_root: The folders, separated as in PATH; relative paths start at the first.
        """
        self._directories = [Path(part).expanduser().resolve() for part in data_root.split(os.pathsep) if part]

    @property
    def first(self) -> Path:
        """The folder at which relative paths start."""
        return self._directories[0]

    def existing(self, text: str, what: str) -> Path:
        """Check the path of a file or folder that is to be read.

        Args:
            text: The path as the request has it.
            what: The field it is from, for error messages.

        Returns:
            The absolute path, links followed.

        Raises:
            RequestError: 400 for what is no path, 403 outside of the folders, 404 where it is not there.
        """
        path = self.inside(text, what)
        try:
            is_there = path.exists()
        except OSError:  # a name longer than file systems allow
            is_there = False
        if not is_there:
            raise RequestError(404, f"{what} {text[:200]} does not exist; relative paths start at ISM_DATA_ROOT")
        return path

    def inside(self, text: str, what: str) -> Path:
        """Check a path whose file or folder need not be there yet.

        A folder with a link to something outside counts as outside: who reads or writes its files follows the link.

        Args:
            text: The path as the request has it.
            what: The field it is from, for error messages.

        Returns:
            The absolute path, links followed.

        Raises:
            RequestError: 400 for what is no path, 403 outside of the folders.
        """
        if not text or "\0" in text:
            raise RequestError(400, f"{what} must be a path, not {text[:200]!r}")
        if len(Path(text).parts) > MAX_DEPTH:
            raise RequestError(400, f"{what} is more than {MAX_DEPTH} folders deep: choose one nearer to ISM_DATA_ROOT")
        try:
            # links are followed before the path is checked
            path = (self.first / Path(text)).resolve()
        except (OSError, RuntimeError, ValueError):
            raise RequestError(400, f"{what} {text[:200]!r} is not a path that can be followed") from None
        if not self._holds(path):
            raise RequestError(
                403, f"{what} {text[:200]} lies outside of the folders that this server may read: set ISM_DATA_ROOT"
            )
        for link in _links_in(path):
            if not self._holds(Path(os.path.realpath(link))):
                raise RequestError(
                    403,
                    f"{what} {text[:200]} has a link, {link.name}, to something outside of the folders that this "
                    "server may read: set ISM_DATA_ROOT",
                )
        return path

    def holding(self, path: Path) -> Path:
        """Return the declared folder in which a path lies.

        Args:
            path: A path that `inside` returned.
        """
        return next(folder for folder in self._directories if path.is_relative_to(folder))

    def _holds(self, path: Path) -> bool:
        return any(path.is_relative_to(folder) for folder in self._directories)


def _links_in(path: Path) -> list[Path]:
    """List the links in a folder; what cannot be read is noticed by who needs its contents."""
    try:
        return [entry for entry in path.iterdir() if entry.is_symlink()]
    except OSError:
        return []
