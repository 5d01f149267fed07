"""What a simulated camera really saw, for whoever compares: truth.json, truth_N.png and stamps.csv in one folder.

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

from ism_ros.sim.benchmark_scenes.table_scene import Truth

STAMPS = "stamps.csv"
TRUTH = "truth.json"


@dataclass(frozen=True)
class TrueInstance:
    """One object in one view. mask: (H, W) bool. visible_share: see scenes.Truth."""

    name: str
    known: bool
    visible_share: float
    mask: NDArray[np.bool_]


def clear(folder: Path) -> None:
    """Makes `folder` and removes what an earlier run wrote there."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in [*folder.glob("truth_*.png"), folder / TRUTH, folder / STAMPS]:
        old.unlink(missing_ok=True)


def write_view(folder: Path, view: int, truth: Truth) -> None:
    """Adds one view to the folder."""
    labels = np.zeros(truth.masks.shape[1:], np.uint16)
    for number, mask in enumerate(truth.masks, start=1):
        labels[mask] = number
    name = f"truth_{view}.png"
    cv2.imwrite(str(folder / name), labels)
    path = folder / TRUTH
    content: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"views": {}}
    content["views"][str(view)] = {"mask": name, "instances": _instances(truth)}
    unfinished = path.with_suffix(".part")
    unfinished.write_text(json.dumps(content, indent=1))
    unfinished.replace(path)


def _instances(truth: Truth) -> list[dict[str, Any]]:
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
    """The views written so far; empty where there are none."""
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
    """View of each stamp (nanoseconds) published so far."""
    path = folder / STAMPS
    if not path.exists():
        return {}
    # The last line may still be in the making.
    lines = path.read_text().split("\n")[:-1]
    return {int(stamp): int(view) for stamp, view in (line.split(",") for line in lines)}
