"""Mask AP on simulated tables: what the whole model finds, and how good its proposals alone are.

    python benchmarks/detection_ap.py                   50 scenes, 5 sets of 5 known objects
    python benchmarks/detection_ap.py --proposals-only  the segmentor alone, no objects needed
    python benchmarks/detection_ap.py --scenes 10 --sets 1

Scenes (ism_ros/sim/benchmark_scenes): 6 to 10 objects on a table, 3 to 5 of them known, touching, occluding and
stacked, with the noise, holes and color errors of a stereo depth camera; light, table top, camera and objects differ
from scene to scene. Known objects are onboarded from their CAD files the way a user's are. The others come from the
same generator: same kinds (another mug, another carton), colors of the same palette; none is ever onboarded.

What this is not: real. Objects are procedural, of 15 kinds, surfaces are matt, the sensor is a model. Nothing in
the method was trained on these scenes, but constants of the embedded default were chosen with the AP on the default
scenes in view: for a number on scenes that no constant was chosen on, give another --seed and --first-set.

Measured: COCO mask AP by pycocotools over the known objects. Instances of which less than a tenth is visible are
ignored, as in BOP. Each set of known objects is searched for only in its own scenes. Proposal recall is the share
of all instances, known or not, that some proposal covers at the given IoU, whatever its class.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ism_ros.runtime.threads import configure_thread_env

configure_thread_env()

import cv2
import numpy as np
from common.coco_scoring import (
    MIN_VISIBLE_SHARE,
    annotations_of,
    evaluate,
    is_right_by_category,
    mask_ious,
    mean_of_valid,
    results_of,
)
from common.pictures import draw_masks
from common.scene_sets import ObjectSet, make_object_set, observe_scene
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from ism_ros.config.settings import Settings
from ism_ros.data.frame import Frame
from ism_ros.loading import load_model
from ism_ros.model import InstanceSegmentationModel
from ism_ros.segmentors.base import create_segmentor
from ism_ros.sim.synthesis.ground_truth import GroundTruth
from ism_ros.visualization import draw_overlay

UNSEEN_SCENES = 5000
"""First scene number of the benchmark; tests and demo use lower ones."""


@dataclass
class SceneResult:
    """What was found in one scene.

    Attributes:
        number: Number of the scene.
        frame: The frame.
        truth: Its ground truth.
        best_iou: (N,) best IoU of all proposals with each true instance.
        proposals: Number of proposals.
        seconds: Duration of each stage.
        quality: Used to rank the scenes: instances found minus false detections, as a share.
        picture: (H, W, 3) uint8 RGB of what was found.
    """

    number: int
    frame: Frame
    truth: GroundTruth
    best_iou: NDArray[np.float64]
    proposals: int
    seconds: dict[str, float] = field(default_factory=dict)
    quality: float = 1.0
    picture: NDArray[np.uint8] | None = None


def main() -> None:
    """Print and write proposals, times and AP."""
    options = _options()
    console = Console()
    out = Path(options.output)
    sets = [make_object_set(number, out) for number in range(options.first_set, options.first_set + options.sets)]
    segmentor = create_segmentor(options.segmentor)
    models: list[InstanceSegmentationModel] = []
    results: list[SceneResult] = []
    annotations: list[dict[str, Any]] = []
    detections: list[dict[str, Any]] = []
    if not options.proposals_only:
        for known in sets:
            with console.status("onboarding") as status:
                models.append(load_model(_settings(options, known, out), progress=status.update))
    for index in track(range(options.scenes), description="scenes", console=console):
        known, number = sets[index % len(sets)], options.seed + index
        frame, truth = observe_scene(number, known, out)
        annotations += annotations_of(truth, index, known.categories, len(annotations) + 1)
        if options.proposals_only:
            results.append(_proposals_alone(segmentor, number, frame, truth))
        else:
            model = models[index % len(sets)]
            result, found = _whole_model(known, model, index, number, frame, truth)
            results.append(result)
            detections += found

    report: dict[str, Any] = {"scenes": options.scenes, "first_scene": options.seed, "sets": options.sets}
    report["proposals"] = _print_proposals(console, results)
    _print_seconds(console, results)
    if not options.proposals_only:
        report["detections"] = _print_detections(console, sets, annotations, detections, len(results))
    _write_worst(console, results, out, options.worst)
    (out / "detection_ap.json").write_text(json.dumps(report, indent=2))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=50, help="how many scenes")
    parser.add_argument("--seed", type=int, default=UNSEEN_SCENES, help="number of the first scene")
    parser.add_argument("--sets", type=int, default=5, help="how many sets of 5 known objects take turns")
    parser.add_argument("--first-set", type=int, default=0, help="number of the first set of known objects")
    parser.add_argument("--segmentor", default="tiny")
    parser.add_argument("--descriptor", default="tiny")
    parser.add_argument("--scoring", default="sam6d", help="sam6d or noctis")
    parser.add_argument("--proposals-only", action="store_true", help="measure the segmentor alone")
    parser.add_argument("--worst", type=int, default=6, help="how many of the worst scenes to draw")
    parser.add_argument("--output", default="out/benchmark", help="folder of pictures, scenes and results")
    return parser.parse_args()


def _settings(options: argparse.Namespace, known: ObjectSet, out: Path) -> Settings:
    # AP weighs precision at every score: nothing may be cut off beforehand.
    return Settings(
        segmentor=options.segmentor,
        descriptor=options.descriptor,
        scoring=options.scoring,
        objects_file=str(known.objects_file),
        cache_dir=str(out / "cache"),
        score_threshold=0.0,
    )


def _proposals_alone(segmentor: Any, number: int, frame: Frame, truth: GroundTruth) -> SceneResult:
    start = time.perf_counter()
    proposals = segmentor.propose(frame)
    seconds = {"proposals": time.perf_counter() - start}
    masks = proposals.masks.cpu().numpy()
    best = mask_ious(masks, truth.masks).max(axis=0, initial=0.0)
    visible_enough = truth.visible_share >= MIN_VISIBLE_SHARE
    picture = draw_masks(frame, masks[mask_ious(masks, truth.masks).argmax(axis=0)] if len(masks) else masks, best)
    return SceneResult(number, frame, truth, best, len(masks), seconds, float(best[visible_enough].mean()), picture)


def _whole_model(
    known: ObjectSet, model: InstanceSegmentationModel, index: int, number: int, frame: Frame, truth: GroundTruth
) -> tuple[SceneResult, list[dict[str, Any]]]:
    found = model.segment(frame, with_poses=False)
    proposals = model.segmentor.propose(frame)
    best = mask_ious(proposals.masks.cpu().numpy(), truth.masks).max(axis=0, initial=0.0)
    masks = found.masks.cpu().numpy()
    shown = found[found.score >= Settings().score_threshold]
    ious = mask_ious(masks, truth.masks)
    right = [
        max(
            (ious[d, t] for d in range(len(shown)) if shown.class_id(d) == truth.names[t]),
            default=0.0,
        )
        for t in np.flatnonzero(truth.known & (truth.visible_share >= MIN_VISIBLE_SHARE))
    ]
    wrong = sum(
        not any(ious[d, t] >= 0.5 and shown.class_id(d) == truth.names[t] for t in np.flatnonzero(truth.known))
        for d in range(len(shown))
    )
    quality = (float(np.sum(np.array(right) >= 0.5)) - 0.5 * wrong) / max(len(right), 1)
    picture = draw_overlay(frame.rgb, shown)
    return SceneResult(number, frame, truth, best, len(proposals), dict(found.stage_s), quality, picture), results_of(
        found, index, known.categories
    )


def _print_proposals(console: Console, results: list[SceneResult]) -> dict[str, float]:
    visible = [r.truth.visible_share >= MIN_VISIBLE_SHARE for r in results]
    every = np.concatenate([r.best_iou[v] for r, v in zip(results, visible, strict=True)])
    known = np.concatenate([r.best_iou[v & r.truth.known] for r, v in zip(results, visible, strict=True)])
    counts = [r.proposals for r in results]
    table = Table(title="Proposals, class-agnostic")
    for column in ("instances", "number", "recall@0.5", "recall@0.75", "mean best IoU"):
        table.add_column(column, justify="right")
    for name, ious in (("all", every), ("known", known)):
        table.add_row(
            name,
            str(len(ious)),
            f"{(ious >= 0.5).mean():.3f}",
            f"{(ious >= 0.75).mean():.3f}",
            f"{ious.mean():.3f}",
        )
    console.print(table)
    console.print(f"proposals a frame: mean {np.mean(counts):.0f}, most {max(counts)}")
    return {
        "recall50": float((every >= 0.5).mean()),
        "recall75": float((every >= 0.75).mean()),
        "mean_best_iou": float(every.mean()),
        "known_recall50": float((known >= 0.5).mean()),
        "mean_count": float(np.mean(counts)),
        "max_count": float(max(counts)),
    }


def _print_seconds(console: Console, results: list[SceneResult]) -> None:
    table = Table(title="Milliseconds a frame")
    for column in ("stage", "median", "90 %", "most"):
        table.add_column(column, justify="right")
    stages = list(results[0].seconds)
    for stage in [*stages, "together"]:
        ms = [1e3 * (sum(r.seconds.values()) if stage == "together" else r.seconds[stage]) for r in results]
        table.add_row(stage, f"{np.median(ms):.0f}", f"{np.percentile(ms, 90):.0f}", f"{max(ms):.0f}")
    console.print(table)


def _print_detections(
    console: Console,
    sets: list[ObjectSet],
    annotations: list[dict[str, Any]],
    detections: list[dict[str, Any]],
    images: int,
) -> dict[str, Any]:
    names = {category: f"{name} {known.number}" for known in sets for name, category in known.categories.items()}
    evaluation = evaluate(names, annotations, detections, images)
    # (threshold, recall, category, area range, most detections); -1 where a category has no instance.
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    recall = evaluation.eval["recall"][:, :, 0, -1]
    table = Table(title="Known objects; found and false: at the default threshold")
    for column in ("object", "instances", "AP50", "AP50:95", "recall@0.5", "found", "false"):
        table.add_column(column, justify="right" if column != "object" else "left")
    report: dict[str, Any] = {"objects": {}}
    by_category = is_right_by_category(evaluation)
    threshold = Settings().score_threshold
    shown = {
        category: (int((right & (scores >= threshold)).sum()), int((~right & (scores >= threshold)).sum()))
        for category, (scores, right) in by_category.items()
    }
    for column, (category, name) in enumerate(names.items()):
        count = sum(a["category_id"] == category and not a["iscrowd"] for a in annotations)
        if not count:
            continue
        ap50, ap, r50 = (
            mean_of_valid(precision[0, :, column]),
            mean_of_valid(precision[:, :, column]),
            recall[0, column],
        )
        right, false = shown[category]
        table.add_row(name, str(count), f"{ap50:.3f}", f"{ap:.3f}", f"{r50:.3f}", str(right), str(false))
        report["objects"][name] = {"instances": count, "AP50": ap50, "AP": ap, "false": false}
    report["AP50"], report["AP"] = mean_of_valid(precision[0]), mean_of_valid(precision)
    right, false = (sum(counts[k] for counts in shown.values()) for k in (0, 1))
    total = sum(not a["iscrowd"] for a in annotations)
    table.add_section()
    table.add_row(
        "all",
        str(total),
        f"{report['AP50']:.3f}",
        f"{report['AP']:.3f}",
        f"{mean_of_valid(recall[0]):.3f}",
        str(right),
        str(false),
    )
    console.print(table)
    console.print(f"[bold]mask AP50 {report['AP50']:.3f}, AP50:95 {report['AP']:.3f}[/bold] over {images} scenes")
    report["found_above_threshold"], report["false_above_threshold"] = right, false
    report["thresholds"] = _print_thresholds(console, by_category, total)
    return report


def _print_thresholds(
    console: Console, by_category: dict[int, tuple[NDArray, NDArray]], total: int
) -> list[dict[str, float]]:
    """Precision and recall of what would be published at several thresholds of the final score."""
    scores = np.concatenate([s for s, _ in by_category.values()])
    right = np.concatenate([r for _, r in by_category.values()])
    table = Table(title="Publishing threshold, IoU 0.5")
    for column in ("score", "precision", "recall", "F1"):
        table.add_column(column, justify="right")
    rows = []
    for threshold in sorted({Settings().score_threshold, *np.arange(0.3, 0.96, 0.05).round(2)}):
        kept = scores >= threshold
        precision = float(right[kept].mean()) if kept.any() else 0.0
        recall = float(right[kept].sum() / max(total, 1))
        f1 = 2 * precision * recall / max(precision + recall, 1e-9)
        default = " (default)" if threshold == Settings().score_threshold else ""
        table.add_row(f"{threshold:.2f}{default}", f"{precision:.3f}", f"{recall:.3f}", f"{f1:.3f}")
        rows.append({"score": float(threshold), "precision": precision, "recall": recall, "f1": f1})
    console.print(table)
    return rows


def _write_worst(console: Console, results: list[SceneResult], out: Path, count: int) -> None:
    for old in out.glob("worst_*.png"):
        old.unlink()
    for rank, result in enumerate(sorted(results, key=lambda r: r.quality)[:count]):
        truth = _truth_picture(result)
        path = out / f"worst_{rank}_scene_{result.number}.png"
        both = np.hstack([truth, result.picture if result.picture is not None else result.frame.rgb])
        cv2.imwrite(str(path), both[..., ::-1])
    if count:
        console.print(f"the {min(count, len(results))} worst scenes (truth | found): {out}/worst_*.png")


def _truth_picture(result: SceneResult) -> NDArray[np.uint8]:
    """Known instances filled and named, the others outlined in gray."""
    truth = result.truth
    picture = draw_masks(result.frame, truth.masks[truth.known])
    for mask, name, known in zip(truth.masks, truth.names, truth.known, strict=True):
        contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        if not known:
            cv2.drawContours(picture, contours, -1, (170, 170, 170), 1, cv2.LINE_AA)
            continue
        v, u = (int(np.median(axis)) for axis in np.nonzero(mask))
        cv2.putText(picture, name, (u - 20, v), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (255, 255, 255), 1)
    return picture


if __name__ == "__main__":
    main()
