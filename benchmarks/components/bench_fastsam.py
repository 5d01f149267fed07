"""Milliseconds and memory of what FastSAM's segmentor does around its network, stage by stage, at several frame sizes.

    python benchmarks/components/bench_fastsam.py
    python benchmarks/components/bench_fastsam.py --proposals 100 --threads 1 --checkpoint FastSAM-s.onnx

The network's outputs are synthetic: blobs of random places and sizes, as many proposals as asked for, among as many
boxes again that suppression drops and 6,000 that are not confident enough. Without --checkpoint the network itself is
not timed. Memory is the growth of the process's peak over what it held before, each size in a process of its own.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ism_ros.runtime.threads import configure_thread_env

configure_thread_env()
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for common

import numpy as np
import psutil
import torch
from common.measuring import in_subprocess, machine, print_table, timed, write_json

from ism_ros.data.camera import Camera
from ism_ros.data.frame import Frame
from ism_ros.runtime.memory import peak_bytes
from ism_ros.segmentors.fastsam.fastsam_segmentor import FastSamSegmentor
from ism_ros.segmentors.fastsam.letterbox import Letterbox, letterbox_around
from ism_ros.segmentors.fastsam.yolo_masks import RawOutputs, assemble_masks, find_candidates

SIZES = ((480, 640), (720, 1280), (1080, 1920))
CHANNELS = 32
REPEATS = 5


def main() -> None:
    """Print and write a row for each frame size."""
    options = _options()
    rows = [in_subprocess(_measure, size, options, threads=options.threads) for size in SIZES]
    title = f"{options.proposals} proposals; {machine(options.threads)}"
    print_table(title, rows)
    write_json("bench_fastsam", {"title": title, "rows": rows})


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--proposals", type=int, default=300, help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=0, help="of PyTorch; 0 = as PyTorch chooses")
    parser.add_argument("--checkpoint", type=Path, help="a FastSAM .onnx or .pt file, to time the whole segmentor too")
    return parser.parse_args()


def _measure(size: tuple[int, int], options: argparse.Namespace) -> dict[str, Any]:
    letterbox = letterbox_around(size, 640)
    outputs = _outputs(letterbox, options.proposals)
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    before = psutil.Process().memory_info().rss
    letterbox_ms, _ = _timed(lambda: letterbox.apply(image))
    boxes_ms, found = _timed(lambda: find_candidates(outputs.head, 0.25, 0.9, options.proposals))
    masks_ms, masks = _timed(lambda: assemble_masks(found, outputs.prototypes, letterbox))
    row: dict[str, Any] = {
        "frame": f"{size[1]} x {size[0]}",
        "letterbox ms": f"{letterbox_ms:.1f}",
        "boxes ms": f"{boxes_ms:.1f}",
        "masks ms": f"{masks_ms:.1f}",
        "proposals": len(masks),
        "masks MB": round(masks.numel() / 1e6),
        "peak MB": round((peak_bytes() - before) / 1e6),
    }
    if options.checkpoint:
        camera = Camera(np.array([[500.0, 0, size[1] / 2], [0, 500.0, size[0] / 2], [0, 0, 1]]), size[1], size[0])
        segmentor = FastSamSegmentor(options.checkpoint)
        whole_ms, _ = _timed(lambda: segmentor.propose(Frame(image, None, camera)))
        row["whole segmentor ms"] = f"{whole_ms:.0f}"
    return row


def _outputs(letterbox: Letterbox, proposals: int) -> RawOutputs:
    """Every proposal is a box of 5 to 50 % of the input's sides, and there is a second one a pixel away."""
    generator = torch.Generator().manual_seed(0)
    height, width = letterbox.input_size
    sides = torch.tensor([width, height])[:, None]
    size = (0.05 + 0.45 * torch.rand((2, proposals), generator=generator)) * sides
    centre = size / 2 + torch.rand((2, proposals), generator=generator) * (sides - size)
    confidence = 0.3 + 0.7 * torch.rand((1, proposals), generator=generator)
    coefficients = torch.randn((CHANNELS, proposals), generator=generator)
    good = torch.cat([centre, size, confidence, coefficients])
    twins = good.clone()
    twins[0] += 0.01 * size[0]
    twins[4] -= 0.01
    faint = torch.rand((5 + CHANNELS, 6000), generator=generator) * 0.2
    coarse = torch.randn((1, CHANNELS, 6, 8), generator=generator)
    prototypes = torch.nn.functional.interpolate(coarse, (height // 4, width // 4), mode="bicubic")[0]
    return RawOutputs(torch.cat([good, twins, faint], dim=1), prototypes)


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    return timed(work, REPEATS, statistics.median)


if __name__ == "__main__":
    main()
