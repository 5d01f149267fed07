"""Fits the probabilities of the matcher `verified` to evidence, and says how good they are on held-out scenes.

    python -m training.score_calibration.fit --data DIR
    python -m training.score_calibration.fit --data DIR --output OTHER

Fitted to four of five scenes of training.score_calibration.make_evidence; the fifth, and its objects, are held out.
The shipped weights are judged on the same scenes. Without --output the new ones take their place:

ism_ros/checkpoints/shipped_weights/NAME.safetensors and sha256.json   weights, and their hash
training/record/NAME.json                                              command, commit, data, and metrics of the new
                                                                       weights and of those shipped before
docs/images/reliability_NAME.png                                       probability and share that is right

NAME is scores, or scores_without_depth where the evidence is of color alone.

With --output all of these lie in that folder.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from ism_ros.matching.calibration import WITH_DEPTH, WITHOUT_DEPTH, ScoreCalibration, shipped_calibration
from ism_ros.runtime.atomic_files import write_atomically
from training.datasets.data_folder import read_description
from training.export import RECORD, WEIGHTS, ship_weights
from training.run_record import commit_of_checkout, machine_of_run
from training.score_calibration.evidence_store import EvidenceRows, find_scenes, is_held_out, read_evidence
from training.score_calibration.network_fit import fit_calibration, log_loss
from training.score_calibration.reliability import (
    ReliabilityBin,
    calibration_error,
    detections_of,
    draw_reliability,
    reliability_bins,
)

IMAGES = Path(__file__).parents[2] / "docs" / "images"
"""Where the pictures of the docs are."""
THRESHOLDS = 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9
"""Thresholds of the score at which precision and recall are told."""


def main() -> None:
    """Fit as asked for on the command line.

    Raises:
        SystemExit: There is too little evidence.
    """
    options = _options()
    start = time.monotonic()
    torch.set_num_threads(1)
    scenes = find_scenes(options.data)
    fitted_on = [scene for scene in scenes if not is_held_out(scene)]
    held_out = [scene for scene in scenes if is_held_out(scene)]
    if not fitted_on or not held_out:
        raise SystemExit(f"{options.data} has no evidence to fit to: run training.score_calibration.make_evidence")
    rows, unseen = read_evidence(options.data, fitted_on), read_evidence(options.data, held_out)
    calibration = fit_calibration(rows, options.epochs, options.seed)
    with_depth = bool(read_description(options.data).get("with_depth", True))
    name = WITH_DEPTH if with_depth else WITHOUT_DEPTH
    shipped = shipped_calibration(torch.device("cpu"), with_depth)
    print(report("shipped", shipped, unseen))
    print(report("fitted", calibration, unseen))
    bins = reliability_bins(detections_of(calibration, unseen))
    print(bins_text(bins))
    weights, record, images = (options.output,) * 3 if options.output else (WEIGHTS, RECORD, IMAGES)
    content = {
        **_about(options, time.monotonic() - start),
        "metrics_before": metrics_of(shipped, unseen),
        "metrics": {"log_loss_fitted_on": round(log_loss(calibration, rows), 4), **metrics_of(calibration, unseen)},
        "reliability": [[one.count, *_rounded(one.predicted, one.right)] for one in bins],
        "data": _data(options.data, rows, unseen),
        "weights_sha256": write_calibration(calibration, weights, name),
    }
    write_atomically(record / f"{name}.json", json.dumps(content, indent=1) + "\n")
    draw_reliability(bins, images / f"reliability_{name}.png")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="what make_evidence wrote")
    parser.add_argument("--output", type=Path, help="folder for all that is written (default: where it is shipped)")
    parser.add_argument("--epochs", type=int, default=20, help="passes over the evidence (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def metrics_of(calibration: ScoreCalibration, rows: EvidenceRows) -> dict[str, float]:
    """Measure probabilities.

    Args:
        calibration: The networks.
        rows: Evidence that they were not fitted to.

    Returns:
        Log loss of poses; calibration error, precision and recall of detections.
    """
    detections = detections_of(calibration, rows)
    bins = reliability_bins(detections)
    metrics = {
        "log_loss": log_loss(calibration, rows),
        "calibration_error": calibration_error(bins),
        # most detections are surely wrong ones, about which it is easy to be right
        "calibration_error_above_0.1": calibration_error(bins[1:]),
    }
    for threshold in THRESHOLDS:
        metrics[f"precision_at_{threshold}"] = detections.precision(threshold)
        metrics[f"recall_at_{threshold}"] = detections.recall(threshold)
    return {name: round(value, 4) for name, value in metrics.items()}


def report(name: str, calibration: ScoreCalibration, rows: EvidenceRows) -> str:
    """Tell how good probabilities are.

    Args:
        name: Of the weights.
        calibration: The networks.
        rows: Evidence that they were not fitted to.

    Returns:
        Log loss, calibration error, and a line of precision and recall for each threshold.
    """
    metrics = metrics_of(calibration, rows)
    lines = [
        f"{name}: log loss {metrics['log_loss']:.4f}, expected calibration error {metrics['calibration_error']:.4f} "
        f"({metrics['calibration_error_above_0.1']:.4f} above 0.1)",
        "threshold  precision  recall",
    ]
    lines += [f"{t:9.1f}  {metrics[f'precision_at_{t}']:9.3f}  {metrics[f'recall_at_{t}']:6.3f}" for t in THRESHOLDS]
    return "\n".join(lines)


def bins_text(bins: list[ReliabilityBin]) -> str:
    """Write the reliability table.

    Args:
        bins: The bins.

    Returns:
        A line for each.
    """
    lines = ["probability  detections  predicted  right"]
    lines += [f"{b.low:.1f} to {b.high:.1f}   {b.count:10d}  {b.predicted:9.3f}  {b.right:5.3f}" for b in bins]
    return "\n".join(lines)


def write_calibration(calibration: ScoreCalibration, folder: Path, name: str) -> str:
    """Write the weights and their hash.

    Args:
        calibration: The networks.
        folder: Of NAME.safetensors and sha256.json.
        name: Of the weights.

    Returns:
        SHA-256 of the weights, hexadecimal.
    """
    return ship_weights(
        name, save({name: value.contiguous() for name, value in calibration.state_dict().items()}), folder
    )


def _about(options: argparse.Namespace, duration_s: float) -> dict[str, Any]:
    words = [
        f"--{name} {value.name if isinstance(value, Path) else value}"
        for name, value in vars(options).items()
        if value is not None
    ]
    return {
        "command": "python -m training.score_calibration.fit " + " ".join(words),
        "commit": commit_of_checkout(),
        **machine_of_run(),
        "minutes": round(duration_s / 60, 1),
    }


def _data(data: Path, rows: EvidenceRows, unseen: EvidenceRows) -> dict[str, Any]:
    return {
        **read_description(data),
        "scenes": rows.scenes + unseen.scenes,
        "held_out_scenes": unseen.scenes,
        "rows": len(rows) + len(unseen),
        "held_out_rows": len(unseen),
        "held_out_instances": len(unseen.to_be_found),
    }


def _rounded(*values: float) -> list[float | None]:
    """Round; None where there is no number, which JSON has no word for."""
    return [None if value != value else round(value, 4) for value in values]


if __name__ == "__main__":
    main()
