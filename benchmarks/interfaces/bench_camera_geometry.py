"""What undistortion and registration of depth cost a frame.

    python benchmarks/interfaces/bench_camera_geometry.py

Milliseconds on one thread, of synthetic frames with depth everywhere, at three sizes: preparing the maps of a lens
(once a camera), undistorting a frame, transforming the masks of 10 detections back, and registering depth of a camera
15 mm away. What the messages themselves cost is in bench_node_overhead.py. Writes out/camera_geometry.json.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for common

import cv2
import numpy as np
import torch
from common.measuring import machine, print_table, timed, write_json

from ism_ros.data.boxes import boxes_from_masks
from ism_ros.data.camera import Camera
from ism_ros.data.detections import Detections
from ism_ros.node.conversion.depth_registration import depth_camera_for, register_depth
from ism_ros.node.conversion.undistortion import Undistortion

SIZES = ((640, 480), (1280, 720), (1920, 1080))
LENS = np.array([0.16, -0.48, 0.001, 0.0005, 0.43])
"""plumb_bob, as of a color camera with a wide lens."""
BASELINE_M = 0.015
DETECTIONS = 10


def main() -> None:
    """Print and write a row for each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=10, help="runs of each piece of work; the fastest counts")
    repeats = parser.parse_args().repeats
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    rows = [measured(width, height, repeats) for width, height in SIZES]
    print_table(f"Milliseconds a frame ({machine(1)})", rows)
    write_json("camera_geometry", rows)


def measured(width: int, height: int, repeats: int) -> dict[str, Any]:
    """The row of one size."""
    camera = Camera(np.array([[0.94 * width, 0, width / 2], [0, 0.94 * width, height / 2], [0, 0, 1]]), width, height)
    random = np.random.default_rng(0)
    rgb = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    depth_m = random.uniform(0.6, 1.2, (height, width)).astype(np.float32)
    lens = Undistortion(camera, LENS)
    canvas = lens.camera
    masks = torch.zeros((DETECTIONS, canvas.height, canvas.width), dtype=torch.bool)
    masks[:, canvas.height // 4 : canvas.height // 2, canvas.width // 4 : canvas.width // 2] = True
    one = torch.zeros(DETECTIONS)
    found = Detections(
        masks,
        boxes_from_masks(masks),
        one.long(),
        one.long(),
        one,
        one,
        one,
        one,
        one,
        rotation=torch.eye(3).repeat(DETECTIONS, 1, 1),
        translation_m=torch.zeros(DETECTIONS, 3),
    )
    to_color = np.eye(4)
    to_color[0, 3] = BASELINE_M
    source = depth_camera_for(camera, (), to_color)
    work = {
        "lens, once": lambda: Undistortion(camera, LENS),
        "rgb and depth undistorted": lambda: (lens.undistort_rgb(rgb), lens.undistort_depth(depth_m)),
        f"{DETECTIONS} masks back": lambda: lens.in_published_pixels(found),
        "depth registered": lambda: register_depth(depth_m, source, camera),
    }
    return {"size": f"{width} x {height}", **{name: round(timed(do, repeats)[0], 1) for name, do in work.items()}}


if __name__ == "__main__":
    main()
