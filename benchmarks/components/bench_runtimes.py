"""The networks of tiny by PyTorch and by onnxruntime: milliseconds, all ways in turns.

    python benchmarks/components/bench_runtimes.py

Segmentor: the two images of one frame of 640 x 480 (color and depth, color alone). Descriptor: 48 crops. PyTorch's
threads sleep while they wait, as in the node and the commands; those of onnxruntime sleep or spin. Networks alone: what
is before and after them is the same. Largest differences of the outputs are told, too.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ism_ros.runtime.threads import configure_thread_env

configure_thread_env()
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for common

import torch
from common.measuring import machine, print_table, write_json
from torch import Tensor, nn

from ism_ros.checkpoints.shipped import channels_last, load_weights
from ism_ros.descriptors.tiny.descriptor_network import INPUT_CHANNELS, TinyDescriptorNetwork
from ism_ros.descriptors.tiny.onnx_descriptor import descriptor_export
from ism_ros.networks.onnx_export import NetworkExport
from ism_ros.networks.onnx_session import OnnxSession
from ism_ros.runtime.machine import processor
from ism_ros.runtime.precision import small_network_dtype
from ism_ros.segmentors.tiny.onnx_segmentor import OutputTuple, segmentor_export
from ism_ros.segmentors.tiny.segmentor_network import TinyNetwork

CPU = torch.device("cpu")
Run = Callable[[Tensor], Any]


def main() -> None:
    """Print and write milliseconds."""
    options = _options()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    segmentor, descriptor = TinyNetwork(), TinyDescriptorNetwork()
    load_weights(segmentor, "segmentor")
    load_weights(descriptor, "descriptor")
    images, crops = torch.rand(2, 10, 240, 320), torch.rand(48, INPUT_CHANNELS, 96, 96)
    rows = [
        *_measure("segmentor, 2 images", OutputTuple(segmentor), segmentor_export(segmentor), images, options.repeats),
        *_measure("descriptor, 48 crops", descriptor, descriptor_export(descriptor), crops, options.repeats),
    ]
    where = f"{processor()}; {machine(options.threads)}"
    print_table(f"milliseconds; {where}", rows)
    write_json("bench_runtimes", {"where": where, "rows": rows})


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2, help="of each (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=20, help="turns (default: %(default)s)")
    return parser.parse_args()


@torch.inference_mode()
def _measure(
    what: str, network: nn.Module, export: NetworkExport, inputs: Tensor, repeats: int
) -> list[dict[str, Any]]:
    """Rows of the table for one network."""
    sleeping, spinning = (OnnxSession(export, CPU, spinning=spins) for spins in (False, True))
    fast = channels_last(network, CPU)
    batch = inputs.to(memory_format=torch.channels_last)
    ways: dict[str, Run] = {
        "torch float32": lambda x: fast(batch),
        "onnxruntime, sleeping": sleeping,
        "onnxruntime, spinning": spinning,
    }
    first = ways["torch float32"](inputs)
    difference = {
        name: max(float((one - other).abs().max()) for one, other in zip(first, run(inputs), strict=True))
        for name, run in ways.items()
    }
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, run in ways.items():
            began = time.perf_counter()
            run(inputs)
            spent[name].append(1e3 * (time.perf_counter() - began))
    return [
        {
            "network": what,
            "runtime": name,
            "best": round(min(times)),
            "median": round(statistics.median(times)),
            "of torch, median of turns": round(
                statistics.median(own / other for own, other in zip(times, spent["torch float32"], strict=True)), 2
            ),
            "largest difference": f"{difference[name]:.0e}",
        }
        for name, times in spent.items()
    ]


if __name__ == "__main__":
    print(f"PyTorch in {small_network_dtype(CPU)} by default here; measured in float32")
    main()
