"""Real frames with CAD models: what the default finds in them, held against the truth.

    python benchmarks/bench_real.py FOLDER                   each folder in FOLDER is a frame
    python benchmarks/bench_real.py FOLDER --scoring sam6d   another matcher, segmentor, descriptor or threshold
    python benchmarks/bench_real.py FOLDER --variants        each frame brighter, darker and moved too, and the mean

docs/real.md says what a folder holds: rgb, depth, camera, CAD models, and masks or boxes of what is there. All objects
of a folder are looked for at once, and with --library more that are not there. Rules: accuracy/real_judging.py.

Found and false: at the score threshold. Best right: the object's best detection, however low its score, is right. AP:
COCO mask AP by pycocotools of all detections, in frames in which every instance has a mask. Recall: share of instances
that some proposal covers at IoU 0.5. Pose: ADD-S, the mean distance of points of the true surface to the nearest of the
found one, of the best-scored right detection. Scores: which share of detections is right, by their scores. Time: the
model with poses, the second of two runs.

Writes real.json, a picture of each frame (truth | found) and sheet.png with all of them.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ism_ros.runtime.threads import configure_thread_env

configure_thread_env()

import cv2
import numpy as np
import torch
from accuracy.frame_variants import VARIANTS
from accuracy.real_frames import RealFrame, frame_folders, read_real_frame
from accuracy.real_judging import (
    MIN_IOU,
    JudgedFrame,
    average_precision,
    detection_ious,
    judge_instances,
    score_reliability,
    verdicts_of,
)
from accuracy.real_pictures import draw_truth_and_found, sheet
from common.measuring import machine, print_table, write_json
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from ism_ros.config.settings import Settings
from ism_ros.config.sources import load_settings
from ism_ros.data.detections import Detections
from ism_ros.loading import load_model
from ism_ros.model import InstanceSegmentationModel
from ism_ros.query import Query
from ism_ros.registration.frame_registration import with_registered_depth
from ism_ros.runtime.machine import processor

PICTURE_WIDTH, SMALL_WIDTH = 800, 480
"""Widths of each side of a frame's picture, alone and in the sheet, pixels."""
NEAR_MM = (5.0, 10.0)
"""Pose errors below which shares are counted."""
Run = tuple[RealFrame, Detections, JudgedFrame]
"""A frame, all its detections, and what is said of them."""
COUNTS = {"found": "found", "best right": "best_is_right"}
"""Columns that count instances, and the totals that they show."""


def main() -> None:
    """Print and write what is found."""
    options = _options()
    console = Console()
    settings = _settings(options)
    threshold = settings.score_threshold
    options.output.mkdir(parents=True, exist_ok=True)
    names = list(VARIANTS) if options.variants else list(VARIANTS)[:1]
    runs: dict[str, list[Run]] = {name: [] for name in names}
    small: list[NDArray[np.uint8]] = []
    for folder in track(frame_folders(options.folder), description="frames", console=console):
        as_it_is = read_real_frame(folder, options.library)
        model = load_model(settings, specs=as_it_is.specs)
        for name in names:
            truth = VARIANTS[name](as_it_is)
            runs[name].append((truth, *judge(truth, model, settings)))
        truth, found, one = runs[names[0]][-1]
        shown = found[found.score >= threshold]
        _write(options.output / f"{truth.name}.png", draw_truth_and_found(truth, shown, one, PICTURE_WIDTH))
        small.append(draw_truth_and_found(truth, shown, one, SMALL_WIDTH))
    _write(options.output / "sheet.png", sheet(small))
    totals = {name: _totals_of_run(run) for name, run in runs.items()}
    reliability = score_reliability([(truth, found) for run in runs.values() for truth, found, _ in run])
    methods = f"{settings.segmentor} + {settings.descriptor}, scoring {settings.resolved_scoring()}"
    about = {"processor": processor(), "machine": machine(torch.get_num_threads()), "methods": methods}
    judged = [one for _, _, one in runs[names[0]]]
    _print(judged, totals[names[0]], f"{options.folder.name}: {methods}, score threshold {threshold:g}")
    ranges = [{"score": f"{low:g} to {high:g}", "right": right, "of": n} for low, high, right, n in reliability]
    print_table("scores", ranges)
    if options.variants:
        rows = [{"variant": name} | _totals_row(each) for name, each in totals.items()]
        print_table("variants", [*rows, {"variant": "mean"} | _means_row(list(totals.values()))])
    console.print(f"{about['processor']}\n{about['machine']}\npictures: {options.output}", highlight=False)
    numbers = {
        "totals": totals[names[0]],
        "variants": totals,
        "reliability": reliability,
        "frames": [dataclasses.asdict(one) for one in judged],
    }
    write_json("real", {**about, "threshold": threshold, **numbers}, options.output)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of frames")
    parser.add_argument("--library", type=Path, help="folder whose objects.json lists more objects to look for")
    for name in ("segmentor", "descriptor", "scoring"):
        parser.add_argument(f"--{name}", help="instead of the default")
    parser.add_argument("--score-threshold", type=float, help="instead of the default")
    parser.add_argument("--variants", action="store_true", help="each frame brighter, darker and moved too")
    parser.add_argument("--output", type=Path, default=Path("out/real"))
    return parser.parse_args()


def _settings(options: argparse.Namespace) -> Settings:
    """As `ism segment` has them, with descriptors cached in the output folder."""
    names = ("segmentor", "descriptor", "scoring", "score_threshold")
    flags = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    return load_settings(flags={**flags, "cache_dir": str(options.output / "cache")})


def judge(
    truth: RealFrame, model: InstanceSegmentationModel, settings: Settings
) -> tuple[Detections, JudgedFrame]:
    """Look for the objects of a frame and judge what is found.

    Args:
        truth: The frame.
        model: Knows its objects.
        settings: Threshold.

    Returns:
        All detections, however low their scores, and what is said about the frame.
    """
    model.segment(truth.frame)
    began = time.perf_counter()
    model.segment(truth.frame)
    milliseconds = 1e3 * (time.perf_counter() - began)
    found = model.segment(truth.frame, settings=settings.model_copy(update={"score_threshold": 0.0})).to("cpu")
    query = Query(with_registered_depth(truth.frame), model.library, settings)
    proposals = model.propose(query).proposals
    shown = found[found.score >= settings.score_threshold]
    verdicts = verdicts_of(truth, shown, detection_ious(truth.instances, shown))
    instances = judge_instances(truth, found, proposals, settings.score_threshold)
    return found, JudgedFrame(truth.name, instances, verdicts, truth.is_complete, milliseconds)


def _totals_of_run(run: Sequence[Run]) -> dict[str, float]:
    return totals_of([one for _, _, one in run]) | average_precision([(truth, found) for truth, found, _ in run])


def totals_of(judged: Sequence[JudgedFrame]) -> dict[str, float]:
    """Sum up frames.

    Args:
        judged: The frames.

    Returns:
        Numbers by name; shares are NaN where there is nothing that they are of.
    """
    instances = [instance for one in judged for instance in one.instances]
    errors_mm = np.array([x.pose_error_mm for x in instances if x.is_found and x.pose_error_mm is not None])
    false = sum(one.verdicts.count("false") for one in judged)
    return {
        "frames": len(judged),
        "instances": len(instances),
        "found": sum(x.is_found for x in instances),
        "best_is_right": sum(x.best_is_right for x in instances),
        "false": false,
        "false_a_frame": false / max(sum(one.is_complete for one in judged), 1),
        "proposal_recall50": _mean([x.proposal_iou >= MIN_IOU for x in instances]),
        "mean_iou_of_found": _mean([x.iou for x in instances if x.is_found]),
        "poses": len(errors_mm),
        "pose_median_mm": float(np.median(errors_mm)) if len(errors_mm) else math.nan,
        **{f"pose_within_{limit:g}mm": _mean(errors_mm < limit) for limit in NEAR_MM},
        "median_ms": float(np.median([one.milliseconds for one in judged])),
    }


def _mean(values: Any) -> float:
    return float(np.mean(values)) if len(values) else math.nan


def _print(judged: Sequence[JudgedFrame], totals: dict[str, float], title: str) -> None:
    print_table(title, [_row(one) for one in judged])
    missed = [(one.name, x) for one in judged for x in one.instances if not x.is_found]
    if missed:
        print_table("missed", [_missed_row(name, x) for name, x in missed])
    print_table("all frames", [_totals_row(totals)])
    if totals["poses"]:
        near = {f"under {limit:g} mm": f"{totals[f'pose_within_{limit:g}mm']:.0%}" for limit in NEAR_MM}
        print_table("ADD-S", [{"poses": totals["poses"], "median, mm": f"{totals['pose_median_mm']:.1f}", **near}])


def _totals_row(totals: dict[str, float]) -> dict[str, Any]:
    count = max(int(totals["instances"]), 1)
    return {
        "frames": totals["frames"],
        "instances": totals["instances"],
        "found": f"{totals['found']} ({totals['found'] / count:.2f})",
        "best right": f"{totals['best_is_right']} ({totals['best_is_right'] / count:.2f})",
        "false": f"{totals['false']} ({totals['false_a_frame']:.2f} a frame)",
        f"AP50:95, AP50 ({totals['AP_frames']} frames)": f"{totals['AP']:.3f}, {totals['AP50']:.3f}",
        "proposal recall": f"{totals['proposal_recall50']:.3f}",
        "IoU": f"{totals['mean_iou_of_found']:.2f}",
        "median ms": f"{totals['median_ms']:.0f}",
    }


def _means_row(totals: Sequence[dict[str, float]]) -> dict[str, Any]:
    mean = {name: _mean([one[name] for one in totals]) for name in totals[0]}
    row = _totals_row(mean)
    count = max(mean["instances"], 1)
    counts = {name: f"{mean[key]:.1f} ({mean[key] / count:.2f})" for name, key in COUNTS.items()}
    return row | counts | {"false": f"{mean['false']:.1f} ({mean['false_a_frame']:.2f} a frame)"}


def _row(one: JudgedFrame) -> dict[str, Any]:
    found = [x for x in one.instances if x.is_found]
    errors = [f"{x.pose_error_mm:.1f}" for x in found if x.pose_error_mm is not None]
    return {
        "frame": one.name,
        "instances": len(one.instances),
        "found": len(found),
        "best right": sum(x.best_is_right for x in one.instances),
        "false": one.verdicts.count("false") if one.is_complete else "-",
        "IoU": f"{_mean([x.iou for x in found]):.2f}" if found else "-",
        "ADD-S, mm": " ".join(errors) or "-",
        "ms": f"{one.milliseconds:.0f}",
    }


def _missed_row(name: str, x: Any) -> dict[str, Any]:
    return {
        "frame": name,
        "object": x.object_id,
        "why": x.cause,
        "right": f"{x.score:.2f}",
        "wrong": f"{x.wrong_score:.2f}",
        "best proposal's IoU": f"{x.proposal_iou:.2f}",
        "ADD-S, mm": "-" if x.pose_error_mm is None else f"{x.pose_error_mm:.1f}",
    }


def _write(file: Path, picture: NDArray[np.uint8]) -> None:
    cv2.imwrite(str(file), picture[..., ::-1])


if __name__ == "__main__":
    main()
