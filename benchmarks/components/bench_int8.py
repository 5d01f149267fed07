"""The segmentor tiny in int8 by onnxruntime: what it loses in recall, and what it gains in time.

    python benchmarks/components/bench_int8.py

Static quantization of onnxruntime (QDQ, a scale for each channel of a weight), calibrated on rendered tables that are
not among those measured. Recall of the proposals at an IoU of 0.5 and 0.75 over instances at least 10 % visible, and
milliseconds of the network alone, all in turns.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ism_ros.runtime.threads import configure_thread_env

configure_thread_env()
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for common

import numpy as np
import torch
from common.coco_scoring import MIN_VISIBLE_SHARE
from common.measuring import machine, print_table, write_json
from common.scene_sets import make_object_set, observe_scene
from numpy.typing import NDArray
from torch import Tensor

from ism_ros.data.frame import Frame
from ism_ros.networks.network_runners import OnnxRunner, RunnableNetwork
from ism_ros.networks.onnx_export import NetworkExport, write_onnx
from ism_ros.runtime.machine import processor
from ism_ros.segmentors.tiny.tiny_segmentor import TinySegmentor, color_alone, network_pixels

CPU = torch.device("cpu")
FIRST_CALIBRATION_SCENE, FIRST_SCENE = 8000, 5000
MIN_IOUS = (0.5, 0.75)


class Int8Runner:
    """onnxruntime with weights and activations in int8."""

    arithmetic = "int8"

    def __init__(self, inputs: list[NDArray[np.float32]]) -> None:
        self._inputs = inputs

    def __call__(self, export: NetworkExport) -> RunnableNetwork:
        import onnxruntime
        from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process

        class Reader(CalibrationDataReader):
            def __init__(self, inputs: list[NDArray[np.float32]]) -> None:
                self._next = iter({"pixels": one} for one in inputs)

            def get_next(self) -> dict[str, NDArray[np.float32]] | None:
                return next(self._next, None)

        with TemporaryDirectory() as folder:
            file = write_onnx(export, Path(folder))
            prepared, quantized = Path(folder) / "prepared.onnx", Path(folder) / "int8.onnx"
            quant_pre_process(str(file), str(prepared), skip_symbolic_shape=True)
            quantize_static(
                str(prepared),
                str(quantized),
                Reader(self._inputs),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                op_types_to_quantize=["Conv"],
            )
            print(f"{file.stat().st_size / 1e6:.1f} MB as float32, {quantized.stat().st_size / 1e6:.1f} MB as int8")
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = torch.get_num_threads()
            session: Any = onnxruntime.InferenceSession(str(quantized), options, providers=["CPUExecutionProvider"])

        def run(pixels: Tensor) -> tuple[Tensor, ...]:
            outputs = session.run(None, {"pixels": pixels.contiguous().numpy()})
            return tuple(torch.from_numpy(output) for output in outputs)

        return run


def main() -> None:
    """Print and write recall and times."""
    options = _options()
    torch.set_num_threads(options.threads)
    known = make_object_set(0, options.output)
    calibration = [_input(frame) for frame, _ in _tables(FIRST_CALIBRATION_SCENE, options.calibration, known, options)]
    frames = list(_tables(FIRST_SCENE, options.scenes, known, options))
    ways = {
        "torch float32": TinySegmentor(dtype=torch.float32),
        "onnxruntime float32": TinySegmentor(runner=OnnxRunner("onnxruntime", CPU)),
        "onnxruntime int8": TinySegmentor(runner=Int8Runner(calibration)),
    }
    rows = [{"network": name, **_recall(segmentor, frames)} for name, segmentor in ways.items()]
    pixels = torch.from_numpy(_input(frames[0][0]))
    for row, ms in zip(rows, _times(list(ways.values()), pixels, options.repeats), strict=True):
        row |= ms
    where = f"{processor()}; {machine(options.threads)}"
    print_table(f"{len(frames)} tables, calibrated on {options.calibration}; {where}", rows)
    write_json("bench_int8", {"where": where, "scenes": len(frames), "rows": rows}, options.output)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=50, help="tables that are measured (default: %(default)s)")
    parser.add_argument("--calibration", type=int, default=20, help="tables to calibrate on (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="of each (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=20, help="turns (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=Path("out/int8"))
    return parser.parse_args()


def _tables(first: int, count: int, known: Any, options: argparse.Namespace) -> Iterator[tuple[Frame, Tensor]]:
    """Frames, and true masks (N, H, W) of what is visible in them."""
    for number in range(first, first + count):
        frame, truth = observe_scene(number, known, options.output)
        yield frame, torch.from_numpy(truth.masks[truth.visible_share >= MIN_VISIBLE_SHARE])


def _input(frame: Frame) -> NDArray[np.float32]:
    pixels = network_pixels(frame)
    return np.stack([pixels, color_alone(pixels)])


def _recall(segmentor: TinySegmentor, frames: list[tuple[Frame, Tensor]]) -> dict[str, Any]:
    best, counts = [], []
    for frame, truth in frames:
        proposals = segmentor.propose(frame)
        one, other = (masks.flatten(1).float() for masks in (truth, proposals.masks))
        shared = one @ other.T
        iou = shared / (one.sum(1)[:, None] + other.sum(1) - shared)
        best += iou.amax(dim=1).tolist()
        counts.append(len(proposals))
    return {
        "instances": len(best),
        **{f"recall at {least}": round(float(np.mean(np.array(best) >= least)), 3) for least in MIN_IOUS},
        "mean best IoU": round(float(np.mean(best)), 4),
        "proposals": round(statistics.mean(counts), 1),
    }


@torch.inference_mode()
def _times(segmentors: list[TinySegmentor], pixels: Tensor, repeats: int) -> Iterator[dict[str, Any]]:
    runs: list[Callable[[Tensor], Any]] = [segmentor._network for segmentor in segmentors]
    spent: list[list[float]] = [[] for _ in runs]
    for _ in range(repeats + 1):
        for run, own in zip(runs, spent, strict=True):
            began = time.perf_counter()
            run(pixels)
            own.append(1e3 * (time.perf_counter() - began))
    for own in spent:
        of_float = [ms / other for ms, other in zip(own[1:], spent[1][1:], strict=True)]
        yield {
            "ms, best": round(min(own[1:]), 1),
            "of onnxruntime float32, median of turns": round(statistics.median(of_float), 2),
        }


if __name__ == "__main__":
    main()
