"""Trains any task: optimiser, schedule, averaged weights, checkpoints, log and validation."""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import load_file
from safetensors.torch import save as safetensors_bytes
from torch import Tensor, nn

from ism_ros.runtime.atomic_files import open_atomically, write_atomically
from training.network_inputs import with_more_inputs
from training.run_record import RunSummary, draw_curves, write_record

CHECKPOINT_S = 120.0
"""Time between two checkpoints, seconds."""
VALIDATION_S = 60.0
"""Least time between two validations, seconds."""
LOG_EVERY = 20
"""Steps a row of the log."""
WARM_UP_STEPS = 100
"""Steps over which the learning rate rises."""


class Task(Protocol):
    """What `fit` trains.

    Attributes:
        network: The network.
    """

    network: nn.Module

    def batches(self, epoch: int) -> Iterator[Any]:
        """Sample the batches of one epoch.

        Args:
            epoch: Number of the epoch.

        Yields:
            Some hundred batches on the device, of all data that exists when the epoch begins.
        """

    def loss(self, batch: Any) -> dict[str, Tensor]:
        """Compute the loss of one batch.

        Args:
            batch: The batch.

        Returns:
            Its parts by name, scalars.
        """

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Measure the network on data that is not trained on.

        Args:
            network: The network.

        Returns:
            Metrics by name.
        """


@dataclass
class TrainingState:
    """Everything that a checkpoint keeps.

    Attributes:
        network: The network.
        optimiser: Its optimiser.
        average: Averaged weights, an exponential moving average.
        step: Batches trained on.
        spent_s: Time spent, seconds.
        epoch: Epochs completed.
    """

    network: nn.Module
    optimiser: torch.optim.Optimizer
    average: dict[str, Tensor]
    step: int = 0
    spent_s: float = 0.0
    epoch: int = 0

    def load(self, file: Path, device: torch.device) -> None:
        """Continue from a checkpoint.

        Args:
            file: The checkpoint.
            device: Device of the network.
        """
        stored = torch.load(file, map_location=device, weights_only=True)
        self.network.load_state_dict(stored["network"])
        self.optimiser.load_state_dict(stored["optimiser"])
        self.average = stored["average"]
        self.step, self.spent_s, self.epoch = stored["step"], stored["seconds"], stored["epoch"]

    def save(self, file: Path) -> None:
        """Write a checkpoint; it appears whole or not at all.

        Args:
            file: The checkpoint.
        """
        content = {
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "average": self.average,
            "step": self.step,
            "seconds": self.spent_s,
            "epoch": self.epoch,
        }
        with open_atomically(file, "wb") as stream:
            torch.save(content, stream)


class TrainingLog:
    """Rows of log.jsonl, also printed; means of the losses every LOG_EVERY steps."""

    def __init__(self, file: Path) -> None:
        """Append to a log.

        Args:
            file: The log.
        """
        self._stream = file.open("a", encoding="utf-8")
        self._sums: dict[str, Tensor] = {}
        self.row: dict[str, Any] = {}

    def add_losses(self, parts: dict[str, Tensor], total: Tensor, step: int, spent_s: float) -> None:
        """Add the losses of one step.

        Args:
            parts: Parts of the loss.
            total: Their sum.
            step: Number of the step.
            spent_s: Time spent, seconds.
        """
        for name, value in {**parts, "total": total}.items():
            self._sums[name] = self._sums.get(name, torch.zeros_like(value)) + value.detach()
        if step % LOG_EVERY == 0:
            means = {name: round(float(value) / LOG_EVERY, 4) for name, value in self._sums.items()}
            self._sums = {}
            self.write({"step": step, "minutes": round(spent_s / 60, 2), **means})

    def write(self, row: dict[str, Any]) -> None:
        """Write one row.

        Args:
            row: Numbers by name.
        """
        self.row = row
        self._stream.write(json.dumps(row) + "\n")
        self._stream.flush()
        print(json.dumps(row), flush=True)


def fit(task: Task, options: argparse.Namespace) -> None:
    """Train for a number of minutes in all, from the checkpoint where there is one.

    Args:
        task: What to train.
        options: Options of training.train.
    """
    out: Path = options.output
    out.mkdir(parents=True, exist_ok=True)
    device = torch.device(options.device)
    network = task.network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if options.start:
        load_fitting(network, options.start)
    average = {name: value.detach().clone() for name, value in network.state_dict().items()}
    optimiser = torch.optim.AdamW(_parameter_groups(network), lr=options.rate, weight_decay=0.02)
    state = TrainingState(network, optimiser, average)
    if (out / "checkpoint.pt").exists():
        state.load(out / "checkpoint.pt", device)
    if options.validate_only:
        print(json.dumps(validate_average(task, network, state.average), indent=1))
        return
    began_s = state.spent_s
    log = TrainingLog(out / "log.jsonl")
    _train(task, state, log, options, device)
    write_record(out, options, RunSummary(state.step, state.spent_s, state.spent_s - began_s, log.row))


def _train(
    task: Task, state: TrainingState, log: TrainingLog, options: argparse.Namespace, device: torch.device
) -> None:
    """Train until the time is spent."""
    limit_s, last = options.minutes * 60, time.monotonic()
    saved_s = validated_s = state.spent_s
    while state.spent_s < limit_s:
        for batch in task.batches(state.epoch):
            parts, total = _step(task, state, batch, options, device, limit_s)
            now = time.monotonic()
            state.spent_s, last = state.spent_s + now - last, now
            log.add_losses(parts, total, state.step, state.spent_s)
            is_over = state.spent_s >= limit_s
            if state.spent_s - saved_s > CHECKPOINT_S or is_over:
                saved_s = state.spent_s
                state.save(options.output / "checkpoint.pt")
                save_weights(options.output / "weights.safetensors", state.average)
            if is_over:
                break
        state.epoch += 1
        if state.spent_s - validated_s < VALIDATION_S and state.spent_s < limit_s:
            continue
        validated_s = state.spent_s
        metrics = validate_average(task, state.network, state.average)
        log.write({"step": state.step, "minutes": round(state.spent_s / 60, 2), "epoch": state.epoch, **metrics})
        draw_curves(options.output)
        last = time.monotonic()


def _step(
    task: Task,
    state: TrainingState,
    batch: Any,
    options: argparse.Namespace,
    device: torch.device,
    limit_s: float,
) -> tuple[dict[str, Tensor], Tensor]:
    """Train on one batch; returns the parts of the loss and their sum."""
    for group in state.optimiser.param_groups:
        group["lr"] = options.rate * schedule(state.spent_s / limit_s, state.step)
    state.network.train()
    with torch.autocast(device.type, torch.bfloat16, enabled=not options.float32):
        parts = task.loss(batch)
    total = torch.stack(list(parts.values())).sum()
    state.optimiser.zero_grad(set_to_none=True)
    total.backward()
    nn.utils.clip_grad_norm_(state.network.parameters(), 5.0)
    state.optimiser.step()
    state.step += 1
    _update_average(state.average, state.network, min(0.999, (1 + state.step) / (20 + state.step)))
    return parts, total


def load_fitting(network: nn.Module, file: Path) -> None:
    """Load those weights of a file that the network has in the same shape, or with more inputs, which get 0.

    Args:
        network: The network.
        file: Weights, .safetensors.
    """
    own = network.state_dict()
    stored = {k: with_more_inputs(v.float(), own[k]) for k, v in load_file(file).items() if k in own}
    network.load_state_dict({k: v for k, v in stored.items() if v.shape == own[k].shape}, strict=False)


def schedule(share: float, step: int) -> float:
    """Compute the factor of the learning rate: a rise, a level third of the time, then a cosine down to nearly 0.

    Args:
        share: Share of the time that is spent, in [0, 1].
        step: Number of the step.

    Returns:
        Factor in [0, 1].
    """
    down = max(0.0, (share - 0.33) / 0.67)
    return min(1.0, (step + 1) / WARM_UP_STEPS) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(down, 1.0))))


def _parameter_groups(network: nn.Module) -> list[dict[str, Any]]:
    """Parameters with and without weight decay: not of norms and constants."""
    thin = [p for p in network.parameters() if p.ndim < 2]
    return [{"params": [p for p in network.parameters() if p.ndim >= 2]}, {"params": thin, "weight_decay": 0.0}]


@torch.no_grad()
def _update_average(average: dict[str, Tensor], network: nn.Module, keep: float) -> None:
    """Moves the averaged weights a little towards those of now."""
    state = network.state_dict()
    moving = [name for name, value in state.items() if value.dtype.is_floating_point]
    torch._foreach_lerp_([average[name] for name in moving], [state[name] for name in moving], 1 - keep)
    for name in state.keys() - moving:
        average[name].copy_(state[name])


def validate_average(task: Task, network: nn.Module, average: dict[str, Tensor]) -> dict[str, float]:
    """Validate the averaged weights; the network keeps its own.

    Args:
        task: The task.
        network: The network.
        average: Averaged weights.

    Returns:
        Metrics by name, rounded.
    """
    own = {name: value.clone() for name, value in network.state_dict().items()}
    network.load_state_dict(average)
    network.eval()
    with torch.no_grad():
        metrics = task.validate(network)
    network.load_state_dict(own)
    return {name: round(value, 4) for name, value in metrics.items()}


def save_weights(file: Path, average: dict[str, Tensor]) -> None:
    """Write weights as float16, without the counters of batch normalisation; the file appears whole or not at all.

    Args:
        file: .safetensors file.
        average: Weights by name.
    """
    kept = {n: v.half().contiguous().cpu() for n, v in average.items() if not n.endswith("num_batches_tracked")}
    write_atomically(file, safetensors_bytes(kept))
