"""Pictures of the proposals for a folder of frames, and the segmentor's time.

    python benchmarks/draw_proposals.py FOLDER --output out/proposals
    python benchmarks/draw_proposals.py FOLDER --camera camera.json --best 24

FOLDER holds NAME_rgb.png and NAME_depth.png (16 bit), or one rgb.png and depth.png, and camera.json ({cam_K,
depth_scale}, depth in metres = png * depth_scale / 1000). For every frame two pictures are written:
NAME_outlines.png, the outlines of the best proposals on the color image, and NAME_disjoint.png, the best proposals that
do not overlap, which shows at a glance what was taken for one object. There is no truth here: look.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

from ism_ros.runtime.threads import configure_thread_env

configure_thread_env()

import cv2
import numpy as np
from common.pictures import draw_disjoint_proposals
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from ism_ros.data.frame import Frame
from ism_ros.data.proposals import Proposals
from ism_ros.io.frame_files import read_frame
from ism_ros.segmentors.base import create_segmentor


def main() -> None:
    """Write the pictures and print milliseconds and numbers of proposals."""
    options = _options()
    options.output.mkdir(parents=True, exist_ok=True)
    segmentor = create_segmentor(options.segmentor)
    table = Table(title=f"segmentor {options.segmentor}, median of {options.repeats} runs")
    for column in ("frame", "ms", "proposals"):
        table.add_column(column, justify="left" if column == "frame" else "right")
    for name, frame in read_frames(options.folder, options.camera):
        proposals = segmentor.propose(frame)
        spent_ms = []
        for _ in range(options.repeats):
            start = time.perf_counter()
            proposals = segmentor.propose(frame)
            spent_ms.append(1e3 * (time.perf_counter() - start))
        outlines = draw_outlines(frame, proposals, options.best)
        disjoint = draw_disjoint_proposals(frame, proposals, min_confidence=0.0)
        for kind, picture in (("outlines", outlines), ("disjoint", disjoint)):
            cv2.imwrite(str(options.output / f"{name}_{kind}.png"), picture[..., ::-1])
        table.add_row(name, f"{np.median(spent_ms):.0f}", str(len(proposals)))
    Console().print(table)


def read_frames(folder: Path, camera_file: Path | None) -> Iterator[tuple[str, Frame]]:
    """Read every frame of a folder.

    Args:
        folder: The folder, see --help.
        camera_file: Camera of the frames; None = camera.json in the folder.

    Yields:
        Name and frame.

    Raises:
        SystemExit: The folder holds no frames or no camera.
        FrameFileError: A file cannot be read.
    """
    camera_file = camera_file or folder / "camera.json"
    pictures = sorted([*folder.glob("*_rgb.png"), *folder.glob("rgb.png")])
    if not camera_file.is_file() or not pictures:
        missing = camera_file if not camera_file.is_file() else folder / "*_rgb.png"
        raise SystemExit(f"{missing} not found; give a folder as described by --help")
    for path in pictures:
        depth = path.with_name(path.name.replace("rgb.png", "depth.png"))
        name = path.name.removesuffix("rgb.png").rstrip("_") or folder.name
        yield name, read_frame(path, depth, camera_file)


def draw_outlines(frame: Frame, proposals: Proposals, best: int) -> NDArray[np.uint8]:
    """Draw the outlines of the best proposals, the best on top.

    Args:
        frame: The frame.
        proposals: Its proposals, best first.
        best: How many.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    picture = frame.rgb.copy()
    for row in range(min(best, len(proposals)) - 1, -1, -1):
        mask = proposals.masks[row].cpu().numpy().astype(np.uint8)
        found, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        hue = np.uint8([[[(row * 67) % 180, 230, 255]]])
        color = cv2.cvtColor(hue, cv2.COLOR_HSV2RGB)[0, 0].tolist()
        cv2.drawContours(picture, found, -1, color, 2)
    return picture


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--camera", type=Path, help="default: camera.json in the folder")
    parser.add_argument("--output", type=Path, default=Path("out/proposals"))
    parser.add_argument("--segmentor", default="tiny")
    parser.add_argument("--best", type=int, default=30, help="outlines drawn a frame (default 30)")
    parser.add_argument("--repeats", type=int, default=5, help="timed runs a frame (default 5)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
