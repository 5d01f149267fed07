"""JSON and mask files of BOP datasets, with one line that names the file where one is not what it should be."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ism_ros.errors import first_line
from ism_ros.io.image_decoding import decode_unchanged
from ism_ros.runtime.atomic_files import write_atomically

Fields = dict[str, Callable[[Any], Any]]
"""Names of fields, and the functions that check their values: KeyError, TypeError or ValueError where one is bad."""


class BopFileError(ValueError):
    """A file or folder of a dataset that cannot be used; the message names it and says what is expected."""


def read_json(path: Path, kind: type, expected: str) -> Any:
    """Read a JSON file.

    Args:
        path: The file.
        kind: list or dict.
        expected: What the file should hold, in words.

    Returns:
        Its content.

    Raises:
        BopFileError: It cannot be read, is no JSON, or of another kind.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BopFileError(f"{path} cannot be read ({error.strerror or error}); expected {expected}") from None
    except ValueError as error:
        raise BopFileError(f"{path} is not JSON ({first_line(error)}); expected {expected}") from None
    if not isinstance(content, kind):
        raise BopFileError(f"{path} is a JSON {type(content).__name__}; expected {expected}")
    return content


def write_json(path: Path, content: Any, indent: int | None = None) -> None:
    """Write a JSON file whole or not at all.

    Args:
        path: The file.
        content: What json.dumps takes.
        indent: Spaces a level; None = all on one line.
    """
    write_atomically(path, json.dumps(content, indent=indent))


def numbered(path: Path, content: dict[str, Any]) -> dict[int, Any]:
    """Convert keys to numbers, as the files of a scene and models_info.json have them.

    Args:
        path: The file, for messages.
        content: Its content.

    Returns:
        The same with numbers as keys.

    Raises:
        BopFileError: A key is no number.
    """
    try:
        return {int(key): value for key, value in content.items()}
    except ValueError:
        odd = next(key for key in content if not key.lstrip("-").isdigit())
        raise BopFileError(f"{path}: key '{odd}' is no number; expected numbers of images or objects") from None


def pick_fields(path: Path, where: str, entry: Any, fields: Fields) -> dict[str, Any]:
    """Take fields of an entry, each through its function.

    Args:
        path: The file, for messages.
        where: Which entry of it, for messages.
        entry: The entry.
        fields: Names, and the functions that convert and check the values.

    Returns:
        The converted values by name.

    Raises:
        BopFileError: A field is missing or has a bad value.
    """
    found = {}
    for name, convert in fields.items():
        if not isinstance(entry, dict) or name not in entry:
            raise BopFileError(f"{path}: {where} has no '{name}'")
        try:
            found[name] = convert(entry[name])
        except (KeyError, TypeError, ValueError):
            raise BopFileError(f"{path}: {where}: '{name}' cannot be {str(entry[name])[:40]!r}") from None
    return found


def read_mask(path: Path) -> NDArray[np.bool_]:
    """Read a mask image.

    Args:
        path: PNG.

    Returns:
        (H, W) bool, True where it is not 0.

    Raises:
        BopFileError: It cannot be read.
    """
    try:
        content = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise BopFileError(f"mask {path} cannot be read: {error.strerror or error}") from None
    image = decode_unchanged(content)
    if image is None:
        raise BopFileError(f"{path} is not an image that can be read (a PNG with one channel expected)")
    return np.asarray((image if image.ndim == 2 else image.max(axis=2)) > 0)
