"""Coarse poses compared with the truth on simulated tables: how far off, and whether their covariance says so.

    python benchmarks/pose_accuracy.py                     25 scenes, 5 sets of 5 known objects
    python benchmarks/pose_accuracy.py --seed 6000 --first-set 10    other scenes and objects

Scenes are those of detection_ap.py. Every detection of the right name whose mask has an IoU of at least 0.5 with that
of a known object counts, at the node's default threshold.

Rotation: the angle to the true one, symmetries of the shape aside: rotations that move 97 % of the object's surface by
less than 4 % of its diameter, at least 45 degrees, or any about an axis about which all rotations do so. Translation:
distance between the found and the true origin of the object, the middle of its box.

Calibration: share of the true poses inside the region that a normal distribution with the given covariance puts 50, 90
and 99 % into; rotations without taking symmetries aside. A pose counts as warned where the covariance's standard
deviation (root of the trace) is above the limit.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

from ism_ros.runtime.threads import configure_thread_env

configure_thread_env()

import numpy as np
import torch
from common.scene_sets import make_object_set, observe_scene
from common.symmetries import symmetries_of
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.spatial.transform import Rotation
from scipy.stats import chi2

from ism_ros.config.settings import Settings
from ism_ros.data.detections import Detections
from ism_ros.loading import load_model

Array = NDArray[np.float64]

SPACING_DEG = 36.0
"""Largest angle between a template and the nearest other one, degrees; between views it is half of that."""
LIMIT_M = 0.02
"""Largest error of a translation that counts as right, metres."""
LEVELS = (0.5, 0.9, 0.99)
"""Confidence levels of the calibration."""


@dataclass
class Result:
    """One detection compared with the truth, in radians and metres.

    Attributes:
        name: Class of the object.
        angle: Rotation error, symmetries aside.
        rotation_offset: (3,) rotation vector from the found to the true rotation.
        translation_offset: (3,) true minus found translation.
        covariance: (6, 6) of translation and rotation.
        geometric: Geometric score.
        visible: Visible share of the instance.
    """

    name: str
    angle: float
    rotation_offset: Array
    translation_offset: Array
    covariance: Array
    geometric: float
    visible: float


def main() -> None:
    """Print and write the errors of all poses."""
    options = _options()
    console = Console()
    out = Path(options.output)
    results: list[Result] = []
    seconds: list[float] = []
    for number in range(options.first_set, options.first_set + options.sets):
        known = make_object_set(number, out)
        settings = Settings(
            objects_file=str(known.objects_file),
            cache_dir=str(out / "cache"),
            segmentor=options.segmentor,
            descriptor=options.descriptor,
        )
        with console.status("onboarding") as status:
            model = load_model(settings, progress=status.update)
        symmetries = {name: symmetries_of(mesh) for name, mesh in known.meshes.items()}
        indices = range(number - options.first_set, options.scenes, options.sets)
        for scene in track([options.seed + index for index in indices], f"set {number}", console=console):
            frame, truth = observe_scene(scene, known, out)
            found = model.segment(frame)
            seconds.append(found.stage_s["pose"])
            for row in range(len(found)):
                instance = _instance(found, row, truth.masks, truth.names, truth.known)
                if instance is not None:
                    true = truth.object_to_camera[instance]
                    visible = float(truth.visible_share[instance])
                    results.append(_result(found, row, true, symmetries[found.class_id(row)], visible))
    report = _report(console, results, options.scenes)
    report["pose_ms_a_frame"] = {"median": 1e3 * float(np.median(seconds)), "most": 1e3 * max(seconds)}
    console.print(f"poses of a frame: median {1e3 * np.median(seconds):.1f} ms, most {1e3 * max(seconds):.1f} ms")
    (out / "pose_accuracy.json").write_text(json.dumps(report, indent=2))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=25, help="how many scenes")
    parser.add_argument("--seed", type=int, default=5000, help="number of the first scene")
    parser.add_argument("--sets", type=int, default=5, help="how many sets of 5 known objects take turns")
    parser.add_argument("--first-set", type=int, default=0, help="number of the first set of known objects")
    parser.add_argument("--segmentor", default="tiny")
    parser.add_argument("--descriptor", default="tiny")
    parser.add_argument("--output", default="out/benchmark", help="folder of scenes and results")
    return parser.parse_args()


def _instance(
    found: Detections, row: int, masks: NDArray[np.bool_], names: tuple[str, ...], known: NDArray[np.bool_]
) -> int | None:
    """The true instance that a detection is, None where it is none or has another's name."""
    mask = found.masks[row].numpy()
    ious = (masks & mask).sum(axis=(1, 2)) / np.maximum((masks | mask).sum(axis=(1, 2)), 1)
    best = int(ious.argmax())
    return best if ious[best] >= 0.5 and known[best] and names[best] == found.class_id(row) else None


def _result(found: Detections, row: int, true: Array, symmetries: Array, visible: float) -> Result:
    rotation, translation = found.rotation[row].double().numpy(), found.translation_m[row].double().numpy()
    assert found.pose_covariance is not None
    assert torch.isfinite(found.pose_covariance[row]).all()
    return Result(
        name=found.class_id(row),
        angle=float(Rotation.from_matrix(rotation.T @ true[:3, :3] @ symmetries).magnitude().min()),
        rotation_offset=Rotation.from_matrix(true[:3, :3] @ rotation.T).as_rotvec(),
        translation_offset=true[:3, 3] - translation,
        covariance=found.pose_covariance[row].double().numpy(),
        geometric=float(found.geometric_score[row]),
        visible=visible,
    )


def _report(console: Console, results: list[Result], scenes: int) -> dict[str, object]:
    table = Table(title=f"{len(results)} poses in {scenes} scenes")
    for column in ("object", "poses", "rotation", "<= 36 deg", "translation", "<= 2 cm"):
        table.add_column(column, justify="left" if column == "object" else "right")
    report: dict[str, object] = {"scenes": scenes, "poses": len(results), "objects": {}}
    groups = {name: [r for r in results if r.name == name] for name in sorted({r.name for r in results})}
    for name, some in [*groups.items(), ("all", results)]:
        degrees = np.degrees([r.angle for r in some])
        metres = np.array([np.linalg.norm(r.translation_offset) for r in some])
        numbers = {
            "rotation_deg": float(np.median(degrees)),
            "rotation_within_spacing": float((degrees <= SPACING_DEG).mean()),
            "translation_mm": 1e3 * float(np.median(metres)),
            "translation_within_2cm": float((metres <= LIMIT_M).mean()),
        }
        if name == "all":
            table.add_section()
        table.add_row(
            name,
            str(len(some)),
            f"{numbers['rotation_deg']:.0f} deg",
            f"{numbers['rotation_within_spacing']:.0%}",
            f"{numbers['translation_mm']:.0f} mm",
            f"{numbers['translation_within_2cm']:.0%}",
        )
        report.update(numbers if name == "all" else {})
        if name != "all":
            report["objects"][name] = {"poses": len(some), **numbers}  # type: ignore[index]
    console.print(table)
    bias_mm = 1e3 * np.mean([r.translation_offset for r in results], axis=0)
    report["translation_bias_mm"] = bias_mm.tolist()
    console.print(f"mean offset of translations (x y z): {bias_mm[0]:.1f} {bias_mm[1]:.1f} {bias_mm[2]:.1f} mm")
    for what, part, offsets in (
        ("rotation", slice(3, 6), [r.rotation_offset for r in results]),
        ("translation", slice(0, 3), [r.translation_offset for r in results]),
    ):
        parts = [r.covariance[part, part] for r in results]
        squared = np.array([o @ np.linalg.solve(c, o) for o, c in zip(offsets, parts, strict=True)])
        inside = [float((squared <= chi2.ppf(level, 3)).mean()) for level in LEVELS]
        deviations = np.sqrt([np.trace(c) for c in parts])
        off = np.array([r.angle for r in results] if what == "rotation" else [np.linalg.norm(o) for o in offsets])
        limit = np.radians(SPACING_DEG) if what == "rotation" else LIMIT_M
        wrong = off > limit
        said = float((deviations[wrong] > limit).mean()) if wrong.any() else 1.0
        sure = deviations <= limit
        right = float((off[sure] <= limit).mean()) if sure.any() else 1.0
        shares = ", ".join(f"{share:.0%} of {level:.0%}" for share, level in zip(inside, LEVELS, strict=True))
        console.print(
            f"covariance of the {what}: inside {shares}; beyond the limit {wrong.sum()}, of which warned {said:.0%}; "
            f"sure {sure.mean():.0%}, of which within the limit {right:.0%}"
        )
        report[f"{what}_calibration"] = {
            "inside": dict(zip(map(str, LEVELS), inside, strict=True)),
            "beyond_limit": int(wrong.sum()), "warned_of_these": said,
            "sure": float(sure.mean()), "within_limit_of_sure": right,
        }  # fmt: skip
    return report


if __name__ == "__main__":
    main()
