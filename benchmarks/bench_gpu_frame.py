"""A whole frame of SAM vit_h and DINOv2 vitl14 on a GPU, by device events, beside the least that its arithmetic takes.

    python benchmarks/bench_gpu_frame.py                        on the first GPU
    python benchmarks/bench_gpu_frame.py --device cpu --small   whether it runs, with tiny networks

Networks of the published sizes with random weights, in the classes that the node uses: 640 x 480, 1,024 point prompts,
one object of 42 templates. As random weights find nothing, the masks are made up (benchmarks/made_up_masks.py); the
networks run all the same, on every prompt and every crop. Half precision is what these classes choose on a GPU:
bfloat16 for the image encoder and DINOv2, float32 for prompts and masks.

Floor: floating-point operations (torch.utils.flop_counter) at the rate of the card's own 8192 x 8192 x 8192 products,
bfloat16 or float32 as the stage computes. Peak memory: of vit_b and vits14 with about 200 proposals in 1280 x 720.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import torch
from made_up_masks import MadeUpModel
from measuring import print_table, write_json
from torch import Tensor
from torch.nn.functional import normalize
from torch.utils.flop_counter import FlopCounterMode
from transformers import Dinov2Config, Dinov2Model, SamConfig, SamModel

from ism_ros.config import Settings
from ism_ros.descriptors import Descriptors
from ism_ros.descriptors.vit import VitDescriptor
from ism_ros.frame import Camera, Frame
from ism_ros.ism import InstanceSegmentationModel
from ism_ros.masks import crop_resize_pad
from ism_ros.objects.library import KnownObject, ObjectLibrary
from ism_ros.objects.viewpoints import object_to_camera_rotations
from ism_ros.results import to_records
from ism_ros.segmentors.automatic_masks import AutomaticMaskSegmentor, MaskOptions
from ism_ros.segmentors.sam import PromptableSam

SAM_WIDTHS = {
    "vit_b": {},
    "vit_h": {
        "hidden_size": 1280,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
        "global_attn_indexes": [7, 15, 23, 31],
        "mlp_dim": 5120,
    },
    "small": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "global_attn_indexes": [1]},
}
DINO_WIDTHS = {
    "vits14": {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6},
    "vitl14": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16},
    "small": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2},
}
POINTS = 32
REPEATS = 7


class Stopwatch:
    """Device time of named stages: events on a GPU, so that nothing waits for anything while it runs."""

    def __init__(self) -> None:
        self._spans: dict[str, list[tuple[Any, Any]]] = {}

    @contextmanager
    def stage(self, name: str) -> Any:
        began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        began.record()
        yield
        ended.record()
        self._spans.setdefault(name, []).append((began, ended))

    def ms(self) -> dict[str, float]:
        """Milliseconds by stage since the last call; waits for the device."""
        torch.cuda.synchronize()
        spent = {name: sum(b.elapsed_time(e) for b, e in spans) for name, spans in self._spans.items()}
        self._spans = {}
        return spent


def watched(work: Callable[..., Any], stage: Callable[[], AbstractContextManager[Any]]) -> Callable[..., Any]:
    """`work`, each call within a `stage`."""

    def call(*arguments: Any) -> Any:
        with stage():
            return work(*arguments)

    return call


def main() -> None:
    options = _options()
    device = options.device
    frame_model, sam, dino = build("small" if options.small else "vit_h", "small" if options.small else "vitl14", 130,
                                   (480, 640), device)  # fmt: skip
    frame = made_up_frame(480, 640)
    found = frame_model.segment(frame)
    print(f"{device}: {len(found)} detections of {len(frame_model.segmentor.propose(frame))} proposals")
    if device == "cpu":
        return
    result: dict[str, Any] = {
        "device": torch.cuda.get_device_name(device),
        "torch": torch.__version__,
        "rates_tflops": {str(dtype): matrix_rate(dtype) for dtype in (torch.bfloat16, torch.float32)},
    }
    result["stages"] = timed_stages(frame_model, sam, frame, result["rates_tflops"])
    print_table(f"a frame of vit_h and vitl14 on {result['device']}, PyTorch {torch.__version__}", result["stages"])
    print(f"measured rates, TFLOP/s: {result['rates_tflops']}")
    result["frame_peak_mb"] = torch.cuda.max_memory_allocated() / 2**20
    result["bfloat16_cosine"] = agreement(dino, device)
    print(f"peak memory {result['frame_peak_mb']:.0f} MB; bfloat16 beside float32: cosine of class tokens at least "
          f"{result['bfloat16_cosine']:.5f}")  # fmt: skip
    del frame_model, sam, dino, found
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    small_model, _, _ = build("vit_b", "vits14", 300, (360, 640), device)
    hd = made_up_frame(720, 1280)
    result["hd_proposals"] = len(small_model.segmentor.propose(hd))
    small_model.segment(hd)
    result["hd_peak_mb"] = torch.cuda.max_memory_allocated() / 2**20
    print(f"1280 x 720, vit_b and vits14, {result['hd_proposals']} proposals: peak {result['hd_peak_mb']:.0f} MB")
    write_json("bench_gpu_frame", result)


def build(
    sam_size: str, dino_size: str, objects: int, size: tuple[int, int], device: str
) -> tuple[InstanceSegmentationModel, PromptableSam, Dinov2Model]:
    """The model with random weights, and its two networks. size: of the image that the segmentor scales to."""
    with torch.device(device):
        torch.manual_seed(0)
        sam = SamModel(SamConfig(vision_config=dict(SAM_WIDTHS[sam_size]))).eval().requires_grad_(False)
        dino = Dinov2Model(Dinov2Config(**DINO_WIDTHS[dino_size], image_size=224, patch_size=14))
        dino.eval().requires_grad_(False)
    network = PromptableSam(sam, device)
    made_up = MadeUpModel(objects, size, POINTS, network, device)
    segmentor = AutomaticMaskSegmentor("sam", made_up, MaskOptions(points_per_side=POINTS))
    descriptor = VitDescriptor("dinov2", dino, "random", device)
    settings = Settings(confidence_threshold=0.0, score_threshold=0.0, max_detections=1000, device=device)
    return (
        InstanceSegmentationModel(segmentor, descriptor, library(descriptor, device), settings, device),
        network,
        dino,
    )


def library(descriptor: VitDescriptor, device: str) -> ObjectLibrary:
    """One object: random pictures as templates, points of a can."""
    crops = torch.rand(42, 3, 224, 224, device=device)
    described = descriptor.describe_templates(crops, torch.ones(42, 224, 224, dtype=torch.bool, device=device))
    turn, height = torch.rand(2, 2048, device=device)
    points_m = torch.stack([0.03 * (6.28 * turn).cos(), 0.03 * (6.28 * turn).sin(), 0.12 * (height - 0.5)], dim=1)
    rotations = torch.from_numpy(object_to_camera_rotations()).float().to(device)
    known = KnownObject("can", 1, described.class_tokens, described.patch_tokens, rotations, points_m)
    made = ObjectLibrary((known,))
    made.prepare()
    return made


def made_up_frame(height: int, width: int) -> Frame:
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    focal = float(width)
    camera = Camera(np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]]), width, height)
    return Frame(rgb=rgb, depth_m=np.full((height, width), 0.8, np.float32), camera=camera)


def timed_stages(
    model: InstanceSegmentationModel, network: PromptableSam, frame: Frame, rates: dict[str, float]
) -> list[dict[str, Any]]:
    """A row for each stage: median milliseconds, operations, and the least time that these take."""
    watch = Stopwatch()
    operations = count_operations(model, network, frame)
    network.embed = watched(network.embed, lambda: watch.stage("image encoder"))  # type: ignore[method-assign]
    network.predict = watched(network.predict, lambda: watch.stage("prompts and masks"))  # type: ignore[method-assign]
    model.segmentor.propose = watched(model.segmentor.propose, lambda: watch.stage("propose"))  # type: ignore[method-assign]
    model._crops = watched(model._crops, lambda: watch.stage("crops"))  # type: ignore[method-assign]
    model.descriptor.describe = watched(model.descriptor.describe, lambda: watch.stage("descriptor"))  # type: ignore[method-assign]
    model._score = watched(model._score, lambda: watch.stage("scores"))  # type: ignore[method-assign]
    runs = []
    for _ in range(REPEATS + 2):
        with watch.stage("frame"):
            found = model.segment(frame)
        with watch.stage("output (RLE on the CPU)"):
            to_records(found)
        runs.append(watch.ms())
    ms = {name: statistics.median(run[name] for run in runs[2:]) for name in runs[0]}
    ms["automatic masks"] = ms.pop("propose") - ms["image encoder"] - ms["prompts and masks"]
    order = ["image encoder", "prompts and masks", "automatic masks", "crops", "descriptor", "scores"]
    ms["selection and poses"] = ms["frame"] - sum(ms[name] for name in order)
    rows = []
    for name in [*order, "selection and poses", "frame", "output (RLE on the CPU)"]:
        floor_ms = sum(1e3 * operations[name][kind] / (rates[kind] * 1e12) for kind in operations.get(name, {}))
        rows.append(
            {
                "stage": name,
                "ms": round(ms[name], 2),
                "TFLOP": round(sum(operations.get(name, {}).values()) / 1e12, 2),
                "floor ms": round(floor_ms, 2),
                "ratio": round(ms[name] / floor_ms, 1) if floor_ms else "",
            }
        )
    return rows


def count_operations(
    model: InstanceSegmentationModel, network: PromptableSam, frame: Frame
) -> dict[str, dict[str, float]]:
    """Floating-point operations of the networks, by stage and by what they are computed in."""
    with torch.inference_mode():
        proposals = model.segmentor.propose(frame)
        image = torch.from_numpy(frame.rgb).to(model.device).permute(2, 0, 1).float() / 255
        crops, masks = crop_resize_pad(image, proposals.masks, proposals.boxes_xyxy, 224)
        embedding = network.embed(frame.rgb)
        points = torch.rand(64, 2, device=model.device) * 400
        encoder = flops(lambda: network.embed(frame.rgb))
        prompts = flops(lambda: network.predict(embedding, points)) * POINTS**2 / len(points)
        descriptor = flops(lambda: model.descriptor.describe(crops, masks))
    half, full = str(torch.bfloat16), str(torch.float32)
    counted = {
        "image encoder": {half: encoder},
        "prompts and masks": {full: prompts},
        "descriptor": {half: descriptor},
    }
    counted["frame"] = {half: encoder + descriptor, full: prompts}
    return counted


def flops(work: Callable[[], Any]) -> float:
    with FlopCounterMode(display=False) as counter:
        work()
    return float(counter.get_total_flops())


def matrix_rate(dtype: torch.dtype, side: int = 8192) -> float:
    """TFLOP/s of large products, as PyTorch does them by default."""
    a, b = (torch.randn(side, side, device="cuda", dtype=dtype) for _ in range(2))
    watch = Stopwatch()
    for _ in range(3):
        a @ b
    with watch.stage("products"):
        for _ in range(10):
            a @ b
    return round(10 * 2 * side**3 / (watch.ms()["products"] * 1e-3) / 1e12, 1)


def agreement(dino: Dinov2Model, device: str) -> float:
    """Least cosine of class tokens in bfloat16 with those of the same (rounded) weights in float32."""

    def tokens(dtype: torch.dtype) -> Tensor:
        described: Descriptors = VitDescriptor("dinov2", dino, "random", device, dtype).describe(crops, masks)
        return normalize(described.class_tokens, dim=1)

    crops = torch.rand(32, 3, 224, 224, device=device)
    masks = torch.ones(32, 224, 224, dtype=torch.bool, device=device)
    half, full = tokens(torch.bfloat16), tokens(torch.float32)
    return float((half * full).sum(dim=1).min())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--small", action="store_true", help="tiny networks")
    return parser.parse_args()


if __name__ == "__main__":
    main()
