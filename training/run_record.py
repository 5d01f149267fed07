"""The record of a training run: curves of losses and metrics, and what a model card needs to know."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ism_ros.runtime.atomic_files import write_atomically
from training.datasets.data_folder import SHARD, read_description
from training.datasets.shard_store import find_shards


@dataclass(frozen=True)
class RunSummary:
    """What a run has done.

    Attributes:
        steps: Batches trained on.
        total_s: Duration of all starts of the run, seconds.
        last_start_s: Duration of the last start, seconds.
        metrics: Last row of the log.
    """

    steps: int
    total_s: float
    last_start_s: float
    metrics: dict[str, Any]


def commit_of_checkout() -> str:
    """Ask git for the commit of this code.

    Returns:
        Its hash; empty outside of a checkout.
    """
    command = ["git", "rev-parse", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def machine_of_run(device: str = "") -> dict[str, str]:
    """Name what a run is made on.

    Args:
        device: Name of the device that computes, where it is not the processor alone.

    Returns:
        Hardware and versions, for a record.
    """
    parts = platform.machine(), f"{len(os.sched_getaffinity(0))} cores", *([device] if device else [])
    return {"hardware": ", ".join(parts), "python": sys.version.split()[0], "torch": torch.__version__}


def draw_curves(out: Path) -> None:
    """Draw every number of the log over minutes into curves.png.

    Args:
        out: Folder of the run.
    """
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


def write_record(out: Path, options: argparse.Namespace, run: RunSummary) -> None:
    """Write run.json: command, commit, hardware, duration, metrics and data.

    Args:
        out: Folder of the run.
        options: Options of training.train.
        run: What it has done.
    """
    words = [
        f"--{name.replace('_', '-')} {value}"
        for name, value in vars(options).items()
        if name not in ("network", "commit")
    ]
    scenes = SHARD * len(find_shards(options.data))
    content = {
        "command": f"python -m training.train {options.network} " + " ".join(words),
        "commit": options.commit,
        **machine_of_run(_device_name(options.device)),
        "steps": run.steps,
        "minutes": round(run.total_s / 60, 1),
        "minutes_of_last_start": round(run.last_start_s / 60, 1),
        "metrics": {k: v for k, v in run.metrics.items() if k not in ("step", "minutes")},
        "data": {**read_description(options.data), "scenes": scenes},
    }
    write_atomically(out / "run.json", json.dumps(content, indent=1, default=str) + "\n")


def _device_name(device: str) -> str:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device
