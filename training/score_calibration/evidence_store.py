"""Evidence of rendered scenes on disk: a file a scene, and the rows of many scenes together.

Held out are every fifth scene and, with them, the objects of every fifth group of four: no object of a scene that is
fitted on is in one that is held out, not even its twin in other paint.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ism_ros.matching.calibration import FEATURES
from ism_ros.runtime.atomic_files import open_atomically

HELD_OUT_EVERY = 5
"""One scene, and one group of objects, in this many is held out."""
TWINS = 4
"""Objects of a group; objects of the same shape are in the same one (training_scenes/random_objects.py)."""
MIN_PIXELS = 150
"""Least visible pixels of an instance that is to be found."""
MIN_IOU = 0.5
"""Least IoU of a mask that is right."""

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class EvidenceRows:
    """Verified poses of many scenes; H poses, F features. Numbers of instances and proposals are of all scenes.

    Attributes:
        features: (H, F) float32, as of matching.calibration.
        iou: (H, 2) float32, of the silhouette and of the proposal with the best instance of the pose's object.
        instance: (H, 2) int64, which instance that is; -1 = none.
        proposal: (H,) int64.
        object: (H,) int64, number of the object in the library of its scene.
        to_be_found: (I,) int64, instances of known objects that are well visible.
        scenes: Number of scenes.
    """

    features: NDArray[np.float32]
    iou: NDArray[np.float32]
    instance: NDArray[np.int64]
    proposal: NDArray[np.int64]
    object: NDArray[np.int64]
    to_be_found: NDArray[np.int64]
    scenes: int

    def __len__(self) -> int:
        """Number of poses, H."""
        return len(self.features)

    @property
    def labels(self) -> NDArray[np.float32]:
        """(H, 2) float32, 1 where the silhouette, and the proposal, is right."""
        return (self.iou >= MIN_IOU).astype(np.float32)


def no_evidence() -> Arrays:
    """Make the arrays of a scene in which nothing could be verified.

    Returns:
        Arrays as of `EvidenceRows`, but for `to_be_found`.
    """
    return {
        "features": np.zeros((0, FEATURES), np.float32),
        "iou": np.zeros((0, 2), np.float32),
        "instance": np.zeros((0, 2), np.int64),
        "proposal": np.zeros(0, np.int64),
        "object": np.zeros(0, np.int64),
    }


def evidence_file(data: Path, number: int) -> Path:
    """Name the file of a scene.

    Args:
        data: The folder of data.
        number: Number of the scene.

    Returns:
        data/evidence/NNNN.npz.
    """
    return data / "evidence" / f"{number:04d}.npz"


def is_held_out(scene: int) -> bool:
    """Say whether a scene is held out.

    Args:
        scene: Its number.

    Returns:
        True for every fifth.
    """
    return scene % HELD_OUT_EVERY == 0


def objects_of_scene(scene: int, objects: int) -> NDArray[np.int64]:
    """Number the objects that may be in a scene.

    Args:
        scene: Number of the scene.
        objects: Number of objects in all.

    Returns:
        Those that are held out, or those that are not.
    """
    numbers = np.arange(objects)
    return numbers[((numbers // TWINS) % HELD_OUT_EVERY == 0) == is_held_out(scene)]


def write_evidence(path: Path, arrays: Arrays) -> None:
    """Write the evidence of a scene; the file appears whole or not at all.

    Args:
        path: The .npz file.
        arrays: Of `make_evidence_of_scene`.
    """
    with open_atomically(path, "wb") as stream:
        np.savez_compressed(stream, **arrays)


def find_scenes(data: Path) -> list[int]:
    """Number the scenes whose evidence is there.

    Args:
        data: The folder of data.

    Returns:
        Their numbers, in order.
    """
    return sorted(int(path.stem) for path in (data / "evidence").glob("[0-9]*.npz"))


def read_evidence(data: Path, scenes: Sequence[int]) -> EvidenceRows:
    """Read the evidence of scenes.

    Args:
        data: The folder of data.
        scenes: Their numbers, at least one.

    Returns:
        All rows.
    """
    parts: dict[str, list[NDArray[Any]]] = {}
    first = {"instance": 0, "proposal": 0}
    for scene in scenes:
        with np.load(evidence_file(data, scene)) as stored:
            arrays = {name: stored[name] for name in stored.files}
        instances = arrays["instance"], arrays["to_be_found"]
        counts = {
            "instance": max(int(part.max(initial=-1)) for part in instances) + 1,
            "proposal": int(arrays["proposal"].max(initial=-1)) + 1,
        }
        arrays["instance"] = np.where(arrays["instance"] >= 0, arrays["instance"] + first["instance"], -1)
        arrays["to_be_found"] = arrays["to_be_found"] + first["instance"]
        arrays["proposal"] = arrays["proposal"] + first["proposal"]
        first = {name: first[name] + count for name, count in counts.items()}
        for name, array in arrays.items():
            parts.setdefault(name, []).append(array)
    return EvidenceRows(**{name: np.concatenate(arrays) for name, arrays in parts.items()}, scenes=len(scenes))
