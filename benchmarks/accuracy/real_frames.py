"""Real frames with the CAD models of what is in them and the truth, as docs/real.md describes their folders."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ism_ros.data.frame import Frame
from ism_ros.io.frame_files import read_frame
from ism_ros.objects.spec import ObjectSpec


@dataclass(frozen=True)
class Instance:
    """One object that is in a frame.

    Attributes:
        object_id: Which one.
        mask: (H, W) bool of its visible pixels, or None where only its box is known.
        box_xyxy: (4,) int64, first and last column and row, both inclusive.
        visible_share: Share of it that nothing hides.
        pose: (4, 4) object to camera, metres, or None where it is not known.
    """

    object_id: str
    mask: NDArray[np.bool_] | None
    box_xyxy: NDArray[np.int64]
    visible_share: float = 1.0
    pose: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class RealFrame:
    """A frame, what is looked for in it, and what is there.

    Attributes:
        name: Name of its folder.
        frame: The frame.
        specs: Objects that are looked for.
        instances: Objects that are there.
        is_complete: Whether those are all instances of the objects; if not, nothing can be called a false detection.
    """

    name: str
    frame: Frame
    specs: tuple[ObjectSpec, ...]
    instances: tuple[Instance, ...]
    is_complete: bool

    @property
    def has_masks(self) -> bool:
        """Whether the mask of every instance is known."""
        return all(instance.mask is not None for instance in self.instances)


def frame_folders(root: Path) -> list[Path]:
    """List the folders of frames.

    Args:
        root: Folder of them.

    Returns:
        Those that have a truth.json, by name.

    Raises:
        SystemExit: There are none.
    """
    folders = sorted(file.parent for file in root.glob("*/truth.json"))
    if not folders:
        raise SystemExit(f"{root} has no folders with a truth.json (docs/real.md describes them)")
    return folders


def read_real_frame(folder: Path, library: Path | None = None) -> RealFrame:
    """Read a frame, its objects and its truth.

    Args:
        folder: The frame's.
        library: A folder whose objects.json lists more objects to look for.

    Returns:
        The frame with everything that belongs to it.
    """
    truth = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
    depth = folder / "depth.png"
    color = next(iter(sorted(folder.glob("rgb.*"))), folder / "rgb.png")
    frame = read_frame(color, depth if depth.is_file() else None, folder / "camera.json")
    specs = object_specs([folder] if library is None else [folder, library])
    instances = tuple(_instance(entry, folder) for entry in truth)
    return RealFrame(folder.name, frame, specs, instances, not any(entry.get("incomplete") for entry in truth))


def object_specs(folders: list[Path]) -> tuple[ObjectSpec, ...]:
    """List the objects of folders.

    Args:
        folders: Each with an objects.json; an object of a later folder whose id is taken is left out.

    Returns:
        The objects, with category ids from 1.
    """
    entries: dict[str, tuple[Path, str]] = {}
    for folder in folders:
        listed = json.loads((folder / "objects.json").read_text(encoding="utf-8"))
        for name, entry in listed.items():
            entries.setdefault(name, (folder / entry["cad"], entry["units"]))
    return tuple(
        ObjectSpec(name, cad.resolve(), units, category_id=number)
        for number, (name, (cad, units)) in enumerate(entries.items(), start=1)
    )


def _instance(entry: dict[str, Any], folder: Path) -> Instance:
    mask = _read_mask(folder / entry["mask"]) if entry.get("mask") else None
    box = _box_of(mask) if mask is not None else np.array(entry["box"], np.int64)
    pose = entry.get("pose")
    return Instance(
        entry["object_id"], mask, box, float(entry.get("visible", 1.0)), None if pose is None else _matrix(pose)
    )


def _read_mask(file: Path) -> NDArray[np.bool_]:
    image = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
    if image is None or not (image > 127).any():
        raise SystemExit(f"mask {file} cannot be read, or has no pixel above 127")
    return image > 127


def _box_of(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    rows, columns = np.nonzero(mask)
    return np.array([columns.min(), rows.min(), columns.max(), rows.max()], np.int64)


def _matrix(pose: dict[str, Any]) -> NDArray[np.float64]:
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(pose["R"], (3, 3))
    matrix[:3, 3] = pose["t_m"]
    return matrix
