"""Trains the networks of the learned default.

    python -m training.train segmentor  --data DIR --output RUN --minutes 60
    python -m training.train descriptor --data DIR --output RUN --minutes 50

On two cores with bfloat16 that is the whole recipe. On a GPU: --device cuda --batch 128 for the segmentor, 64 for the
descriptor. All data is kept on the device, about 1 MB a scene and 1.6 MB an object; what make_data finishes meanwhile
is taken in with every epoch, so that both can run at the same time. A run goes on from RUN/checkpoint.pt where there is
one; --minutes counts all of its runs together, and the learning rate falls over them, so that stopping and going on
changes nothing but the random draws.

RUN/checkpoint.pt    everything needed to go on, about every two minutes
RUN/weights.safetensors   the averaged weights (exponential moving average), float16, for the runtime
RUN/log.jsonl, RUN/curves.png, RUN/run.json   losses and validation; the command, commit, hardware, time, metrics
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from training.datasets.shard_store import find_shards
from training.make_data import SHARD

CHECKPOINT_SECONDS = 120.0
VALIDATION_SECONDS = 60.0
LOG_EVERY = 20


class Task(Protocol):
    """What `fit` trains."""

    network: nn.Module

    def batches(self, epoch: int) -> Iterator[Any]:
        """The batches of one epoch, on the device: some hundreds, of all data that is there when it begins."""

    def loss(self, batch: Any) -> dict[str, Tensor]:
        """Parts of the loss of one batch."""

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Metrics on data that is not trained on."""


def main() -> None:
    options = _options()
    options.commit = options.commit or _commit_of_the_checkout()
    torch.manual_seed(options.seed)
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.network == "segmentor":
        from training.tasks.segmentor_task import SegmentorTask

        task: Task = SegmentorTask(options)
    else:
        from training.tasks.descriptor_task import DescriptorTask

        task = DescriptorTask(options)
    fit(task, options)


def _commit_of_the_checkout() -> str:
    command = ["git", "rev-parse", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=["segmentor", "descriptor"])
    parser.add_argument("--data", type=Path, required=True, help="what training.make_data wrote")
    parser.add_argument("--output", type=Path, required=True, help="folder of the run")
    parser.add_argument("--minutes", type=float, default=60.0, help="of training in all (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=0, help="images or objects a batch; 0 = what suits two cores")
    parser.add_argument("--rate", type=float, default=2e-3, help="highest learning rate (default: %(default)s)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0, help="of PyTorch; 0 = as it chooses")
    parser.add_argument("--start", type=Path, help="weights of another run to begin with, where names and shapes fit")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--commit", default="", help="of this code, for the record, where it is no checkout of git")
    parser.add_argument("--float32", action="store_true", help="no bfloat16")
    parser.add_argument("--validate-only", action="store_true", help="judge the weights of the run and stop")
    return parser.parse_args()


def fit(task: Task, options: argparse.Namespace) -> None:
    """Trains for `options.minutes` in all, from the checkpoint where there is one."""
    out: Path = options.output
    out.mkdir(parents=True, exist_ok=True)
    device = torch.device(options.device)
    network = task.network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if options.start:
        begin_with(network, options.start)
    average = {name: value.detach().clone() for name, value in network.state_dict().items()}
    optimiser = torch.optim.AdamW(_groups(network), lr=options.rate, weight_decay=0.02)
    step, spent_s, epoch = 0, 0.0, 0
    file = out / "checkpoint.pt"
    if file.exists():
        stored = torch.load(file, map_location=device, weights_only=True)
        network.load_state_dict(stored["network"])
        optimiser.load_state_dict(stored["optimiser"])
        average = stored["average"]
        step, spent_s, epoch = stored["step"], stored["seconds"], stored["epoch"]
    if options.validate_only:
        print(json.dumps(judged(task, network, average), indent=1))
        return
    log = (out / "log.jsonl").open("a")
    limit_s = options.minutes * 60
    last, began_s = time.monotonic(), spent_s
    saved_s = validated_s = spent_s
    row: dict[str, Any] = {}
    sums: dict[str, Tensor] = {}
    while spent_s < limit_s:
        for batch in task.batches(epoch):
            for group in optimiser.param_groups:
                group["lr"] = options.rate * schedule(spent_s / limit_s, step)
            network.train()
            with torch.autocast(device.type, torch.bfloat16, enabled=not options.float32):
                parts = task.loss(batch)
            total = torch.stack(list(parts.values())).sum()
            optimiser.zero_grad(set_to_none=True)
            total.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimiser.step()
            step += 1
            _average(average, network, min(0.999, (1 + step) / (20 + step)))
            now = time.monotonic()
            spent_s, last = spent_s + now - last, now
            for name, value in {**parts, "total": total}.items():
                sums[name] = sums.get(name, torch.zeros_like(value)) + value.detach()
            if step % LOG_EVERY == 0:
                means = {name: round(float(value) / LOG_EVERY, 4) for name, value in sums.items()}
                row = {"step": step, "minutes": round(spent_s / 60, 2), **means}
                sums = {}
                log.write(json.dumps(row) + "\n")
                log.flush()
                print(json.dumps(row), flush=True)
            if spent_s - saved_s > CHECKPOINT_SECONDS or spent_s >= limit_s:
                saved_s = spent_s
                _save(file, network, optimiser, average, step, spent_s, epoch)
                save_weights(out / "weights.safetensors", average)
            if spent_s >= limit_s:
                break
        epoch += 1
        if spent_s - validated_s < VALIDATION_SECONDS and spent_s < limit_s:
            continue
        validated_s = spent_s
        row = {"step": step, "minutes": round(spent_s / 60, 2), "epoch": epoch, **judged(task, network, average)}
        log.write(json.dumps(row) + "\n")
        log.flush()
        print(json.dumps(row), flush=True)
        draw_curves(out)
        last = time.monotonic()
    _record(out, options, step, spent_s, spent_s - began_s, row)


def begin_with(network: nn.Module, file: Path) -> None:
    """Fills those parts of `network` that `file` has in the same shape."""
    own = network.state_dict()
    fitting = {k: v.float() for k, v in load_file(file).items() if k in own and own[k].shape == v.shape}
    network.load_state_dict(fitting, strict=False)


def schedule(share: float, step: int) -> float:
    """Factor of the learning rate: up over 100 steps, level for a third of the time, then down a cosine to nearly 0."""
    down = max(0.0, (share - 0.33) / 0.67)
    return min(1.0, (step + 1) / 100) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(down, 1.0))))


def _groups(network: nn.Module) -> list[dict[str, Any]]:
    """Parameters with and without weight decay: not of norms and constants."""
    thin = [p for p in network.parameters() if p.ndim < 2]
    return [{"params": [p for p in network.parameters() if p.ndim >= 2]}, {"params": thin, "weight_decay": 0.0}]


@torch.no_grad()
def _average(average: dict[str, Tensor], network: nn.Module, keep: float) -> None:
    """Moves the averaged weights a little towards those of now."""
    state = network.state_dict()
    moving = [name for name, value in state.items() if value.dtype.is_floating_point]
    torch._foreach_lerp_([average[name] for name in moving], [state[name] for name in moving], 1 - keep)
    for name in state.keys() - moving:
        average[name].copy_(state[name])


def judged(task: Task, network: nn.Module, average: dict[str, Tensor]) -> dict[str, float]:
    """Validation of the averaged weights; the network keeps its own."""
    own = {name: value.clone() for name, value in network.state_dict().items()}
    network.load_state_dict(average)
    network.eval()
    with torch.no_grad():
        metrics = task.validate(network)
    network.load_state_dict(own)
    return {name: round(value, 4) for name, value in metrics.items()}


def _save(
    file: Path, network: nn.Module, optimiser: Any, average: dict[str, Tensor], step: int, seconds: float, epoch: int
) -> None:
    unfinished = file.with_suffix(".part")
    torch.save(
        {
            "network": network.state_dict(),
            "optimiser": optimiser.state_dict(),
            "average": average,
            "step": step,
            "seconds": seconds,
            "epoch": epoch,
        },
        unfinished,
    )
    unfinished.replace(file)


def save_weights(file: Path, average: dict[str, Tensor]) -> None:
    """float16, without the counters of batch normalisation."""
    kept = {n: v.half().contiguous().cpu() for n, v in average.items() if not n.endswith("num_batches_tracked")}
    unfinished = file.with_suffix(".part")
    save_file(kept, unfinished)
    unfinished.replace(file)


def draw_curves(out: Path) -> None:
    """RUN/curves.png: every number of the log over minutes."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    names = [n for n in dict.fromkeys(k for row in rows for k in row) if n not in ("step", "minutes", "epoch")]
    columns = 4
    figure, axes = plt.subplots(-(-len(names) // columns), columns, figsize=(14, 2.6 * -(-len(names) // columns)))
    for axis, name in zip(axes.flat, names, strict=False):
        points = [(row["minutes"], row[name]) for row in rows if name in row]
        axis.plot(*zip(*points, strict=True), linewidth=1)
        axis.set_title(name, fontsize=9)
    figure.tight_layout()
    figure.savefig(out / "curves.png", dpi=70)
    plt.close(figure)


def _device_name(device: str) -> str:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device


def _record(out: Path, options: argparse.Namespace, step: int, seconds: float, own: float, row: dict[str, Any]) -> None:
    """RUN/run.json: what a model card needs to know."""
    words = [
        f"--{name.replace('_', '-')} {value}"
        for name, value in vars(options).items()
        if name not in ("network", "commit")
    ]
    scenes = SHARD * len(find_shards(options.data))
    content = {
        "command": f"python -m training.train {options.network} " + " ".join(words),
        "commit": options.commit,
        "hardware": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, {_device_name(options.device)}",
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "steps": step,
        "minutes": round(seconds / 60, 1),
        "minutes_of_last_start": round(own / 60, 1),
        "metrics": {k: v for k, v in row.items() if k not in ("step", "minutes")},
        "data": {**json.loads((options.data / "data.json").read_text()), "scenes": scenes},
    }
    (out / "run.json").write_text(json.dumps(content, indent=1, default=str) + "\n")


if __name__ == "__main__":
    main()
