"""A whole frame of SAM vit_h and DINOv2 vitl14 on a GPU, by device events, and the least that it can take.

    python benchmarks/components/bench_gpu_frame.py                        on the first GPU
    python benchmarks/components/bench_gpu_frame.py --device cpu --small   whether it runs, with tiny networks

Networks of the published sizes with random weights, in the classes that the node uses: 640 x 480, 1,024 point prompts,
one object of 42 templates and then 20. As random weights find nothing, the masks are synthetic
(benchmarks/common/synthetic_masks.py); the networks run all the same, on every prompt and every crop. Half precision is
what these classes choose on a GPU: bfloat16 for the image encoder and DINOv2, float32 for prompts and masks.

Floor of a stage: its floating-point operations (torch.utils.flop_counter) at the rate of the card's own products of
8192 x 8192 matrices, or what it reads and writes at least at the rate of the card's own copies, whichever is longer.

Also: an eighth of the prompts, as many as `prompts: guided` has, with the guide; the same prompts in larger batches and
with faster products of float32 (TF32); how far class tokens in bfloat16 are from those in float32; peak memory of vit_b
and vits14 with about 200 proposals in 1280 x 720.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for common

import torch
from common.device_measuring import Operations, Probe, Stopwatch, copy_rate, matrix_rate, peak_mb
from common.measuring import print_table, write_json
from common.random_networks import CROP_PX, random_dino, random_library, random_sam, synthetic_frame, weights
from common.synthetic_masks import SyntheticMaskModel
from torch import Tensor
from torch.nn.functional import normalize

from ism_ros.config.settings import Settings
from ism_ros.data.frame import Frame
from ism_ros.descriptors.vit import VitDescriptor
from ism_ros.io.result_files import to_records
from ism_ros.model import InstanceSegmentationModel
from ism_ros.objects.library import ObjectLibrary
from ism_ros.query import Query
from ism_ros.runtime.memory import reset_peak
from ism_ros.runtime.precision import network_dtype
from ism_ros.segmentors.base import create_segmentor
from ism_ros.segmentors.sam.automatic_masks import AutomaticMaskSegmentor, MaskOptions
from ism_ros.segmentors.sam.image_crops import point_grid
from ism_ros.segmentors.sam.promptable import CropPrompts, Prompts
from ism_ros.segmentors.sam.prompts import Prompter
from ism_ros.segmentors.sam.sam_segmentor import PromptableSam

IN_SEGMENTOR = ["image encoder", "prompts and masks"]
STAGES = [*IN_SEGMENTOR, "automatic masks", "crops", "descriptor", "scores", "selection", "poses (CPU)"]
OUTPUT = "output (RLE on the CPU)"
GRID_BY_GUIDED = 8
"""Prompts of the grid by those that are guided."""


@dataclass(frozen=True)
class Scale:
    """Which networks, how many prompts a side, how often, and matrices of which side the rates are measured with."""

    sam: str
    dino: str
    small_sam: str
    small_dino: str
    points: int
    repeats: int
    matrix: int


FULL = Scale("vit_h", "vitl14", "vit_b", "vits14", points=32, repeats=7, matrix=8192)
SMALL = Scale("small", "small", "small", "small", points=8, repeats=1, matrix=256)


class Bench:
    """The model with random weights, whose stages are measured by `probe`."""

    def __init__(
        self,
        sam: str,
        dino: str,
        points: int,
        synthetic_objects: int,
        segmented: tuple[int, int],
        device: str,
        guided: bool = False,
    ) -> None:
        self.device = device
        self.sam = random_sam(sam, device)
        self.network = PromptableSam(self.sam, device)
        self.dino = random_dino(dino, device)
        self.synthetic = SyntheticMaskModel(synthetic_objects, segmented, points, self.network, device)
        prompter = self._guided_prompter(points, segmented) if guided else None
        options = MaskOptions(points_per_side=points)
        segmentor = AutomaticMaskSegmentor("sam", self.synthetic, options, prompter=prompter)
        descriptor = VitDescriptor("dinov2", self.dino, "random", device)
        settings = Settings(confidence_threshold=0.0, score_threshold=0.0, max_detections=1000, device=device)
        self.model = InstanceSegmentationModel(segmentor, descriptor, ObjectLibrary(), settings, device)
        self.probe: Probe = Stopwatch(device)
        for owner, method, name in (
            (self.network, "embed", "image encoder"),
            (self.network, "predict", "prompts and masks"),
            (segmentor, "propose", "segmentor"),
            (self.model, "propose", "proposals and crops"),
            (descriptor, "describe", "descriptor"),
            (self.model, "score", "scores"),
        ):
            setattr(owner, method, self._probed(getattr(owner, method), name))

    def _guided_prompter(self, points: int, size: tuple[int, int]) -> Prompter:
        """As many prompts as guided ones are at most, an eighth of the grid, by a guide whose results are discarded."""
        chosen = slice(None, None, GRID_BY_GUIDED)
        self.synthetic.logits = self.synthetic.logits[chosen]
        self.synthetic.predicted_iou = self.synthetic.predicted_iou[chosen]
        prompts = Prompts(point_grid(points, size)[chosen], torch.zeros(0, 4))
        guide = create_segmentor("tiny", self.device)

        def prompts_of(frame: Frame) -> CropPrompts:
            guide.propose(frame)
            return lambda crop, image_size: prompts

        return prompts_of

    def _probed(self, work: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            with self.probe.stage(name):
                return work(*arguments)

        return call


def main() -> None:
    """Print and write all tables."""
    options = _options()
    device, scale = options.device, SMALL if options.small else FULL
    half, full = network_dtype(torch.device(device)), torch.float32
    result: dict[str, Any] = {
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else device,
        "torch": torch.__version__,
        "TFLOP/s": {str(dtype): matrix_rate(dtype, scale.matrix, device) for dtype in {half, full}},
        "copy GB/s": copy_rate(scale.matrix, device),
    }
    title = f"{result['device']}, PyTorch {result['torch']}"
    print(f"{title}: {result['TFLOP/s']} TFLOP/s, copies {result['copy GB/s']} GB/s")
    frame = synthetic_frame(480, 640)
    bench = Bench(scale.sam, scale.dino, scale.points, 130, (480, 640), device)
    for objects in (1, 20):
        bench.model.library = random_library(bench.model.descriptor, objects, device)
        reset_peak(device)
        rows = timed_stages(bench, frame, scale, result, {"image encoder": half, "descriptor": half})
        print_table(f"a frame of {scale.sam} and {scale.dino}, {objects} objects known, {title}", rows)
        result[f"stages, {objects} objects"] = rows
        result[f"peak MB, {objects} objects"] = peak_mb(device)
        print(f"peak memory {peak_mb(device):.0f} MB")
    guided = Bench(scale.sam, scale.dino, scale.points, 130, (480, 640), device, guided=True)
    guided.model.library = random_library(guided.model.descriptor, 1, device)
    rows = timed_stages(guided, frame, scale, result, {"image encoder": half, "descriptor": half})
    print_table(f"the same with an eighth of the prompts, as guided ones are, 1 object known, {title}", rows)
    result["stages, guided"] = rows
    del guided
    result["prompts"] = prompt_batches(bench, frame, scale)
    print_table("all prompts by batch and by precision of float32 products", result["prompts"])
    del bench
    reset_peak(device)
    result["cosine"] = agreement(scale.dino, device)
    print(f"bfloat16 compared with float32: cosine of class tokens at least {result['cosine']:.5f}")
    reset_peak(device)
    small = Bench(scale.small_sam, scale.small_dino, scale.points, 300, (360, 640), device)
    small.model.library = random_library(small.model.descriptor, 1, device)
    hd = synthetic_frame(720, 1280)
    proposals = len(small.model.segmentor.propose(hd))
    result["hd"] = {"proposals": proposals, "detections": len(small.model.segment(hd)), "peak MB": peak_mb(device)}
    print(f"1280 x 720, {scale.small_sam} and {scale.small_dino}: {result['hd']}")
    write_json("bench_gpu_frame", result)


def timed_stages(
    bench: Bench, frame: Frame, scale: Scale, rates: dict[str, Any], halves: dict[str, torch.dtype]
) -> list[dict[str, Any]]:
    """Measure the stages of a frame.

    Args:
        bench: The model.
        frame: The frame.
        scale: How often.
        rates: Rates of the device.
        halves: Type of the numbers in stages of half precision.

    Returns:
        A row a stage: median milliseconds, operations, bytes, and the least time that these take.
    """
    bench.probe = operations = Operations()
    bench.model.segment(frame)
    bench.probe = watch = Stopwatch(bench.device)
    runs = []
    for _ in range(scale.repeats + 2):
        with watch.stage("frame"):
            found = bench.model.segment(frame)
        with watch.stage(OUTPUT):
            to_records(found)
        spent = watch.ms()
        spent["crops"] = spent.pop("proposals and crops") - spent["segmentor"]
        spent["automatic masks"] = spent.pop("segmentor") - sum(spent[name] for name in IN_SEGMENTOR)
        for name, key in (("selection", "selection"), ("poses (CPU)", "pose")):
            spent[name] = 1e3 * found.stage_s[key]
        runs.append(spent)
    ms = {name: statistics.median(run[name] for run in runs[2:]) for name in runs[0]}
    moved = least_bytes(bench, frame)
    rows, floor_of_frame_ms = [], 0.0
    for name in STAGES:
        rate = rates["TFLOP/s"][str(halves.get(name, torch.float32))]
        floor_ms = 1e3 * max(operations.counted[name] / (rate * 1e12), moved.get(name, 0) / (rates["copy GB/s"] * 1e9))
        floor_of_frame_ms += floor_ms
        rows.append(_row(name, ms[name], operations.counted[name], moved.get(name, 0), floor_ms))
    everything = sum(operations.counted[name] for name in STAGES)
    rows.append(_row("frame", ms["frame"], everything, sum(moved.values()), floor_of_frame_ms))
    rows.append(_row(OUTPUT, ms[OUTPUT], 0, 0, 0))
    return rows


def _row(stage: str, ms: float, operations: float, moved: float, floor_ms: float) -> dict[str, Any]:
    return {
        "stage": stage,
        "ms": round(ms, 2),
        "TFLOP": round(operations / 1e12, 2),
        "GB": round(moved / 1e9, 2),
        "floor ms": round(floor_ms, 2),
        "ratio": round(ms / floor_ms, 1) if floor_ms else "",
    }


def least_bytes(bench: Bench, frame: Frame) -> dict[str, int]:
    """Count what each stage has to read and to write once: weights, results of the stage before, its own results.

    Args:
        bench: The model.
        frame: The frame.

    Returns:
        Bytes by stage.
    """
    model, sam = bench.model, bench.sam
    with torch.inference_mode():
        found = model.propose(Query(frame, model.library, model.settings))
        proposals, crops, crop_masks = found.proposals, found.crops, found.crop_masks
        described = model.descriptor.describe(crops, crop_masks)
        embedding = bench.network.embed(frame.rgb)[0].nbytes
    logits, masks, pictures = bench.synthetic.logits.nbytes, proposals.masks.nbytes, crops.nbytes + crop_masks.nbytes
    tokens = described.class_tokens.nbytes + described.patch_tokens.nbytes
    encoder = weights(sam.vision_encoder)
    return {
        "image encoder": encoder + embedding,
        "prompts and masks": weights(sam) - encoder + embedding + logits,
        "automatic masks": logits + masks,
        "crops": masks + pictures,
        "descriptor": weights(bench.dino) + pictures + tokens,
        # the patches of each proposal and those of its template
        "scores": tokens + described.patch_tokens.nbytes + model.library.class_tokens.nbytes,
    }


def prompt_batches(bench: Bench, frame: Frame, scale: Scale) -> list[dict[str, Any]]:
    """Measure all prompts in batches of several sizes and with faster products of float32.

    Args:
        bench: The model.
        frame: The frame.
        scale: How many prompts and how often.

    Returns:
        A row a batch size and precision: milliseconds, peak memory, difference of the logits from the first row's.
    """
    points = torch.rand(scale.points**2, 2, device=bench.device) * 400
    watch, rows, expected = Stopwatch(bench.device), [], None
    bench.probe = Operations()
    with torch.inference_mode():
        embedding = bench.network.embed(frame.rgb)
        for precision in ("highest", "high"):
            torch.set_float32_matmul_precision(precision)
            for batch in (64, 128, 256):
                reset_peak(bench.device)
                spent = []
                for _ in range(scale.repeats + 1):
                    with watch.stage("all"):
                        for some in points.split(batch):
                            bench.network.predict(embedding, some)
                    spent.append(watch.ms()["all"])
                peak = peak_mb(bench.device)
                logits, _ = bench.network.predict(embedding, points[:batch])
                expected = logits[:64] if expected is None else expected
                away = (logits[: len(expected)] - expected).norm() / expected.norm()
                rows.append(
                    {
                        "prompts at once": batch,
                        "precision": precision,
                        "ms": round(statistics.median(spent[1:]), 1),
                        "peak MB": round(peak),
                        "logits differ by": float(f"{float(away):.1e}"),
                    }
                )
    torch.set_float32_matmul_precision("highest")
    return rows


def agreement(size: str, device: str) -> float:
    """Compare class tokens in bfloat16 with those in float32.

    Args:
        size: Key of DINO_WIDTHS.
        device: The device.

    Returns:
        Least cosine.
    """

    def tokens(dtype: torch.dtype) -> Tensor:
        described = VitDescriptor("dinov2", dino, "random", device, dtype).describe(crops, masks)
        return normalize(described.class_tokens, dim=1)

    dino = random_dino(size, device)
    crops = torch.rand(32, 3, CROP_PX, CROP_PX, device=device)
    masks = torch.ones(32, CROP_PX, CROP_PX, dtype=torch.bool, device=device)
    # float32 first: the weights are rounded in place
    full, half = tokens(torch.float32), tokens(torch.bfloat16)
    return float((half * full).sum(dim=1).min())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--small", action="store_true", help="tiny networks, few prompts, once")
    return parser.parse_args()


if __name__ == "__main__":
    main()
