"""Paths as ROS names them: package:// and file:// URIs, and plain ones."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

# Path collapses the second slash, so that a URI which went through it has one.
_URI = re.compile(r"^(package|file|model|https?):/+", re.IGNORECASE)


def resolve_path(text: str, folder: Path) -> Path:
    """Resolve a path or URI of a file.

    Args:
        text: a path, relative to `folder` or not, `~` allowed; `file:///path`; or `package://NAME/path`, which lies
            below share/NAME of the first prefix in AMENT_PREFIX_PATH that has that package.
        folder: what relative paths start from.

    Returns:
        The path, whether anything is there or not.

    Raises:
        ValueError: for a package that is not installed, or a URI of another kind.
    """
    match = _URI.match(text)
    if match is None:
        return folder / Path(text).expanduser()
    scheme, rest = match[1].lower(), text[match.end() :]
    if scheme == "file":
        return Path("/" + unquote(rest))
    if scheme == "package":
        package, _, inside = rest.partition("/")
        return _share_folder(package, text) / unquote(inside)
    raise ValueError(f"'{text}' is a {urlsplit(text).scheme} URI; give a path, package://NAME/path or file:///path")


def _share_folder(package: str, uri: str) -> Path:
    prefixes = [Path(entry) for entry in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if entry]
    for prefix in prefixes:
        if (prefix / "share" / "ament_index" / "resource_index" / "packages" / package).is_file():
            return prefix / "share" / package
    raise ValueError(
        f"'{uri}': package '{package}' is not installed in this environment; source the workspace that has it, or "
        "give a path"
    )
