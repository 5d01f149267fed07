"""Renders the 42 templates of every object in a folder of training data.

    python -m training.make_templates --data DIR

DIR/templates/NNNN.npz, cropped to the object as the library does it; what is there already is kept:

views    (42, 96, 96, 5) uint8: RGB, mask as 255, and what red, green and blue would be without colors and texture
depth    (42, 96, 96) int16: as of the crops of scenes (stored_depth of datasets/scene_arrays.py)
"""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ism_ros.data.boxes import boxes_from_masks
from ism_ros.data.crops import crop_resize_pad, crop_scales
from ism_ros.descriptors.tiny.descriptor_network import CROP_PX
from ism_ros.rendering.template_renderer import render_templates
from ism_ros.rendering.views.view_depth import view_depth_px
from ism_ros.runtime.atomic_files import open_atomically
from training.datasets.data_folder import object_file, read_description, template_file
from training.datasets.parallel_jobs import portions, run_all
from training.datasets.scene_arrays import depth_steps
from training.training_scenes.random_objects import BankObject, read_object

RENDER_PX = 112
"""Side of a rendered template before it is cropped, pixels."""
PLAIN = 255.0
"""Red, green and blue of an object without colors; the light makes it darker."""


def main() -> None:
    """Render the templates that are missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    (options.data / "templates").mkdir(exist_ok=True)
    count = read_description(options.data)["objects"]
    missing = [n for n in range(count) if not template_file(options.data, n).exists()]
    run_all(_write, portions(missing, 10), (options.data,), options.jobs, "objects", 10)


def templates_of(made: BankObject) -> dict[str, NDArray[Any]]:
    """Render the templates of one object.

    Args:
        made: The object.

    Returns:
        The arrays of its file.
    """
    views = render_templates(made.surface, size_px=RENDER_PX, samples=1)
    plain = replace(made.surface, texture=None, uv=None, colors=np.full_like(made.surface.colors, PLAIN))
    tone = render_templates(plain, size_px=RENDER_PX, samples=1).rgb[..., :1]
    masks = torch.from_numpy(views.masks)
    seen = np.concatenate([views.rgb, tone], axis=-1).astype(np.float32)
    depth_px = view_depth_px(views.xyz_m, views.masks, views.rotations)
    images = torch.from_numpy(np.concatenate([seen, depth_px[..., None]], axis=-1)).permute(0, 3, 1, 2)
    boxes_xyxy = boxes_from_masks(masks)
    crops, crop_masks = crop_resize_pad(images, masks, boxes_xyxy, CROP_PX)
    crop_depth_px = crops[:, 4] * crop_scales(boxes_xyxy, CROP_PX)[:, None, None]
    shown = torch.cat([crops[:, :3], 255 * crop_masks[:, None], crops[:, 3:4]], dim=1)
    depth = [
        depth_steps(px - np.median(px[mask]), mask)
        for px, mask in zip(crop_depth_px.numpy(), crop_masks.numpy(), strict=True)
    ]
    return {
        "views": shown.permute(0, 2, 3, 1).numpy().astype(np.uint8),
        "depth": np.stack(depth),
    }


def _write(numbers: list[int], data: Path) -> None:
    torch.set_num_threads(1)
    for number in numbers:
        arrays = templates_of(read_object(object_file(data, number)))
        with open_atomically(template_file(data, number), "wb") as stream:
            np.savez(stream, **arrays)


if __name__ == "__main__":
    main()
