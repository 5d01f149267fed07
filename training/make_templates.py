"""The 42 clean views of every object in a folder of training data: python -m training.make_templates --data DIR

DIR/templates/NNNN.npy: (42, 96, 96, 4) uint8, colour and mask, cut to the object as the library cuts its templates.
What is there already is kept.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ism_ros.data.masks import boxes_from_masks, crop_resize_pad
from ism_ros.descriptors.tiny.descriptor_network import CROP_PX
from ism_ros.rendering.template_renderer import render_templates
from training.make_data import object_file, portions, run_all
from training.objects import BankObject, read_object

RENDER_PX = 112


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    (options.data / "templates").mkdir(exist_ok=True)
    count = json.loads((options.data / "data.json").read_text())["objects"]
    missing = [n for n in range(count) if not template_file(options.data, n).exists()]
    run_all(_write, portions(missing, 10), (options.data,), options.jobs, "objects", 10)


def template_file(data: Path, number: int) -> Path:
    return data / "templates" / f"{number:04d}.npy"


def templates_of(made: BankObject) -> NDArray[np.uint8]:
    """(42, 96, 96, 4): colours, 0 outside the mask, and the mask as 255."""
    views = render_templates(made.surface, size_px=RENDER_PX, samples=1)
    masks = torch.from_numpy(views.masks)
    images = torch.from_numpy(views.rgb).permute(0, 3, 1, 2).contiguous()
    crops, crop_masks = crop_resize_pad(images, masks, boxes_from_masks(masks), CROP_PX)
    return np.concatenate([crops.permute(0, 2, 3, 1).numpy(), 255 * crop_masks.numpy()[..., None].astype(np.uint8)], -1)


def _write(numbers: list[int], data: Path) -> None:
    torch.set_num_threads(1)
    for number in numbers:
        views = templates_of(read_object(object_file(data, number)))
        file = template_file(data, number)
        unfinished = file.with_suffix(".part.npy")
        np.save(unfinished, views)
        unfinished.replace(file)


if __name__ == "__main__":
    main()
