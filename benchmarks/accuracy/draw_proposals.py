"""Pictures of the proposals for a folder of frames, and where the segmentor's time goes.

    python benchmarks/accuracy/draw_proposals.py FOLDER --output out/proposals
    python benchmarks/accuracy/draw_proposals.py FOLDER --camera camera.json --segmentor depth --best 24

FOLDER holds NAME_rgb.png and NAME_depth.png (16 bit), or one rgb.png and depth.png, and camera.json ({cam_K,
depth_scale}, depth in metres = png * depth_scale / 1000). For every frame two pictures are written:
NAME_outlines.png, the outlines of the best proposals on the colour image, and NAME_cover.png, a patchwork of the best
proposals that do not overlap, which shows at a glance what was taken for one object. There is no truth here: look.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ism_ros.runtime.threads import configure_thread_env

configure_thread_env()

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from ism_ros.data.camera import Camera
from ism_ros.data.frame import Frame
from ism_ros.data.proposals import Proposals
from ism_ros.segmentors.base import create_segmentor

STAGES = ("measure_geometry", "cut_patches", "join_alike", "find_regions", "paint")


def main() -> None:
    options = _options()
    options.output.mkdir(parents=True, exist_ok=True)
    segmentor = create_segmentor(options.segmentor)
    stage_ms: dict[str, list[float]] = {}
    if options.segmentor == "depth":
        for stage in STAGES:
            setattr(depth, stage, _timed(getattr(depth, stage), stage_ms.setdefault(stage, [])))
    rows = []
    for name, frame in read_frames(options.folder, options.camera):
        proposals = segmentor.propose(frame)
        for times in stage_ms.values():
            times.clear()
        whole_ms = []
        for _ in range(options.repeats):
            start = time.perf_counter()
            proposals = segmentor.propose(frame)
            whole_ms.append(1e3 * (time.perf_counter() - start))
        cv2.imwrite(str(options.output / f"{name}_outlines.png"), outlines(frame, proposals, options.best)[..., ::-1])
        cv2.imwrite(str(options.output / f"{name}_cover.png"), cover(frame, proposals)[..., ::-1])
        rows.append(
            (
                name,
                len(proposals),
                float(np.median(whole_ms)),
                {k: float(np.median(v)) for k, v in stage_ms.items() if v},
            )
        )
    _print(rows)


def read_frames(folder: Path, camera_file: Path | None) -> Iterator[tuple[str, Frame]]:
    """Every frame of `folder` by name; SystemExit says what is missing."""
    camera_file = camera_file or folder / "camera.json"
    colours = sorted([*folder.glob("*_rgb.png"), *folder.glob("rgb.png")])
    if not camera_file.is_file() or not colours:
        missing = camera_file if not camera_file.is_file() else folder / "*_rgb.png"
        raise SystemExit(f"{missing} not found; give a folder as described by --help")
    camera = json.loads(camera_file.read_text())
    intrinsics = np.array(camera["cam_K"], dtype=np.float64).reshape(3, 3)
    for path in colours:
        depth_path = path.with_name(path.name.replace("rgb.png", "depth.png"))
        rgb, depth_png = (
            cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION),
            cv2.imread(str(depth_path), cv2.IMREAD_UNCHANGED),
        )
        if rgb is None or depth_png is None:
            raise SystemExit(f"{path if rgb is None else depth_path} cannot be read as an image")
        height, width = rgb.shape[:2]
        depth_m = depth_png.astype(np.float32) * float(camera.get("depth_scale", 1.0)) / 1000.0
        name = path.name.removesuffix("rgb.png").rstrip("_") or folder.name
        yield name, Frame(np.ascontiguousarray(rgb[..., ::-1]), depth_m, Camera(intrinsics, width, height))


def outlines(frame: Frame, proposals: Proposals, best: int) -> NDArray[np.uint8]:
    """The colour image with the outlines of the `best` proposals, best on top."""
    picture = frame.rgb.copy()
    for row in range(min(best, len(proposals)) - 1, -1, -1):
        mask = proposals.masks[row].cpu().numpy().astype(np.uint8)
        found, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, found, -1, _colour(row), 2)
    return picture


def cover(frame: Frame, proposals: Proposals) -> NDArray[np.uint8]:
    """The colour image, tinted with the best proposals of which no two overlap by more than a tenth of the smaller."""
    tint = np.zeros_like(frame.rgb)
    taken = np.zeros(frame.rgb.shape[:2], dtype=bool)
    for row in range(len(proposals)):
        mask = proposals.masks[row].cpu().numpy()
        if (mask & taken).sum() <= 0.1 * mask.sum():
            tint[mask] = _colour(row)
            taken |= mask
    return np.where(taken[..., None], frame.rgb // 2 + tint // 2, frame.rgb // 2)


def _colour(row: int) -> tuple[int, int, int]:
    hue = np.uint8([[[(row * 67) % 180, 230, 255]]])
    red, green, blue = cv2.cvtColor(hue, cv2.COLOR_HSV2RGB)[0, 0]
    return int(red), int(green), int(blue)


def _timed(function: Callable[..., Any], times_ms: list[float]) -> Callable[..., Any]:
    def wrapper(*arguments: Any, **named: Any) -> Any:
        start = time.perf_counter()
        result = function(*arguments, **named)
        times_ms.append(1e3 * (time.perf_counter() - start))
        return result

    return wrapper


def _print(rows: list[tuple[str, int, float, dict[str, float]]]) -> None:
    table = Table("", *(name for name, *_ in rows), title="milliseconds, median over repeats")
    for stage in rows[0][3]:
        table.add_row(stage, *(f"{row[3].get(stage, 0.0):.1f}" for row in rows))
    table.add_row("whole", *(f"{whole_ms:.0f}" for _, _, whole_ms, _ in rows))
    table.add_row("proposals", *(str(count) for _, count, *_ in rows))
    Console().print(table)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--camera", type=Path, help="default: camera.json in the folder")
    parser.add_argument("--output", type=Path, default=Path("out/proposals"))
    parser.add_argument("--segmentor", default="depth")
    parser.add_argument("--best", type=int, default=30, help="outlines drawn a frame (default 30)")
    parser.add_argument("--repeats", type=int, default=5, help="timed runs a frame (default 5)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
