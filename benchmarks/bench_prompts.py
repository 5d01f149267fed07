"""Prompts of SAM: the grid against guided ones, by the decoder's time and by the instances that are asked for.

    python benchmarks/bench_prompts.py                     rendered tables
    python benchmarks/bench_prompts.py --real FOLDER       and frames as docs/real.md describes them
    python benchmarks/bench_prompts.py --no-decoder        prompts alone, no times

Prompts: points and boxes of a frame, those of the grid of 32 x 32 and those of `prompts: guided`. A point is inside an
instance where it lies in its true mask; a box fits one where their IoU is 0.5 or more. Instances less than 10 % visible
do not count.

Decoder: SAM's prompt encoder and mask decoder of the published size (they are the same for vit_b, vit_l and vit_h) with
random weights, on the prompts of the first rendered frame in batches of 64, grid and guided in turns. The guide's time,
that of the segmentor tiny and of the depth, is told beside.

What this does not tell is recall: that needs the published weights. It tells whether something was asked for at all.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ism_ros.runtime.threads import configure_thread_env

configure_thread_env()

import numpy as np
import torch
from accuracy.real_frames import frame_folders, read_real_frame
from common.coco_scoring import MIN_VISIBLE_SHARE
from common.measuring import machine, print_table, write_json
from common.random_networks import random_sam
from common.scene_sets import make_object_set, observe_scene
from numpy.typing import NDArray
from torch import Tensor

from ism_ros.data.boxes import boxes_from_masks
from ism_ros.data.frame import Frame
from ism_ros.registration.frame_registration import with_registered_depth
from ism_ros.runtime.machine import processor
from ism_ros.segmentors.base import create_segmentor
from ism_ros.segmentors.sam.guided_prompts import GuidedPrompter
from ism_ros.segmentors.sam.image_crops import Crop
from ism_ros.segmentors.sam.promptable import Prompts
from ism_ros.segmentors.sam.prompts import Prompter, grid_prompts
from ism_ros.segmentors.sam.sam_segmentor import PromptableSam

FIRST_SCENE = 5000
PER_SIDE, BATCH = 32, 64
MIN_BOX_IOU = 0.5


def main() -> None:
    """Print and write counts and times."""
    options = _options()
    guided: Prompter = GuidedPrompter(create_segmentor("tiny"), PER_SIDE)
    prompters: dict[str, Prompter] = {"grid": lambda frame: grid_prompts(PER_SIDE), "guided": guided}
    sets = {"rendered": list(_rendered(options.scenes, options.output))}
    if options.real:
        sets["real"] = list(_real(options.real))
    counted = [row for name, frames in sets.items() for row in _counts(name, frames, prompters)]
    print_table("prompts a frame, and instances that are asked for", counted)
    result: dict[str, Any] = {"processor": processor(), "machine": machine(options.threads), "prompts": counted}
    if not options.no_decoder:
        torch.set_num_threads(options.threads)
        frame = sets["rendered"][0][0]
        result["decoder"] = _decoder(frame, prompters, options.rounds, options.grid_batches)
        print_table(f"decoder, {result['processor']}; {result['machine']}", result["decoder"])
    write_json("bench_prompts", result, options.output)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, help="folder of real frames")
    parser.add_argument("--scenes", type=int, default=20, help="rendered tables (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of grid and guided (default: %(default)s)")
    parser.add_argument(
        "--grid-batches",
        type=int,
        default=PER_SIDE**2 // BATCH,
        help="batches of the grid that are run in each turn, of 16; the time of all is in proportion (default: all)",
    )
    parser.add_argument("--threads", type=int, default=2, help="of PyTorch (default: %(default)s)")
    parser.add_argument("--no-decoder", action="store_true", help="prompts alone")
    parser.add_argument("--output", type=Path, default=Path("out/prompts"))
    return parser.parse_args()


def _rendered(scenes: int, output: Path) -> Iterator[tuple[Frame, NDArray[np.bool_]]]:
    """Frames, and true masks (N, H, W) of what is visible in them."""
    known = make_object_set(0, output)
    for number in range(FIRST_SCENE, FIRST_SCENE + scenes):
        frame, truth = observe_scene(number, known, output)
        yield frame, truth.masks[truth.visible_share >= MIN_VISIBLE_SHARE]


def _real(folder: Path) -> Iterator[tuple[Frame, NDArray[np.bool_]]]:
    for one in frame_folders(folder):
        real = read_real_frame(one)
        masks = [instance.mask for instance in real.instances if instance.mask is not None]
        if masks:
            yield with_registered_depth(real.frame), np.stack(masks)


def _counts(
    name: str, frames: list[tuple[Frame, NDArray[np.bool_]]], prompters: dict[str, Prompter]
) -> Iterator[dict[str, Any]]:
    """Rows of the table: how many prompts there are, and how many instances have one."""
    for way, prompter in prompters.items():
        counts, seconds, pointed, boxed = [], [], [], []
        for frame, masks in frames:
            began = time.perf_counter()
            prompts = _whole(prompter, frame)
            seconds.append(time.perf_counter() - began)
            counts.append(len(prompts.points_xy) + len(prompts.boxes_xyxy))
            pointed += _have_point(prompts.points_xy, masks)
            boxed += _have_box(prompts.boxes_xyxy, masks)
        either = [a or b for a, b in zip(pointed, boxed, strict=True)]
        yield {
            "frames": f"{len(frames)} {name}",
            "prompts": way,
            "mean": round(statistics.mean(counts), 1),
            "most": max(counts),
            "instances": len(pointed),
            "point inside": sum(pointed),
            "box fits": sum(boxed),
            "either": sum(either),
            "finding them, ms": round(1e3 * statistics.median(seconds)),
        }


def _whole(prompter: Prompter, frame: Frame) -> Prompts:
    size = frame.height, frame.width
    return prompter(frame)(Crop(0, 0, frame.width, frame.height, 0), size)


def _have_point(points_xy: Tensor, masks: NDArray[np.bool_]) -> list[bool]:
    columns, rows = points_xy.round().long().numpy().T
    height, width = masks.shape[1:]
    return [bool(hit) for hit in masks[:, rows.clip(0, height - 1), columns.clip(0, width - 1)].any(axis=1)]


def _have_box(boxes_xyxy: Tensor, masks: NDArray[np.bool_]) -> list[bool]:
    true = boxes_from_masks(torch.from_numpy(masks)).float()
    first = torch.maximum(true[:, None, :2], boxes_xyxy[None, :, :2])
    last = torch.minimum(true[:, None, 2:], boxes_xyxy[None, :, 2:])
    shared = (last - first + 1).clamp(min=0).prod(dim=2)
    areas = [(boxes[:, 2:] - boxes[:, :2] + 1).prod(dim=1) for boxes in (true, boxes_xyxy)]
    iou = shared / (areas[0][:, None] + areas[1][None] - shared)
    return [bool(hit) for hit in (iou >= MIN_BOX_IOU).any(dim=1)]


@torch.inference_mode()
def _decoder(frame: Frame, prompters: dict[str, Prompter], rounds: int, grid_batches: int) -> list[dict[str, Any]]:
    """Rows of the table of times: grid and guided in turns."""
    model = PromptableSam(random_sam("vit_b", "cpu"))
    embedding = torch.randn(1, 256, 64, 64), (frame.height, frame.width)
    prompts = {way: _whole(prompter, frame) for way, prompter in prompters.items()}
    most = {"grid": BATCH * grid_batches}
    scale = {"grid": len(prompts["grid"].points_xy) / (BATCH * grid_batches)}
    model.predict(embedding, prompts["guided"].points_xy[:4])
    spent: dict[str, list[float]] = {way: [] for way in prompters}
    for _ in range(rounds):
        for way, (points, boxes) in prompts.items():
            began = time.perf_counter()
            for predict, asked in ((model.predict, points), (model.predict_boxes, boxes)):
                for part in asked[: most.get(way)].split(BATCH) if len(asked) else ():
                    predict(embedding, part)
            spent[way].append((time.perf_counter() - began) * scale.get(way, 1.0))
    best = {way: min(times) for way, times in spent.items()}
    return [
        {
            "prompts": f"{way}: {len(prompts[way].points_xy)} points, {len(prompts[way].boxes_xyxy)} boxes",
            "best s": round(best[way], 2),
            "median s": round(statistics.median(spent[way]), 2),
            "times less, best": round(best["grid"] / best[way], 1),
            "times less, each turn": " ".join(
                f"{grid / own:.1f}" for grid, own in zip(spent["grid"], spent[way], strict=True)
            ),
        }
        for way in prompters
    ]


if __name__ == "__main__":
    main()
