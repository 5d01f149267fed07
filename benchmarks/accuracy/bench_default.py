"""The learned default beside the hand-made one: every number that is asked of a default, in one table.

    python benchmarks/accuracy/bench_default.py                        200 scenes, 10 sets of 5 known objects
    python benchmarks/accuracy/bench_default.py --scenes 20 --sets 2   a quick look
    python benchmarks/accuracy/bench_default.py --pairs tiny+tiny tiny+classic depth+classic --frames ../shared/data

Scenes are those of ism_ros/sim: 6 to 12 objects on a table, 3 to 5 of them known, touching, occluding and stacked, with
the noise and holes of a stereo camera. Neither the kinds of objects nor the table tops nor the rooms were trained on
(training/ makes its own), and no constant was chosen on these scenes (first scene 20,000, first set 40); the renderer
and the model of the sensor are the same. Both pairs see the same frames.

AP: COCO mask AP by pycocotools over known objects, instances less than 10 % visible ignored. Recall: share of all
instances, known or not, that some proposal covers at IoU 0.5. Viewpoint: of detections of the right name at IoU 0.5,
how many have a template within 35 degrees of the true direction of view, symmetries of the shape aside: that of the
published pose, and that which class tokens alone choose.
Confusable: scenes with both of a pair that differs in paint alone or in shape alone, in which every one that is at
least 30 % visible is called by its own name. Onboarding: from CAD file to descriptors, an object. Time: the engine
alone with poses, five known objects, 640 x 480, two threads, in the first 60 scenes; the node adds what bench_node.py
says.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ism_ros.runtime.threads import configure_thread_env

configure_thread_env()

import cv2
import detection_ap
import numpy as np
import torch
import trimesh
import yaml
from measuring import machine
from numpy.typing import NDArray
from PIL import Image
from pose_accuracy import symmetries_of
from rich.console import Console
from rich.progress import track
from rich.table import Table

from ism_ros.config.settings import Settings
from ism_ros.config.sources import load_settings
from ism_ros.data.detections import Detections
from ism_ros.data.frame import Frame
from ism_ros.data.rle import encode_rle
from ism_ros.io.frame_files import read_frame
from ism_ros.loading import load_model
from ism_ros.model import InstanceSegmentationModel
from ism_ros.pose.estimation import with_coarse_poses
from ism_ros.rendering.viewpoints import camera_positions
from ism_ros.sim.benchmark_scenes.known_objects import known_objects, make_scene_object
from ism_ros.sim.benchmark_scenes.objects.object_catalog import KINDS, export_cad, make_object
from ism_ros.sim.benchmark_scenes.observation_cache import cached, source_fingerprint
from ism_ros.sim.benchmark_scenes.scene_rendering import observe
from ism_ros.sim.benchmark_scenes.table_scene import make_scene
from ism_ros.sim.synthesis.ground_truth import GroundTruth
from ism_ros.visualization import draw_overlay

FIRST_SCENE, FIRST_SET = 20_000, 40
OBJECTS = (6, 12)
NEAR_DEG = 35.0
TIMED_SCENES = 60
PAIR_SCENES = 15
"""Of each kind of pair."""
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Goal:
    """A row of the table. unit: of `value`; least: whether more is better."""

    key: str
    text: str
    value: float
    least: bool = True


GOALS = (
    Goal("AP50", "mask AP50, 200 scenes", 0.90),
    Goal("AP", "mask AP50:95", 0.65),
    Goal("recall50", "proposal recall at IoU 0.5", 0.95),
    Goal("most_proposals", "most proposals a frame", 60, least=False),
    Goal("viewpoint35", "view of the pose within 35 degrees", 0.80),
    Goal("template35", "best template alone within 35 degrees", 0.80),
    Goal("confusable_paint", "pairs that differ in paint told apart", 0.9),
    Goal("confusable_shape", "pairs that differ in shape told apart", 0.9),
    Goal("can_iou", "lm_can: IoU of the first", 0.8),
    Goal("engine_ms", "engine, median ms a frame", 100, least=False),
    Goal("engine_ms_90", "engine, 90 % of frames, ms", 150, least=False),
    Goal("onboarding_s", "onboarding, s an object", 8, least=False),
    Goal("memory_mb", "memory, MB", 1000, least=False),
)


def main() -> None:
    options = _options()
    console = Console()
    torch.set_num_threads(2)
    rows: dict[str, dict[str, float]] = {}
    for pair in options.pairs:
        console.print(f"[bold]{pair}[/bold] on {machine(2)}")
        rows[pair] = measure(pair, options, console)
        _print(console, rows)
        options.output.mkdir(parents=True, exist_ok=True)
        (options.output / "bench_default.json").write_text(json.dumps(rows, indent=1))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--sets", type=int, default=10)
    parser.add_argument("--pairs", nargs="+", default=["tiny+tiny", "depth+classic"], help="segmentor+descriptor")
    parser.add_argument("--segmentor-model", default="", help="other weights for the first pair")
    parser.add_argument("--descriptor-model", default="", help="other weights for the first pair")
    parser.add_argument("--frames", type=Path, default=Path("../shared/data"), help="folder of lm_can and tabletop")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--skip-pairs", action="store_true", help="without confusable objects")
    parser.add_argument("--output", type=Path, default=Path("out/bench_default"))
    return parser.parse_args()


def measure(pair: str, options: argparse.Namespace, console: Console) -> dict[str, float]:
    """Every number of one pair."""
    numbers = on_scenes(pair, options, console)
    if not options.skip_pairs:
        for what in ("paint", "shape"):
            numbers[f"confusable_{what}"] = told_apart(pair, what, options, console)
    if (options.frames / "lm_can").is_dir():
        numbers["can_iou"] = on_the_can(pair, options)
        look_at_tabletop(pair, options)
    numbers["memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return numbers


def _settings(pair: str, options: argparse.Namespace, objects_file: Path, cache: str) -> Settings:
    segmentor, descriptor = pair.split("+")
    return Settings(
        segmentor=segmentor,
        descriptor=descriptor,
        segmentor_model=options.segmentor_model if segmentor == "tiny" else "",
        descriptor_model=options.descriptor_model if descriptor == "tiny" else "",
        objects_file=str(objects_file),
        cache_dir=str(options.output / cache / pair),
        cpu_threads=2 if "tiny" in pair else 0,
        score_threshold=0.0,
        device=options.device,
    )


def _threshold_of(pair: str) -> float:
    """The least score that this pair publishes where nothing else is set."""
    segmentor, descriptor = pair.split("+")
    return load_settings(None, {"segmentor": segmentor, "descriptor": descriptor}, environment={}).score_threshold


def _objects_file(meshes: list[trimesh.Trimesh], folder: Path) -> Path:
    entries = [{"id": m.metadata["name"], "cad": export_cad(m, folder).name, "units": "m"} for m in meshes]
    file = folder / "objects.yaml"
    file.write_text(yaml.safe_dump({"objects": entries}, sort_keys=False))
    return file


def observations(
    options: argparse.Namespace, console: Console, number: int, meshes: list[trimesh.Trimesh]
) -> Iterator[tuple[int, Frame, GroundTruth]]:
    """The scenes of object set `number`, from the cache where they are there."""
    things = [make_scene_object(mesh) for mesh in meshes]
    folder = options.output / "scenes" / source_fingerprint()
    for index in track(range(number, options.scenes, options.sets), description=f"set {number}", console=console):
        scene = FIRST_SCENE + index

        def make(scene: int = scene) -> tuple[Frame, GroundTruth]:
            return observe(make_scene(scene, things, objects=OBJECTS))

        yield index, *cached(folder / f"{FIRST_SET + number}_{scene}.npz", make)


def on_scenes(pair: str, options: argparse.Namespace, console: Console) -> dict[str, float]:
    """AP, recall, viewpoints and times on scenes of objects never seen."""
    annotations: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    best: list[float] = []
    near: list[bool] = []
    near_by_token: list[bool] = []
    ms: list[float] = []
    stages: list[dict[str, float]] = []
    counts, onboarding, names = [], [], {}
    for number in range(options.sets):
        meshes = known_objects(FIRST_SET + number)
        file = _objects_file(meshes, options.output / f"objects_{number}")
        began = time.perf_counter()
        model = load_model(_settings(pair, options, file, f"cache_{time.time_ns()}"))
        onboarding.append((time.perf_counter() - began) / len(meshes))
        published = model.settings.model_copy(update={"score_threshold": _threshold_of(pair)})
        symmetries = {str(mesh.metadata["name"]): symmetries_of(mesh) for mesh in meshes}
        objects = detection_ap.ObjectSet(number, [make_scene_object(mesh) for mesh in meshes], file)
        names.update({objects.category(name): f"{name} {number}" for name in symmetries})
        for index, frame, truth in observations(options, console, number, meshes):
            annotations += detection_ap._annotations(objects, index, truth, len(annotations))
            without_poses = model.segment(frame, with_poses=False)
            near_by_token += viewpoints_near(without_poses, truth, symmetries)
            found = with_coarse_poses(without_poses, frame, model.library, model.descriptor.view_prior_weight)
            if index < TIMED_SCENES:
                began = time.perf_counter()
                stages.append(model.segment(frame, settings=published).stage_s)
                ms.append(1e3 * (time.perf_counter() - began))
            proposals = model.segmentor.propose(frame)
            ious = detection_ap._ious(proposals.masks.cpu().numpy(), truth.masks).max(axis=0, initial=0.0)
            best += ious[truth.visible_share >= detection_ap.LEAST_VISIBLE].tolist()
            counts.append(len(proposals))
            near += viewpoints_near(found, truth, symmetries)
            masks = found.masks.cpu().numpy()
            rows += [
                {
                    "image_id": index,
                    "category_id": objects.category(found.class_id(row)),
                    "score": float(found.score[row]),
                    "segmentation": encode_rle(masks[row]),
                }
                for row in range(len(found))
            ]
            if index < 12:
                _write(options, f"{pair}_scene_{index}", draw_overlay(frame.rgb, found[found.score > 0.4]))
    evaluation = detection_ap._coco_evaluation(names, annotations, rows, options.scenes)
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    console.print({name: round(1e3 * float(np.median([stage.get(name, 0) for stage in stages]))) for name in stages[0]})
    _print_best_threshold(console, evaluation, sum(not row["iscrowd"] for row in annotations))
    return {
        "AP50": detection_ap._mean(precision[0]),
        "AP": detection_ap._mean(precision),
        "recall50": float((np.array(best) >= 0.5).mean()),
        "recall75": float((np.array(best) >= 0.75).mean()),
        "most_proposals": float(max(counts)),
        "mean_proposals": float(np.mean(counts)),
        "viewpoint35": float(np.mean(near)) if near else 0.0,
        "template35": float(np.mean(near_by_token)) if near_by_token else 0.0,
        "engine_ms": float(np.median(ms)),
        "engine_ms_90": float(np.percentile(ms, 90)),
        "onboarding_s": float(np.median(onboarding)),
    }


def _print_best_threshold(console: Console, evaluation: Any, total: int) -> None:
    """Precision, recall and F1 at IoU 0.5 of what is published above some scores, and the score with the best F1."""
    judged = detection_ap._judged(evaluation)
    scores = np.concatenate([s for s, _ in judged.values()])
    right = np.concatenate([r for _, r in judged.values()])
    best = max(
        ((2 * right[scores >= t].sum() / max((scores >= t).sum() + total, 1), t) for t in np.arange(0.3, 0.95, 0.025)),
    )
    console.print(f"best F1 at IoU 0.5: {best[0]:.3f} at a score of {best[1]:.3f}")
    for least in (0.5, 0.55, 0.6, 0.65, 0.7):
        found = right[scores >= least]
        console.print(f"above {least:.2f}: precision {found.mean():.3f}, recall {found.sum() / total:.3f}")


def viewpoints_near(found: Detections, truth: GroundTruth, symmetries: dict[str, Array]) -> list[bool]:
    """Of each detection of the right name at IoU 0.5 whether its template is within NEAR_DEG of the truth."""
    ious = detection_ap._ious(found.masks.cpu().numpy(), truth.masks)
    out = []
    for row in range(len(found)):
        instance = int(ious[row].argmax()) if len(truth.masks) else -1
        name = found.class_id(row)
        if instance < 0 or ious[row, instance] < 0.5 or truth.names[instance] != name or not truth.known[instance]:
            continue
        pose = truth.object_to_camera[instance]
        towards = -pose[:3, :3].T @ pose[:3, 3] / np.linalg.norm(pose[:3, 3])
        view = camera_positions()[int(found.template_index[row])]
        cosine = float((np.einsum("sji,j->si", symmetries[name], towards) @ view).max())
        out.append(np.degrees(np.arccos(np.clip(cosine, -1, 1))) <= NEAR_DEG)
    return out


def confusable(what: str, number: int) -> list[trimesh.Trimesh]:
    """Two objects that differ in paint alone, or in shape alone."""
    kind = KINDS[number % len(KINDS)]
    first = make_object(kind, 900_000 + number)
    second = first.copy()
    if what == "paint":
        _repaint(second)
    else:
        axis = int(np.argsort(first.extents)[1 + number % 2])
        factors = np.ones(3)
        factors[axis] = 0.6
        second.apply_scale(factors)
    first.metadata, second.metadata = {**first.metadata, "name": "first"}, {**first.metadata, "name": "second"}
    return [first, second]


def _repaint(mesh: trimesh.Trimesh) -> None:
    """Other hues and the opposite lightness."""
    if isinstance(mesh.visual, trimesh.visual.TextureVisuals):
        material = mesh.visual.material.copy()
        name = "baseColorTexture" if getattr(material, "baseColorTexture", None) is not None else "image"
        picture = np.asarray(getattr(material, name).convert("RGB"))
        setattr(material, name, Image.fromarray((255 - picture)[..., [1, 2, 0]]))
        mesh.visual = trimesh.visual.TextureVisuals(uv=np.array(mesh.visual.uv), material=material)
        return
    colours = np.array(mesh.visual.vertex_colors)
    colours[:, :3] = (255 - colours[:, :3])[:, [1, 2, 0]]
    mesh.visual = trimesh.visual.ColorVisuals(mesh, vertex_colors=colours)


def told_apart(pair: str, what: str, options: argparse.Namespace, console: Console) -> float:
    """Share of scenes in which both objects of a pair go by their own names."""
    right = []
    folder = options.output / "scenes" / source_fingerprint()
    count = PAIR_SCENES if options.scenes >= 100 else 4
    for number in track(range(count), description=f"pairs, {what}", console=console):
        meshes = confusable(what, number)
        file = _objects_file(meshes, options.output / f"pair_{what}_{number}")
        model = load_model(_settings(pair, options, file, "cache_pairs"))
        things = [make_scene_object(mesh) for mesh in meshes]

        def make(number: int = number, things: list[Any] = things) -> tuple[Frame, GroundTruth]:
            return observe(make_scene(30_000 + number, things, objects=(5, 8), known_in_scene=(2, 2)))

        frame, truth = cached(folder / f"pair_{what}_{number}.npz", make)
        right.append(named_right(model, frame, truth))
    return float(np.mean(right))


def named_right(model: InstanceSegmentationModel, frame: Frame, truth: GroundTruth) -> bool:
    """Whether the best detection on every known instance has its name."""
    found = model.segment(frame, with_poses=False)
    ious = detection_ap._ious(found.masks.cpu().numpy(), truth.masks)
    for instance in np.flatnonzero(truth.known & (truth.visible_share >= 0.3)):
        on_it = np.flatnonzero(ious[:, instance] >= 0.5) if len(ious) else []
        if not len(on_it) or found.class_id(int(on_it[0])) != truth.names[instance]:
            return False
    return True


def on_the_can(pair: str, options: argparse.Namespace) -> float:
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
    best = detection_ap._ious(proposals.masks.numpy(), reference[None]).max(initial=0.0)
    _write(options, f"{pair}_can_proposals", _cover(frame, proposals))
    print(f"can: {[round(float(s), 3) for s in found.score[:3]]}, best proposal's IoU {best:.3f}")
    return float(detection_ap._ious(found.masks[:1].numpy(), reference[None]).max(initial=0.0))


def look_at_tabletop(pair: str, options: argparse.Namespace) -> None:
    """Pictures of the best proposals of real frames that do not overlap."""
    folder = options.frames / "tabletop"
    segmentor = load_model(_settings(pair, options, options.output / "can.yaml", "cache_pairs")).segmentor
    for file in sorted(folder.glob("*_rgb.png")):
        depth = file.with_name(file.name.replace("rgb", "depth"))
        frame = read_frame(file, depth, folder / "camera.json")
        _write(options, f"{pair}_tabletop_{file.stem[0]}", _cover(frame, segmentor.propose(frame)))


def _cover(frame: Frame, proposals: Any) -> NDArray[np.uint8]:
    """The frame with its most confident proposals (above 0.3), of which no two overlap much, and the number of all."""
    taken = np.zeros(frame.rgb.shape[:2], bool)
    shown = []
    for mask, confidence in zip(proposals.masks.numpy(), proposals.confidence.tolist(), strict=True):
        if (mask & taken).sum() <= 0.2 * mask.sum() and confidence > 0.3:
            taken |= mask
            shown.append(mask)
    picture = detection_ap._mask_picture(frame, np.array(shown).reshape(-1, *taken.shape), None)
    cv2.putText(picture, f"{len(shown)} of {len(proposals)}", (8, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255, 255, 0), 2)
    return picture


def _write(options: argparse.Namespace, name: str, picture: NDArray[np.uint8]) -> None:
    folder = options.output / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / f"{name}.jpg"), picture[..., ::-1])


def _print(console: Console, rows: dict[str, dict[str, float]]) -> None:
    table = Table(title="The default")
    for column in ("", "wanted", *rows):
        table.add_column(column, justify="left" if not column else "right")
    for goal in GOALS:
        cells = []
        for numbers in rows.values():
            value = numbers.get(goal.key)
            reached = value is not None and (value >= goal.value if goal.least else value <= goal.value)
            colour = "green" if reached else "red"
            cells.append("-" if value is None else f"[{colour}]{value:.3g}[/{colour}]")
        table.add_row(goal.text, f"{'>=' if goal.least else '<='} {goal.value:g}", *cells)
    console.print(table)


if __name__ == "__main__":
    main()
