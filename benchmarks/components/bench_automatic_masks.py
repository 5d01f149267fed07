"""Seconds of automatic masks around SAM's networks, compared with segment-anything's own where that is installed.

    python benchmarks/components/bench_automatic_masks.py                 640 x 480, 1,024 points, about 100 proposals
    python benchmarks/components/bench_automatic_masks.py --network vit_b    peak memory at 1280 x 720, full networks

The masks are synthetic (benchmarks/common/synthetic_masks.py): the networks are not timed. Both sides get the same
tensors and the same thresholds, those of SAM-6D, and the script says how many of the other's masks we have too
(IoU above 0.99), and how many of ours it has not. segment-anything is compared only where it can be imported (it
needs a torchvision that fits PyTorch); SAM-6D adds to its time by decoding its RLE again.

--network: a process of its own runs vit_b and DINOv2 vits14 with random weights on every prompt and every crop as
well, and the peak of its memory is printed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ism_ros.runtime.threads import configure_thread_env

configure_thread_env()
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for common

import numpy as np
import torch
from common.measuring import write_json
from common.synthetic_masks import SIDE, SyntheticMaskModel
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn.functional import interpolate

from ism_ros.data.crops import crop_resize_pad
from ism_ros.runtime.memory import peak_bytes
from ism_ros.segmentors.sam.automatic_masks import AutomaticMasks, MaskOptions
from ism_ros.segmentors.sam.sam_segmentor import scaled_to_side

REPEATS = 5


def main() -> None:
    """Print and write seconds, or peak memory with --network."""
    options = _options()
    if options.network:
        print(json.dumps(_with_networks(options)) if options.child else _in_a_process_of_its_own())
        return
    size = (480, 640)
    image = np.zeros((*size, 3), np.uint8)
    mask_options = MaskOptions(points_per_side=32)
    model = SyntheticMaskModel(options.objects, size, mask_options.points_per_side)
    ours = AutomaticMasks(model)
    ours.propose(image, mask_options)
    seconds = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        proposals = ours.propose(image, mask_options)
        seconds.append(time.perf_counter() - began)
    best, median = min(seconds), statistics.median(seconds)
    table = Table(title=f"640 x 480, 1,024 points, {torch.get_num_threads()} threads: after the networks")
    for name in ("", "proposals", "best s", "median s"):
        table.add_column(name, justify="left" if not name else "right")
    table.add_row("ours", str(len(proposals)), f"{best:.3f}", f"{median:.3f}")
    result: dict[str, Any] = {"proposals": len(proposals), "best_s": best, "median_s": median}
    if (other := _segment_anything(model, image, mask_options)) is not None:
        masks, other_s = other
        table.add_row("segment-anything", str(len(masks)), f"{other_s:.3f}", f"{other_s:.3f}")
        found, not_there = _agreement(masks, proposals.masks.numpy())
        result |= {"other_s": other_s, "ratio": other_s / median, "found": found, "only_ours": not_there}
    console = Console()
    console.print(table)
    if other is not None:
        console.print(
            f"{result['ratio']:.0f} times less; {result['found']} of its {len(other[0])} masks are ours as well, "
            f"{result['only_ours']} of ours are not its"
        )
    else:
        console.print("segment-anything is not installed: nothing to compare with")
    write_json("bench_automatic_masks", result)


def _agreement(theirs: NDArray[np.bool_], ours: NDArray[np.bool_]) -> tuple[int, int]:
    """How many of theirs are ours (IoU above 0.99), and how many of ours are not theirs."""
    first, second = (torch.from_numpy(masks).flatten(1).float() for masks in (theirs, ours))
    shared = first @ second.T
    iou = shared / (first.sum(dim=1)[:, None] + second.sum(dim=1) - shared)
    return int((iou.amax(dim=1) > 0.99).sum()), int((iou.amax(dim=0) <= 0.99).sum())


def _segment_anything(
    model: SyntheticMaskModel, image: NDArray[np.uint8], options: MaskOptions
) -> tuple[NDArray[np.bool_], float] | None:
    """Masks and seconds of segment-anything's generator for the masks of `model`; None where it is not installed."""
    try:
        from segment_anything import SamAutomaticMaskGenerator
        from segment_anything.modeling import Sam
    except ImportError:
        return None

    class SyntheticPredictor:
        """In the place of its predictor: the same small logits, upscaled as it does."""

        device = torch.device("cpu")
        model = type("Threshold", (), {"mask_threshold": Sam.mask_threshold})
        transform = type("Same", (), {"apply_coords": staticmethod(lambda points, size: points)})

        def set_image(self, picture: NDArray[np.uint8]) -> None:
            self.next = 0

        def reset_image(self) -> None:
            pass

        def predict_torch(self, points: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor, None]:
            rows = slice(self.next, self.next + len(points))
            self.next = rows.stop
            height, width = scaled_to_side(image.shape[:2], SIDE)
            square = interpolate(synthetic.logits[rows], size=(SIDE, SIDE), mode="bilinear", align_corners=False)
            square = square[..., :height, :width]
            large = interpolate(square, size=image.shape[:2], mode="bilinear", align_corners=False)
            return large, synthetic.predicted_iou[rows], None

    synthetic = model
    generator = SamAutomaticMaskGenerator(
        type("Model", (), {"image_encoder": type("E", (), {"img_size": SIDE})})(),
        points_per_side=options.points_per_side,
        pred_iou_thresh=options.predicted_iou,
        stability_score_thresh=options.stability,
        box_nms_thresh=options.box_nms,
    )
    generator.predictor = SyntheticPredictor()
    began = time.perf_counter()
    found = generator.generate(image)
    return np.stack([entry["segmentation"] for entry in found]), time.perf_counter() - began


def _in_a_process_of_its_own() -> str:
    command = [sys.executable, __file__, "--network", "vit_b", "--objects", "300", "--child"]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    write_json("bench_automatic_masks_memory", found)
    return (
        f"1280 x 720, vit_b and vits14 with random weights, {found['proposals']} proposals: peak "
        f"{found['peak_mb']:.0f} MB, of which {found['before_mb']:.0f} MB before the frame; {found['seconds']:.0f} s"
    )


def _with_networks(options: argparse.Namespace) -> dict[str, float]:
    """One frame through networks of full size and random weights, with synthetic masks."""
    from transformers import Dinov2Config, Dinov2Model, SamConfig, SamModel

    from ism_ros.descriptors.vit import VitDescriptor
    from ism_ros.segmentors.sam.sam_segmentor import PromptableSam

    size = (720, 1280)
    mask_options = MaskOptions(width=640, points_per_side=32)
    sam = SamModel(SamConfig()).eval().requires_grad_(False)
    dino = Dinov2Model(Dinov2Config(hidden_size=384, num_attention_heads=6, image_size=224, patch_size=14)).eval()
    model = SyntheticMaskModel(options.objects, (360, 640), 32, PromptableSam(sam))
    before = peak_bytes()
    began = time.perf_counter()
    image = np.zeros((*size, 3), np.uint8)
    proposals = AutomaticMasks(model).propose(image, mask_options)
    frame = torch.zeros(3, *size)
    crops, crop_masks = crop_resize_pad(frame, proposals.masks, proposals.boxes_xyxy, 224)
    VitDescriptor("dinov2", dino, "").describe(crops, crop_masks)
    return {
        "proposals": len(proposals),
        "before_mb": before / 2**20,
        "peak_mb": peak_bytes() / 2**20,
        "seconds": time.perf_counter() - began,
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=130, help="synthetic ellipses (default: %(default)s)")
    parser.add_argument("--network", choices=["vit_b"], help="peak memory with networks of full size instead")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
