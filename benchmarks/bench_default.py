"""The default pair of models: every number that is asked of a default, in one table.

    python benchmarks/bench_default.py                        200 scenes, 10 sets of 5 known objects
    python benchmarks/bench_default.py --scenes 20 --sets 2   a quick look
    python benchmarks/bench_default.py --scenes 0 --first-pair 105 --pair-scenes 50    confusable pairs alone

Scenes are those of ism_ros/sim/benchmark_scenes: 6 to 12 objects on a table, 3 to 5 of them known, touching, occluding
and stacked, with the noise and holes of a stereo camera. Neither the kinds of objects nor the table tops nor the rooms
were trained on (training/training_scenes is another distribution), and no constant was chosen on these scenes (first
scene 20,000, first set 40); the renderer and the sensor model are the same.

AP: COCO mask AP by pycocotools over known objects, instances less than 10 % visible ignored. Recall: share of all
instances, known or not, that some proposal covers at IoU 0.5. Viewpoint: of detections of the right name at IoU 0.5,
how many have a template within 35 degrees of the true direction of view, symmetries of the shape aside: that of the
published pose, and that which class tokens alone choose.
Confusable: scenes with both of a pair that differs in texture alone or in shape alone, in which every one that is at
least 30 % visible is called by its own name. Onboarding: from CAD file to descriptors, an object. Time: the model
alone with poses, five known objects, 640 x 480, two threads, in the first 60 scenes; the node adds what bench_node.py
says.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ism_ros.runtime.threads import configure_thread_env

configure_thread_env()

import cv2
import numpy as np
import torch
import yaml
from accuracy.confusable_objects import DIFFERENCES, instances_named_correctly, make_pair
from accuracy.default_goals import print_goals
from accuracy.template_viewpoints import viewpoints_near
from common.coco_scoring import (
    MIN_VISIBLE_SHARE,
    annotations_of,
    evaluate,
    is_right_by_category,
    mask_ious,
    mean_of_valid,
    results_of,
)
from common.measuring import machine
from common.pictures import draw_disjoint_proposals
from common.scene_sets import ObjectSet, make_object_set, observe_scene
from common.symmetries import symmetries_of
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from ism_ros.config.settings import Settings
from ism_ros.config.sources import load_settings
from ism_ros.data.detections import Detections
from ism_ros.data.frame import Frame
from ism_ros.io.frame_files import read_frame
from ism_ros.loading import load_model
from ism_ros.model import InstanceSegmentationModel
from ism_ros.pose.estimation import with_coarse_poses
from ism_ros.sim.benchmark_scenes.known_objects import make_scene_object, write_objects_file
from ism_ros.sim.benchmark_scenes.observation_cache import cached, source_fingerprint
from ism_ros.sim.benchmark_scenes.scene_rendering import observe
from ism_ros.sim.benchmark_scenes.table_scene import make_scene
from ism_ros.sim.synthesis.ground_truth import GroundTruth
from ism_ros.visualization import draw_overlay

FIRST_SCENE, FIRST_SET, FIRST_PAIR_SCENE = 20_000, 40, 30_000
"""Numbers of the first scene, the first set of known objects and the first scene of a confusable pair."""
OBJECTS = (6, 12)
"""Least and largest number of objects on a table."""
TIMED_SCENES = 60
"""Scenes in which the model is timed."""
DRAWN_SCENES = 12
"""Scenes that are drawn."""
VISIBLE_RANGES = (0.3, 0.7), (0.7, 0.95), (0.95, 1.01)
"""Visible shares of instances of pairs that are counted together."""
Array = NDArray[np.float64]


@dataclass
class SceneNumbers:
    """What is collected over all scenes."""

    annotations: list[dict[str, Any]] = field(default_factory=list)
    results: list[dict[str, Any]] = field(default_factory=list)
    best_iou: list[float] = field(default_factory=list)
    pose_is_near: list[bool] = field(default_factory=list)
    template_is_near: list[bool] = field(default_factory=list)
    model_ms: list[float] = field(default_factory=list)
    stages_s: list[dict[str, float]] = field(default_factory=list)
    proposals: list[int] = field(default_factory=list)
    onboarding_s: list[float] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=dict)


def main() -> None:
    """Print and write a column for each pair."""
    options = _options()
    console = Console()
    torch.set_num_threads(2)
    rows: dict[str, dict[str, float]] = {}
    for pair in options.pairs:
        console.print(f"[bold]{pair}[/bold] on {machine(2)}")
        rows[pair] = measure(pair, options, console)
        print_goals(console, rows)
        options.output.mkdir(parents=True, exist_ok=True)
        (options.output / "bench_default.json").write_text(json.dumps(rows, indent=1))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--sets", type=int, default=10)
    parser.add_argument("--only-set", type=int, help="scenes of this one of the sets alone")
    parser.add_argument("--pairs", nargs="+", default=["tiny+tiny"], help="segmentor+descriptor, a column each")
    parser.add_argument("--segmentor-model", default="", help="other weights of the segmentor `tiny`")
    parser.add_argument("--descriptor-model", default="", help="other weights of the descriptor `tiny`")
    parser.add_argument("--frames", type=Path, default=Path("../shared/data"), help="folder of lm_can and tabletop")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--scoring", default="auto", help="the matcher")
    parser.add_argument("--differences", nargs="+", default=DIFFERENCES, choices=DIFFERENCES, help="kinds of pairs")
    parser.add_argument("--pair-scenes", type=int, default=15, help="scenes of each kind of pair; 0: none")
    parser.add_argument("--first-pair", type=int, default=0, help="number of the first pair")
    parser.add_argument("--output", type=Path, default=Path("out/bench_default"))
    return parser.parse_args()


def measure(pair: str, options: argparse.Namespace, console: Console) -> dict[str, float]:
    """Measure every number of one pair of models.

    Args:
        pair: segmentor+descriptor.
        options: Options of the command line.
        console: Where progress is shown.

    Returns:
        Numbers by the keys of GOALS, and more.
    """
    numbers = _on_scenes(pair, options, console) if options.scenes else {}
    if options.pair_scenes:
        for difference in options.differences:
            numbers[f"confusable_{difference}"] = _on_confusable_pairs(pair, difference, options, console)
    if (options.frames / "lm_can").is_dir():
        numbers["can_iou"] = _on_lm_can(pair, options)
        _draw_tabletop(pair, options)
    numbers["memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return numbers


def _settings(pair: str, options: argparse.Namespace, objects_file: Path, cache: str) -> Settings:
    segmentor, descriptor = pair.split("+")
    return Settings(
        segmentor=segmentor,
        descriptor=descriptor,
        scoring=options.scoring,
        segmentor_model=options.segmentor_model if segmentor == "tiny" else "",
        descriptor_model=options.descriptor_model if descriptor == "tiny" else "",
        objects_file=str(objects_file),
        cache_dir=str(options.output / cache / pair),
        cpu_threads=2 if "tiny" in pair else 0,
        score_threshold=0.0,
        device=options.device,
    )


def _threshold_of(pair: str) -> float:
    """The default threshold of the published score of this pair."""
    segmentor, descriptor = pair.split("+")
    return load_settings(None, {"segmentor": segmentor, "descriptor": descriptor}, environment={}).score_threshold


def _on_scenes(pair: str, options: argparse.Namespace, console: Console) -> dict[str, float]:
    """AP, recall, viewpoints and times on scenes of objects never seen."""
    numbers = SceneNumbers()
    for number in range(options.sets) if options.only_set is None else [options.only_set]:
        known = make_object_set(FIRST_SET + number, options.output)
        began = time.perf_counter()
        model = load_model(_settings(pair, options, known.objects_file, f"cache_{time.time_ns()}"))
        numbers.onboarding_s.append((time.perf_counter() - began) / len(known.objects))
        numbers.names.update({category: f"{name} {number}" for name, category in known.categories.items()})
        symmetries = {name: symmetries_of(mesh) for name, mesh in known.meshes.items()}
        for index, frame, truth in _observations(options, console, number, known):
            found = _on_one_scene(numbers, model, pair, known, symmetries, index, frame, truth)
            if index < DRAWN_SCENES:
                _write(options, f"{pair}_scene_{index}", draw_overlay(frame.rgb, found[found.score > 0.4]))
    evaluation = evaluate(numbers.names, numbers.annotations, numbers.results, options.scenes)
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    stages = numbers.stages_s
    console.print({name: round(1e3 * float(np.median([stage.get(name, 0) for stage in stages]))) for name in stages[0]})
    _print_best_threshold(console, evaluation, sum(not row["iscrowd"] for row in numbers.annotations))
    best_iou = np.array(numbers.best_iou)
    return {
        "AP50": mean_of_valid(precision[0]),
        "AP": mean_of_valid(precision),
        "recall50": float((best_iou >= 0.5).mean()),
        "recall75": float((best_iou >= 0.75).mean()),
        "most_proposals": float(max(numbers.proposals)),
        "mean_proposals": float(np.mean(numbers.proposals)),
        "viewpoint35": float(np.mean(numbers.pose_is_near)) if numbers.pose_is_near else 0.0,
        "template35": float(np.mean(numbers.template_is_near)) if numbers.template_is_near else 0.0,
        "engine_ms": float(np.median(numbers.model_ms)),
        "engine_ms_90": float(np.percentile(numbers.model_ms, 90)),
        "onboarding_s": float(np.median(numbers.onboarding_s)),
    }


def _observations(
    options: argparse.Namespace, console: Console, number: int, known: ObjectSet
) -> Iterator[tuple[int, Frame, GroundTruth]]:
    """The scenes of object set `number`."""
    for index in track(range(number, options.scenes, options.sets), description=f"set {number}", console=console):
        yield index, *observe_scene(FIRST_SCENE + index, known, options.output, OBJECTS)


def _on_one_scene(
    numbers: SceneNumbers,
    model: InstanceSegmentationModel,
    pair: str,
    known: ObjectSet,
    symmetries: dict[str, Array],
    index: int,
    frame: Frame,
    truth: GroundTruth,
) -> Detections:
    """Add the numbers of one scene; returns its detections with poses."""
    numbers.annotations += annotations_of(truth, index, known.categories, len(numbers.annotations) + 1)
    without_poses = model.segment(frame, with_poses=False)
    numbers.template_is_near += viewpoints_near(without_poses, truth, symmetries)
    found = with_coarse_poses(without_poses, frame, model.library, model.descriptor.view_prior_weight)
    numbers.pose_is_near += viewpoints_near(found, truth, symmetries)
    if index < TIMED_SCENES:
        published = model.settings.model_copy(update={"score_threshold": _threshold_of(pair)})
        began = time.perf_counter()
        numbers.stages_s.append(model.segment(frame, settings=published).stage_s)
        numbers.model_ms.append(1e3 * (time.perf_counter() - began))
    proposals = model.segmentor.propose(frame)
    ious = mask_ious(proposals.masks.cpu().numpy(), truth.masks).max(axis=0, initial=0.0)
    numbers.best_iou += ious[truth.visible_share >= MIN_VISIBLE_SHARE].tolist()
    numbers.proposals.append(len(proposals))
    numbers.results += results_of(found, index, known.categories)
    return found


def _print_best_threshold(console: Console, evaluation: Any, total: int) -> None:
    """Precision, recall and F1 at IoU 0.5 of what is published above some scores, and the score with the best F1."""
    by_category = is_right_by_category(evaluation)
    scores = np.concatenate([s for s, _ in by_category.values()])
    right = np.concatenate([r for _, r in by_category.values()])
    best = max(
        ((2 * right[scores >= t].sum() / max((scores >= t).sum() + total, 1), t) for t in np.arange(0.3, 0.95, 0.025)),
    )
    console.print(f"best F1 at IoU 0.5: {best[0]:.3f} at a score of {best[1]:.3f}")
    for least in (0.3, 0.35, 0.5, 0.55, 0.6, 0.65, 0.7):
        found = right[scores >= least]
        console.print(f"above {least:.2f}: precision {found.mean():.3f}, recall {found.sum() / total:.3f}")


def _on_confusable_pairs(pair: str, difference: str, options: argparse.Namespace, console: Console) -> float:
    """Share of scenes in which both objects of a pair go by their own names."""
    named: list[list[tuple[float, bool]]] = []
    folder = options.output / "scenes" / source_fingerprint()
    numbers = range(options.first_pair, options.first_pair + options.pair_scenes)
    for number in track(numbers, description=f"pairs, {difference}", console=console):
        meshes = make_pair(difference, number)
        file = write_objects_file(meshes, options.output / f"pair_{difference}_{number}")
        model = load_model(_settings(pair, options, file, "cache_pairs"))
        known = [make_scene_object(mesh) for mesh in meshes]

        def make(number: int = number, known: list[Any] = known) -> tuple[Frame, GroundTruth]:
            return observe(make_scene(FIRST_PAIR_SCENE + number, known, objects=(5, 8), known_in_scene=(2, 2)))

        frame, truth = cached(folder / f"pair_{difference}_{number}.npz", make)
        named.append(instances_named_correctly(model, frame, truth))
    wrong = [number for number, of_pair in zip(numbers, named, strict=True) if not all(right for _, right in of_pair)]
    console.print(f"pairs of other {difference}: {len(named) - len(wrong)} of {len(named)}, wrong: {wrong}")
    for low, high in VISIBLE_RANGES:
        right = [right for of_pair in named for visible, right in of_pair if low <= visible < high]
        console.print(f"  of which {low:g} to {min(high, 1):g} is visible: {sum(right)} of {len(right)}")
    return 1 - len(wrong) / len(named)


def _on_lm_can(pair: str, options: argparse.Namespace) -> float:
    """IoU of the best detection of the can in a real frame with its reference mask."""
    folder = options.frames / "lm_can"
    file = options.output / "can.yaml"
    entry = {"id": "can", "cad": str((folder / "obj_000005.ply").resolve()), "units": "mm"}
    file.write_text(yaml.safe_dump({"objects": [entry]}))
    model = load_model(_settings(pair, options, file, "cache_pairs"))
    frame = read_frame(folder / "rgb.png", folder / "depth.png", folder / "camera.json")
    found = model.segment(frame)
    reference = cv2.imread(str(folder / "reference_mask.png"), cv2.IMREAD_GRAYSCALE) > 0
    _write(options, f"{pair}_can", draw_overlay(frame.rgb, found[:1]))
    proposals = model.segmentor.propose(frame)
    best = mask_ious(proposals.masks.cpu().numpy(), reference[None]).max(initial=0.0)
    _write(options, f"{pair}_can_proposals", draw_disjoint_proposals(frame, proposals))
    print(f"can: {[round(float(s), 3) for s in found.score[:3]]}, best proposal's IoU {best:.3f}")
    return float(mask_ious(found.masks[:1].numpy(), reference[None]).max(initial=0.0))


def _draw_tabletop(pair: str, options: argparse.Namespace) -> None:
    """Pictures of the best proposals of real frames that do not overlap."""
    folder = options.frames / "tabletop"
    segmentor = load_model(_settings(pair, options, options.output / "can.yaml", "cache_pairs")).segmentor
    for file in sorted(folder.glob("*_rgb.png")):
        depth = file.with_name(file.name.replace("rgb", "depth"))
        frame = read_frame(file, depth, folder / "camera.json")
        _write(options, f"{pair}_tabletop_{file.stem[0]}", draw_disjoint_proposals(frame, segmentor.propose(frame)))


def _write(options: argparse.Namespace, name: str, picture: NDArray[np.uint8]) -> None:
    folder = options.output / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / f"{name}.jpg"), picture[..., ::-1])


if __name__ == "__main__":
    main()
