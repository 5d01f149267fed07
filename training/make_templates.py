"""Renders the 42 templates of every object in a folder of training data.

    python -m training.make_templates --data DIR

DIR/templates/NNNN.npy: (42, 96, 96, 4) uint8, color and mask, cropped to the object as the library does it. What is
there already is kept.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ism_ros.data.boxes import boxes_from_masks
from ism_ros.data.crops import crop_resize_pad
from ism_ros.descriptors.tiny.descriptor_network import CROP_PX
from ism_ros.rendering.template_renderer import render_templates
from ism_ros.runtime.atomic_files import open_atomically
from training.datasets.data_folder import object_file, read_description, template_file
from training.datasets.parallel_jobs import portions, run_all
from training.training_scenes.random_objects import BankObject, read_object

RENDER_PX = 112
"""Side of a rendered template before it is cropped, pixels."""


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


def templates_of(made: BankObject) -> NDArray[np.uint8]:
    """Render the templates of one object.

    Args:
        made: The object.

    Returns:
        (42, 96, 96, 4) uint8: RGB, 0 outside the mask, and the mask as 255.
    """
    views = render_templates(made.surface, size_px=RENDER_PX, samples=1)
    masks = torch.from_numpy(views.masks)
    images = torch.from_numpy(views.rgb).permute(0, 3, 1, 2).contiguous()
    crops, crop_masks = crop_resize_pad(images, masks, boxes_from_masks(masks), CROP_PX)
    return np.concatenate([crops.permute(0, 2, 3, 1).numpy(), 255 * crop_masks.numpy()[..., None].astype(np.uint8)], -1)


def _write(numbers: list[int], data: Path) -> None:
    torch.set_num_threads(1)
    for number in numbers:
        views = templates_of(read_object(object_file(data, number)))
        with open_atomically(template_file(data, number), "wb") as stream:
            np.save(stream, views)


if __name__ == "__main__":
    main()
