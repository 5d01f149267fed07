"""The folder of training data: where objects, scenes and templates are, and the bank of its objects."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ism_ros.runtime.atomic_files import write_atomically
from training.training_scenes.random_objects import BankObject, read_object

SHARD = 50
"""Scenes a shard."""


def object_file(data: Path, number: int) -> Path:
    """Name the file of an object.

    Args:
        data: The folder of data.
        number: Number of the object.

    Returns:
        data/objects/NNNN.npz.
    """
    return data / "objects" / f"{number:04d}.npz"


def shard_folder(data: Path, number: int) -> Path:
    """Name the folder of a shard.

    Args:
        data: The folder of data.
        number: Number of the shard.

    Returns:
        data/scenes/NNNN.
    """
    return data / "scenes" / f"{number:04d}"


def template_file(data: Path, number: int) -> Path:
    """Name the file of an object's templates.

    Args:
        data: The folder of data.
        number: Number of the object.

    Returns:
        data/templates/NNNN.npz.
    """
    return data / "templates" / f"{number:04d}.npz"


def read_description(data: Path) -> dict[str, Any]:
    """Read data.json: seeds and counts.

    Args:
        data: The folder of data.

    Returns:
        Its content.
    """
    return dict(json.loads((data / "data.json").read_text(encoding="utf-8")))


def write_description(data: Path, about: Mapping[str, Any], scenes: int) -> None:
    """Write data.json, unless it tells of other data.

    Args:
        data: The folder of data.
        about: What may not change: seeds and counts.
        scenes: Number of scenes, which may.

    Raises:
        SystemExit: The folder holds data of other seeds.
    """
    note = data / "data.json"
    if note.exists() and {**read_description(data), "scenes": 0} != {**about, "scenes": 0}:
        raise SystemExit(f"{note} was written with other seeds or objects: choose another folder")
    write_atomically(note, json.dumps({**about, "scenes": scenes}, indent=1) + "\n")


class ObjectBank(Sequence[BankObject]):
    """The first objects of a folder of data, each read when it is first needed and then kept."""

    def __init__(self, data: Path, count: int) -> None:
        """Read nothing yet.

        Args:
            data: The folder of data.
            count: How many objects.
        """
        self._data = data
        self._objects: list[BankObject | None] = [None] * count

    def __len__(self) -> int:
        """Number of objects."""
        return len(self._objects)

    def __getitem__(self, number: int) -> BankObject:  # type: ignore[override]
        """The object of this number."""
        found = self._objects[number]
        if found is None:
            found = self._objects[number] = read_object(object_file(self._data, number))
        return found
