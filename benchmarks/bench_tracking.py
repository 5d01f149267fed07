"""Following by poses (`tracking: pose`): rendered films with exact truth, through the tracker.

    python benchmarks/bench_tracking.py
    python benchmarks/bench_tracking.py --trials camera=1 taken=3 crossing=4

2 films each of a camera in the hand, a pushed object and a passing hand; 10 of an object taken and put back; 20 of two
equal ones that cross.

Films (films/moving_tables.py) are rendered once into --films, some 0.4 s of one core a frame. The tracker sees each
frame. The search takes every --search-every-th frame (default 9), and what it finds reaches the tracker as many frames
later, as if it took 300 ms. Printed: pose errors while followed, of instances that are at least 30 % visible, but for
symmetries (steps of a gear's teeth below 45 degrees count as errors); the share of such instances that is followed;
frames in which an instance is still published after it is less than 5 % visible; how often an object that was taken
away is found again with its id; wrong ids after crossings; milliseconds of processor time a frame, following alone.
Through the node: interfaces/bench_node_tracking.py.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from ism_ros.runtime.threads import configure_thread_env

configure_thread_env()

import cv2
import numpy as np
import torch
from common.measuring import machine, print_table, write_json
from common.symmetries import symmetries_of
from films.film_files import FilmFrame, read_film, render_film
from films.moving_tables import HAND, films
from films.pose_errors import fine_symmetries, pose_error, rows_of_bodies
from numpy.typing import NDArray

from ism_ros.config.settings import Settings
from ism_ros.data.detections import Detections
from ism_ros.loading import load_model
from ism_ros.model import InstanceSegmentationModel
from ism_ros.runtime.machine import processor
from ism_ros.sim.benchmark_scenes.known_objects import (
    DEMO_OBJECT_SET,
    known_objects,
    make_scene_object,
    write_objects_file,
)
from ism_ros.tracking.pose_tracker import PoseTracker
from ism_ros.visualization import draw_overlay

TRIALS = {"camera": 2, "pushed": 2, "hidden": 2, "taken": 10, "crossing": 20}
"""Films of each kind."""
MIN_VISIBLE, MAX_GONE = 0.3, 0.05
"""Visible share from which on an instance should be followed, and below which it should not."""
DRAWN_FRAMES = 4
"""Frames of a picture."""
Array = NDArray[np.float64]


@dataclass
class Numbers:
    """What is collected over films.

    Attributes:
        error_mm, error_deg: Of each pose.
        followed, wanted: Instances followed, and those that should be.
        late_frames: Frames until each loss was noticed.
        again, gone: Objects found again with their id, and those put back.
        wrong, crossed: Instances with a wrong id after crossing, and all.
        frame_ms: Processor time of each frame.
    """

    error_mm: list[float] = field(default_factory=list)
    error_deg: list[float] = field(default_factory=list)
    followed: int = 0
    wanted: int = 0
    late_frames: list[int] = field(default_factory=list)
    again: int = 0
    gone: int = 0
    wrong: int = 0
    crossed: int = 0
    frame_ms: list[float] = field(default_factory=list)


def main() -> None:
    """Print and write the table, or measure the node."""
    options = _options()
    options.output.mkdir(parents=True, exist_ok=True)
    meshes = known_objects(DEMO_OBJECT_SET)
    objects_file = write_objects_file(meshes, options.output / "objects")
    trials = {**dict.fromkeys(TRIALS, 0), **options.trials} if options.trials else TRIALS
    known = [make_scene_object(mesh) for mesh in meshes]
    torch.set_num_threads(1)
    model = load_model(Settings(objects_file=str(objects_file), cache_dir=str(options.output / "cache"), cpu_threads=1))
    symmetries = {str(mesh.metadata["name"]): fine_symmetries(symmetries_of(mesh)) for mesh in meshes}
    numbers: dict[str, Numbers] = defaultdict(Numbers)
    for film in films(known, trials):
        render_film(film, options.films)
        follow_film(options.films / film.name, model, symmetries, options, numbers[film.name.split("_")[0]])
        print_table(f"{processor()}; {machine(1)}", [row_of(kind, one) for kind, one in numbers.items()])
    rows = [row_of(kind, one) for kind, one in numbers.items()]
    write_json("bench_tracking", {"machine": machine(1), "processor": processor(), "rows": rows})


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", nargs="+", default=[], help="films of each kind, such as taken=3")
    parser.add_argument("--films", type=Path, default=Path("out/films"), help="folder that keeps the films")
    parser.add_argument("--search-every", type=int, default=9, help="frames a search takes")
    parser.add_argument("--output", type=Path, default=Path("out/bench_tracking"))
    options = parser.parse_args()
    options.trials = {kind: int(count) for kind, _, count in (word.partition("=") for word in options.trials)}
    return options


def follow_film(
    folder: Path,
    model: InstanceSegmentationModel,
    symmetries: dict[str, Array],
    options: argparse.Namespace,
    numbers: Numbers,
) -> None:
    """Follow through one film and add to the numbers."""
    tracker, coming = PoseTracker(), []
    ids: dict[int, list[int]] = defaultdict(list)
    gone_since: dict[int, int] = {}
    pictures = []
    for index, shown in enumerate(read_film(folder)):
        while coming and coming[0][0] <= index:
            _, found, stamp_ns = coming.pop(0)
            tracker.merge(found, stamp_ns, model.library)
        began_s = time.thread_time()
        detections = tracker.follow(shown.frame, model.library).detections
        numbers.frame_ms.append(1e3 * (time.thread_time() - began_s))
        if index % options.search_every == 0:
            found = model.segment(shown.frame, with_unit_check=False).to("cpu")
            # the first one at once: what is measured is the following
            coming.append((index + (options.search_every if index else 1), found, shown.frame.stamp_ns))
        names = [detections.class_id(row) for row in range(len(detections))]
        rotations, places_m = detections.rotation.double().numpy(), detections.translation_m.double().numpy()
        rows = rows_of_bodies(names, places_m, shown)
        is_started = index > options.search_every
        for place, (name, number) in enumerate(zip(shown.names, shown.numbers.tolist(), strict=True)):
            if name == HAND:
                continue
            row, share = rows.get(place), shown.visible_share[place]
            if share >= MIN_VISIBLE and is_started:
                numbers.wanted += 1
                numbers.followed += row is not None
            if row is not None and share >= MIN_VISIBLE:
                true = shown.object_to_camera[place]
                error_mm, error_deg = pose_error(rotations[row], places_m[row], true, symmetries[name])
                numbers.error_mm.append(error_mm)
                numbers.error_deg.append(error_deg)
                ids[number].append(detections.instance_ids()[row])
        _add_losses(numbers, shown, detections, ids, gone_since, index)
        if index and index % 20 == 0 and len(pictures) < DRAWN_FRAMES:
            pictures.append(draw_overlay(shown.frame.rgb, detections, "outline"))
    kind = folder.name.split("_")[0]
    if kind == "taken":
        for number in gone_since:
            numbers.gone += 1
            numbers.again += len(ids[number]) > 0 and ids[number][-1] == ids[number][0]
    if kind == "crossing":
        numbers.crossed += len(ids)
        numbers.wrong += sum(each[-1] != each[0] for each in ids.values())
    if pictures:
        cv2.imwrite(str(options.output / f"{folder.name}.png"), np.hstack(pictures)[..., ::-1])


def _add_losses(
    numbers: Numbers,
    shown: FilmFrame,
    detections: Detections,
    ids: dict[int, list[int]],
    gone_since: dict[int, int],
    index: int,
) -> None:
    """Count for how long ids of bodies that are gone are still published; only the first time that each is gone."""
    present = dict(zip(shown.numbers.tolist(), shown.visible_share.tolist(), strict=True))
    for number, own in ids.items():
        if own and present.get(number, 0.0) < MAX_GONE and number not in gone_since:
            gone_since[number] = index
            numbers.late_frames.append(0)
        if gone_since.get(number) is not None and present.get(number, 0.0) < MAX_GONE:
            is_stale = own[-1] in detections.instance_ids()
            if is_stale and index - gone_since[number] == numbers.late_frames[-1]:
                numbers.late_frames[-1] += 1


def row_of(kind: str, one: Numbers) -> dict[str, object]:
    """One line of the table."""

    def share(part: int, whole: int) -> str:
        return f"{part} of {whole}" if whole else ""

    return {
        "films": kind,
        "mm": f"{np.median(one.error_mm):.1f}" if one.error_mm else "",
        "mm, 95 %": f"{np.percentile(one.error_mm, 95):.1f}" if one.error_mm else "",
        "degrees": f"{np.median(one.error_deg):.1f}" if one.error_deg else "",
        "followed": f"{100 * one.followed / max(one.wanted, 1):.1f} %",
        "frames until lost, most": max(one.late_frames) if one.late_frames else "",
        "again with its id": share(one.again, one.gone),
        "wrong id": share(one.wrong, one.crossed),
        "ms of a core, median": f"{np.median(one.frame_ms):.1f}",
        "95 %": f"{np.percentile(one.frame_ms, 95):.1f}",
    }


if __name__ == "__main__":
    main()
