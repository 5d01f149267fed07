"""Ground truth of the fake camera's frames on disk: truth.json, truth_N.png and stamps.csv in one folder.

truth_N.png: 16-bit, 0 = no object, k = instances[k - 1] of view N in truth.json. stamps.csv: a line
`stamp_ns,view` for each frame published.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ism_ros.runtime.atomic_files import write_atomically
from ism_ros.sim.synthesis.ground_truth import GroundTruth

STAMPS = "stamps.csv"
"""Name of the file that maps stamps to views."""
TRUTH = "truth.json"
"""Name of the file that lists the instances of each view."""


@dataclass(frozen=True)
class TrueInstance:
    """One object in one view.

    Attributes:
        name: Its class.
        known: Whether it is one of the objects that are to be found.
        visible_share: Visible pixels out of all that the object alone would cover, in [0, 1].
        mask: (H, W) bool, visible pixels.
    """

    name: str
    known: bool
    visible_share: float
    mask: NDArray[np.bool_]


def clear(folder: Path) -> None:
    """Create the folder and remove what an earlier run wrote there.

    Args:
        folder: The folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in [*folder.glob("truth_*.png"), folder / TRUTH, folder / STAMPS]:
        old.unlink(missing_ok=True)


def write_view(folder: Path, view: int, truth: GroundTruth) -> None:
    """Add one view.

    Args:
        folder: The folder.
        view: Number of the view, from 0.
        truth: What is visible in it.
    """
    labels = np.zeros(truth.masks.shape[1:], np.uint16)
    for number, mask in enumerate(truth.masks, start=1):
        labels[mask] = number
    name = f"truth_{view}.png"
    cv2.imwrite(str(folder / name), labels)
    path = folder / TRUTH
    content: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"views": {}}
    content["views"][str(view)] = {"mask": name, "instances": _instances(truth)}
    write_atomically(path, json.dumps(content, indent=1))


def _instances(truth: GroundTruth) -> list[dict[str, Any]]:
    rows = []
    for k, name in enumerate(truth.names):
        v, u = np.nonzero(truth.masks[k])
        rows.append(
            {
                "object": name,
                "known": bool(truth.known[k]),
                "visible_share": round(float(truth.visible_share[k]), 4),
                "bbox_xywh": [int(u.min()), int(v.min()), int(np.ptp(u)) + 1, int(np.ptp(v)) + 1],
                "object_to_camera": truth.object_to_camera[k].round(6).tolist(),
            }
        )
    return rows


def read_views(folder: Path) -> dict[int, list[TrueInstance]]:
    """Read the views written so far.

    Args:
        folder: The folder.

    Returns:
        Instances by number of the view; empty where there are none.
    """
    path = folder / TRUTH
    if not path.exists():
        return {}
    views = {}
    for number, view in json.loads(path.read_text())["views"].items():
        labels = cv2.imread(str(folder / view["mask"]), cv2.IMREAD_UNCHANGED)
        views[int(number)] = [
            TrueInstance(row["object"], row["known"], row["visible_share"], np.asarray(labels == k))
            for k, row in enumerate(view["instances"], start=1)
        ]
    return views


def read_stamps(folder: Path) -> dict[int, int]:
    """Read which view was published with which stamp.

    Args:
        folder: The folder.

    Returns:
        Number of the view by stamp in nanoseconds.
    """
    path = folder / STAMPS
    if not path.exists():
        return {}
    # The last line may still be incomplete.
    lines = path.read_text().split("\n")[:-1]
    return {int(stamp): int(view) for stamp, view in (line.split(",") for line in lines)}
