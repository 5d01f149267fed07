"""A whole frame of SAM vit_h and DINOv2 vitl14 on a GPU, by device events, beside the least that it can take.

    python benchmarks/components/bench_gpu_frame.py                        on the first GPU
    python benchmarks/components/bench_gpu_frame.py --device cpu --small   whether it runs, with tiny networks

Networks of the published sizes with random weights, in the classes that the node uses: 640 x 480, 1,024 point prompts,
one object of 42 templates and then 20. As random weights find nothing, the masks are made up
(benchmarks/common/synthetic_masks.py); the networks run all the same, on every prompt and every crop. Half precision is what
these classes choose on a GPU: bfloat16 for the image encoder and DINOv2, float32 for prompts and masks.

Floor of a stage: its floating-point operations (torch.utils.flop_counter) at the rate of the card's own products of
8192 x 8192 matrices, or what it reads and writes at least at the rate of the card's own copies, whichever is longer.

Also: the same prompts in larger batches and with faster products of float32 (TF32); how far class tokens in bfloat16
are from those in float32; peak memory of vit_b and vits14 with about 200 proposals in 1280 x 720.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from made_up_masks import MadeUpModel
from measuring import peak_bytes, print_table, write_json
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.utils.flop_counter import FlopCounterMode
from transformers import Dinov2Config, Dinov2Model, SamConfig, SamModel

from ism_ros.config.settings import Settings
from ism_ros.data.camera import Camera
from ism_ros.data.frame import Frame
from ism_ros.descriptors.vit import VitDescriptor
from ism_ros.io.result_files import to_records
from ism_ros.model import InstanceSegmentationModel
from ism_ros.objects.library import KnownObject, ObjectLibrary
from ism_ros.rendering.polar_maps import ANGLES, RINGS, ViewMaps
from ism_ros.rendering.viewpoints import edge_midpoint_rotations, object_to_camera_rotations
from ism_ros.runtime.precision import network_dtype
from ism_ros.segmentors.sam.automatic_masks import AutomaticMaskSegmentor, MaskOptions
from ism_ros.segmentors.sam.sam_segmentor import PromptableSam

SAM_SIZES: dict[str, dict[str, Any]] = {
    "vit_b": {},
    "vit_h": {
        "vision_config": {
            "hidden_size": 1280,
            "num_hidden_layers": 32,
            "num_attention_heads": 16,
            "global_attn_indexes": [7, 15, 23, 31],
            "mlp_dim": 5120,
        }
    },
    "small": {
        "vision_config": {
            "image_size": 256,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "global_attn_indexes": [1],
        },
        "prompt_encoder_config": {"image_size": 256},
    },
}
DINO_WIDTHS = {
    "vits14": {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6},
    "vitl14": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16},
    "small": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2},
}
IN_SEGMENTOR = ["image encoder", "prompts and masks"]
STAGES = [*IN_SEGMENTOR, "automatic masks", "crops", "descriptor", "scores", "selection", "poses (CPU)"]
OUTPUT = "output (RLE on the CPU)"
TEMPLATES, CROP = 42, 224


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


class Probe(Protocol):
    """Something that is told when a stage begins and ends."""

    def stage(self, name: str) -> AbstractContextManager[None]: ...


class Stopwatch:
    """Time of named stages: events on a GPU, so that nothing waits for anything while it runs, else the clock."""

    def __init__(self, device: str) -> None:
        self._device = torch.device(device)
        self._spans: dict[str, list[Callable[[], float]]] = defaultdict(list)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        if self._device.type == "cuda":
            began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            began.record()
            yield
            ended.record()
            self._spans[name].append(lambda: began.elapsed_time(ended))
        else:
            since = time.perf_counter()
            yield
            spent_ms = 1e3 * (time.perf_counter() - since)
            self._spans[name].append(lambda: spent_ms)

    def ms(self) -> dict[str, float]:
        """Milliseconds by stage since the last call; waits for the device."""
        wait_for(self._device)
        spent = {name: sum(span() for span in spans) for name, spans in self._spans.items()}
        self._spans.clear()
        return spent


class Operations:
    """Floating-point operations of named stages."""

    def __init__(self) -> None:
        self.counted: dict[str, float] = defaultdict(float)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        with FlopCounterMode(display=False) as counter:
            yield
        self.counted[name] += counter.get_total_flops()


class Bench:
    """The model with random weights, whose stages tell `probe` of themselves.

    segmented: height and width of the image that the segmentor scales frames to.
    """

    def __init__(
        self, sam: str, dino: str, points: int, made_up_objects: int, segmented: tuple[int, int], device: str
    ) -> None:
        self.device = device
        self.network = PromptableSam(random_sam(sam, device), device)
        self.dino = random_dino(dino, device)
        self.made_up = MadeUpModel(made_up_objects, segmented, points, self.network, device)
        segmentor = AutomaticMaskSegmentor("sam", self.made_up, MaskOptions(points_per_side=points))
        descriptor = VitDescriptor("dinov2", self.dino, "random", device)
        settings = Settings(confidence_threshold=0.0, score_threshold=0.0, max_detections=1000, device=device)
        self.model = InstanceSegmentationModel(segmentor, descriptor, ObjectLibrary(), settings, device)
        self.probe: Probe = Stopwatch(device)
        for owner, method, name in (
            (self.network, "embed", "image encoder"),
            (self.network, "predict", "prompts and masks"),
            (segmentor, "propose", "segmentor"),
            (self.model, "_crops", "crops"),
            (descriptor, "describe", "descriptor"),
            (self.model, "_score", "scores"),
        ):
            setattr(owner, method, self._told(getattr(owner, method), name))

    def _told(self, work: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            with self.probe.stage(name):
                return work(*arguments)

        return call


def main() -> None:
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
    frame = made_up_frame(480, 640)
    bench = Bench(scale.sam, scale.dino, scale.points, 130, (480, 640), device)
    for objects in (1, 20):
        bench.model.library = library(bench.model.descriptor, objects, device)
        forget_peak(device)
        rows = timed_stages(bench, frame, scale, result, {"image encoder": half, "descriptor": half})
        print_table(f"a frame of {scale.sam} and {scale.dino}, {objects} objects known, {title}", rows)
        result[f"stages, {objects} objects"] = rows
        result[f"peak MB, {objects} objects"] = peak_mb(device)
        print(f"peak memory {peak_mb(device):.0f} MB")
    result["prompts"] = prompt_batches(bench, frame, scale)
    print_table("all prompts by batch and by precision of float32 products", result["prompts"])
    del bench
    forget_peak(device)
    result["cosine"] = agreement(scale.dino, device)
    print(f"bfloat16 beside float32: cosine of class tokens at least {result['cosine']:.5f}")
    forget_peak(device)
    small = Bench(scale.small_sam, scale.small_dino, scale.points, 300, (360, 640), device)
    small.model.library = library(small.model.descriptor, 1, device)
    hd = made_up_frame(720, 1280)
    proposals = len(small.model.segmentor.propose(hd))
    result["hd"] = {"proposals": proposals, "detections": len(small.model.segment(hd)), "peak MB": peak_mb(device)}
    print(f"1280 x 720, {scale.small_sam} and {scale.small_dino}: {result['hd']}")
    write_json("bench_gpu_frame", result)


def random_sam(size: str, device: str) -> SamModel:
    torch.manual_seed(0)
    with torch.device(device):
        return SamModel(SamConfig(**SAM_SIZES[size])).eval().requires_grad_(False)


def random_dino(size: str, device: str) -> Dinov2Model:
    torch.manual_seed(0)
    with torch.device(device):
        dino = Dinov2Model(Dinov2Config(**DINO_WIDTHS[size], image_size=CROP, patch_size=14))
        return dino.eval().requires_grad_(False)


def library(descriptor: Any, count: int, device: str) -> ObjectLibrary:
    """Objects with random pictures as templates, points of a can, and random views for their coarse poses."""
    turn, height = torch.rand(2, 2048, device=device)
    points_m = torch.stack([0.03 * (6.28 * turn).cos(), 0.03 * (6.28 * turn).sin(), 0.12 * (height - 0.5)], dim=1)
    rotations = object_to_camera_rotations()
    of_views = np.concatenate([rotations, edge_midpoint_rotations()])
    maps = np.random.default_rng(0).random((len(of_views), 5, RINGS, ANGLES)).astype(np.float16)
    views = ViewMaps(maps, np.zeros((len(of_views), 3)), 0.07, of_views, TEMPLATES)
    known = []
    for number in range(count):
        crops = torch.rand(TEMPLATES, 3, CROP, CROP, device=device)
        whole = torch.ones(TEMPLATES, CROP, CROP, dtype=torch.bool, device=device)
        described = descriptor.describe_templates(crops, whole)
        known.append(
            KnownObject(
                f"can {number}", number + 1, described.class_tokens, described.patch_tokens,
                torch.from_numpy(rotations).float().to(device), points_m, views=views,
            )
        )  # fmt: skip
    made = ObjectLibrary(tuple(known))
    made.prepare()
    return made


def made_up_frame(height: int, width: int) -> Frame:
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    focal = float(width)
    camera = Camera(np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]]), width, height)
    return Frame(rgb=rgb, depth_m=np.full((height, width), 0.8, np.float32), camera=camera)


def timed_stages(
    bench: Bench, frame: Frame, scale: Scale, rates: dict[str, Any], halves: dict[str, torch.dtype]
) -> list[dict[str, Any]]:
    """A row for each stage: median milliseconds, operations, bytes, and the least time that these take."""
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
    """What each stage has to read and to write once: weights, the results of the stage before, its own results."""
    model, sam = bench.model, bench.network._model
    with torch.inference_mode():
        proposals = model.segmentor.propose(frame)
        crops, crop_masks = model._crops(frame, proposals)
        described = model.descriptor.describe(crops, crop_masks)
        embedding = bench.network.embed(frame.rgb)[0].nbytes
    logits, masks, pictures = bench.made_up.logits.nbytes, proposals.masks.nbytes, crops.nbytes + crop_masks.nbytes
    tokens = described.class_tokens.nbytes + described.patch_tokens.nbytes
    encoder = weights(sam.vision_encoder)
    return {
        "image encoder": encoder + embedding,
        "prompts and masks": weights(sam) - encoder + embedding + logits,
        "automatic masks": logits + masks,
        "crops": masks + pictures,
        "descriptor": weights(bench.dino) + pictures + tokens,
        # beside each proposal's patches those of its template
        "scores": tokens + described.patch_tokens.nbytes + model.library.class_tokens.nbytes,
    }


def weights(network: nn.Module) -> int:
    return sum(parameter.nbytes for parameter in network.parameters())


def prompt_batches(bench: Bench, frame: Frame, scale: Scale) -> list[dict[str, Any]]:
    """Milliseconds of all prompts, peak memory, and how far the logits are from those of the first row."""
    points = torch.rand(scale.points**2, 2, device=bench.device) * 400
    watch, rows, expected = Stopwatch(bench.device), [], None
    bench.probe = Operations()
    with torch.inference_mode():
        embedding = bench.network.embed(frame.rgb)
        for precision in ("highest", "high"):
            torch.set_float32_matmul_precision(precision)
            for batch in (64, 128, 256):
                forget_peak(bench.device)
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


def matrix_rate(dtype: torch.dtype, side: int, device: str) -> float:
    """TFLOP/s of large products, as PyTorch does them by default."""
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    ms = ms_of_ten(lambda: a @ b, device)
    return float(f"{10 * 2 * side**3 / (ms * 1e-3) / 1e12:.3g}")


def copy_rate(side: int, device: str) -> float:
    """GB/s read and written by copies of four bytes for each element of a matrix four times as long."""
    source = torch.randn(4 * side, side, device=device)
    target = torch.empty_like(source)
    return float(f"{10 * 2 * source.nbytes / (ms_of_ten(lambda: target.copy_(source), device) * 1e-3) / 1e9:.3g}")


def ms_of_ten(work: Callable[[], Any], device: str) -> float:
    watch = Stopwatch(device)
    for _ in range(3):
        work()
    with watch.stage("ten"):
        for _ in range(10):
            work()
    return watch.ms()["ten"]


def agreement(size: str, device: str) -> float:
    """Least cosine of class tokens of a DINOv2 in bfloat16 with those of the same one in float32."""

    def tokens(dtype: torch.dtype) -> Tensor:
        described = VitDescriptor("dinov2", dino, "random", device, dtype).describe(crops, masks)
        return normalize(described.class_tokens, dim=1)

    dino = random_dino(size, device)
    crops = torch.rand(32, 3, CROP, CROP, device=device)
    masks = torch.ones(32, CROP, CROP, dtype=torch.bool, device=device)
    # float32 first: the weights are rounded in place
    full, half = tokens(torch.float32), tokens(torch.bfloat16)
    return float((half * full).sum(dim=1).min())


def wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def forget_peak(device: str) -> None:
    if device.startswith("cuda"):
        gc.collect()  # watched methods hold their models in cycles
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def peak_mb(device: str) -> float:
    """Of the device since `forget_peak`; on the CPU of the process since it began."""
    peak = torch.cuda.max_memory_allocated(device) if device.startswith("cuda") else peak_bytes()
    return round(peak / 2**20)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--small", action="store_true", help="tiny networks, few prompts, once")
    return parser.parse_args()


if __name__ == "__main__":
    main()
