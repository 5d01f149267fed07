"""One real frame, by the model alone and by the node over real DDS: the same result, and the right one.

    python benchmarks/real_frame.py FOLDER --cad CAN.ply --mask reference_mask.png

FOLDER holds rgb.png, depth.png and camera.json. A fake camera (its own process) publishes the frame, and the detections
of the node are compared with those of the model on the same files: score and IoU with the reference mask, best first.
Exit status 0 where the best detection of both covers the reference by at least 0.7. Writes the node's overlay into the
output folder.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ism_ros.runtime.threads import configure_thread_env

configure_thread_env()

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from ism_ros.config.settings import Settings
from ism_ros.io.frame_files import read_frame
from ism_ros.loading import load_model
from ism_ros.sim.demo.camera_and_node import SessionSettings, run_session
from ism_ros.sim.demo.ros_isolation import keep_traffic_local
from ism_ros.sim.demo.truth_comparison import iou_of

MIN_IOU = 0.7
"""Least IoU of the best detection with the reference."""
Mask = NDArray[np.bool_]
Ranked = list[tuple[float, float]]


def main() -> int:
    """Print both rankings; 0 where the best detection of both is right, else 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="rgb.png, depth.png, camera.json")
    parser.add_argument("--cad", type=Path, required=True, help="the object's CAD file")
    parser.add_argument("--units", default="mm", help="of the CAD file (default: %(default)s)")
    parser.add_argument("--mask", type=Path, required=True, help="reference mask, an image that is 0 outside")
    parser.add_argument("--output", type=Path, default=Path("out/real_frame"))
    options = parser.parse_args()
    keep_traffic_local()
    out = options.output.resolve()
    out.mkdir(parents=True, exist_ok=True)
    reference = cv2.imread(str(options.mask), cv2.IMREAD_GRAYSCALE) > 0
    objects_file = out / "objects.yaml"
    entry = {"id": options.cad.stem, "cad": str(options.cad.resolve()), "units": options.units}
    objects_file.write_text(yaml.safe_dump({"objects": [entry]}))

    by_model = model_alone(options.folder, objects_file, out / "cache", reference)
    by_node = over_dds(options.folder.resolve(), objects_file, out, reference)
    table = Table(title=f"{options.folder.name}: score and IoU with the reference, best first")
    for column in ("rank", "model", "node over DDS"):
        table.add_column(column, justify="right")
    for rank in range(max(len(by_model), len(by_node))):
        table.add_row(str(rank + 1), *(cell(rows, rank) for rows in (by_model, by_node)))
    Console().print(table)
    return 0 if all(rows and rows[0][1] >= MIN_IOU for rows in (by_model, by_node)) else 1


def cell(rows: Ranked, rank: int) -> str:
    """Format one row of a ranking.

    Args:
        rows: Score and IoU of the detections.
        rank: Which row.

    Returns:
        Both numbers, or nothing where there is no such row.
    """
    return f"{rows[rank][0]:.3f}   {rows[rank][1]:.3f}" if rank < len(rows) else ""


def model_alone(folder: Path, objects_file: Path, cache: Path, reference: Mask) -> Ranked:
    """Segment the frame in this process.

    Args:
        folder: The frame.
        objects_file: The object.
        cache: Folder of descriptors.
        reference: (H, W) bool reference mask.

    Returns:
        Score and IoU with the reference of each detection.
    """
    model = load_model(Settings(objects_file=str(objects_file), cache_dir=str(cache)))
    found = model.segment(read_frame(folder / "rgb.png", folder / "depth.png", folder / "camera.json"))
    masks = found.masks.numpy()
    return [(float(score), iou_of(mask, reference)) for score, mask in zip(found.score, masks, strict=True)]


def over_dds(folder: Path, objects_file: Path, out: Path, reference: Mask) -> Ranked:
    """Segment the frame by the node: ~/detections and ~/mask_image; ~/overlay is written as a picture.

    Args:
        folder: The frame.
        objects_file: The object.
        out: Folder of logs and the picture.
        reference: (H, W) bool reference mask.

    Returns:
        Score and IoU with the reference of each detection.
    """
    settings = SessionSettings(out, out / "cache", 0, 0, rate_hz=5.0, folder=folder, objects_file=objects_file)
    with run_session(settings) as session:
        session.wait_for_first(120.0, lambda doing: None)
        session.spin(2.0)
        frames = list(session.probe.frames.values())
    for picture in [frame.overlay for frame in frames if frame.overlay is not None][-1:]:
        cv2.imwrite(str(out / "overlay.png"), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    for frame in frames:
        if frame.detections is not None and frame.labels is not None:
            return [
                (float(found.results[0].hypothesis.score), iou_of(frame.labels == int(found.id), reference))
                for found in frame.detections.detections
            ]
    return []


if __name__ == "__main__":
    sys.exit(main())
