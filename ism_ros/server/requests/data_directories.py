"""Paths in requests: only inside declared folders, whatever links and dots they contain."""

from __future__ import annotations

import os
from pathlib import Path

from ism_ros.server.errors import RequestError

MAX_DEPTH = 64


class Roots:
    """The folders in which paths of requests may lie.

    data_root: separated as in PATH; relative paths start at the first.
    """

    def __init__(self, data_root: str) -> None:
        self._roots = [Path(part).expanduser().resolve() for part in data_root.split(os.pathsep) if part]

    @property
    def first(self) -> Path:
        return self._roots[0]

    def existing(self, text: str, what: str) -> Path:
        """The file or folder that `text` names. Raises RequestError: 403 outside of the roots, 404 not there."""
        path = self.inside(text, what)
        try:
            is_there = path.exists()
        except OSError:  # a name longer than file systems allow
            is_there = False
        if not is_there:
            raise RequestError(404, f"{what} {text[:200]} does not exist; relative paths start at ISM_DATA_ROOT")
        return path

    def inside(self, text: str, what: str) -> Path:
        """The same for something that need not be there yet.

        A folder with a link to something outside counts as outside: who reads or writes its files follows the link.
        """
        if not text or "\0" in text:
            raise RequestError(400, f"{what} must be a path, not {text[:200]!r}")
        if len(Path(text).parts) > MAX_DEPTH:
            raise RequestError(400, f"{what} is more than {MAX_DEPTH} folders deep: choose one nearer to ISM_DATA_ROOT")
        try:
            # links are followed before the path is judged
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
        """The folder that requests may read in which `path` lies."""
        return next(root for root in self._roots if path.is_relative_to(root))

    def _holds(self, path: Path) -> bool:
        return any(path.is_relative_to(root) for root in self._roots)


def _links_in(path: Path) -> list[Path]:
    """None where it is no folder; one that cannot be read is noticed by who needs its contents."""
    try:
        return [entry for entry in path.iterdir() if entry.is_symlink()]
    except OSError:
        return []
