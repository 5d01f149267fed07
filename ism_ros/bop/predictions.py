"""Predictions in the form in which the BOP benchmark takes 2D detections and segmentations: one JSON for a dataset.

A list of {scene_id, image_id, category_id, score, bbox, time, segmentation}, one entry a detection: category_id is
the number of the object; bbox is [x, y, width, height] in pixels, a mask of one pixel being 1 wide; time are the
seconds spent on the whole image, the same in all its entries; segmentation is a compressed COCO RLE.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pycocotools import mask as coco_mask

from ism_ros.bop.dataset import BopDataset, ImageKey
from ism_ros.bop.files import Fields, pick_fields, read_json, write_json
from ism_ros.data.detections import Detections
from ism_ros.data.rle import encode_rle

Prediction = dict[str, Any]


def predictions_of(detections: Detections, image: ImageKey, time_s: float) -> list[Prediction]:
    """Convert the detections of one image.

    Args:
        detections: On any device.
        image: The image.
        time_s: Seconds spent on it.

    Returns:
        One entry a detection, best first.
    """
    detections = detections.to("cpu")
    encoded = [encode_rle(mask) for mask in detections.masks.numpy()]
    return [
        {
            "scene_id": image.scene_id,
            "image_id": image.image_id,
            "category_id": detections.category_id(row),
            "score": float(detections.score[row]),
            "bbox": [int(side) for side in coco_mask.toBbox(rle)],
            "time": time_s,
            "segmentation": rle,
        }
        for row, rle in enumerate(encoded)
    ]


def file_name(method: str, dataset: BopDataset) -> str:
    """Make the file name that the benchmark expects.

    Args:
        method: Name of the method.
        dataset: The dataset.

    Returns:
        METHOD_DATASET-SPLIT.json, the parts without the hyphens and underscores that separate them.
    """
    split, _, kind = dataset.split.partition("_")
    parts = [re.sub(r"[^A-Za-z0-9]", "", part) for part in (dataset.name, split, kind) if part]
    return f"{method.replace('_', '-')}_{'-'.join(parts)}.json"


def write_predictions(path: Path, predictions: Iterable[Prediction]) -> None:
    """Write `predictions` into the file `path`, whole or not at all."""
    write_json(path, list(predictions))


def read_predictions(path: Path) -> list[Prediction]:
    """Read predictions with what judging them needs.

    Args:
        path: The file.

    Returns:
        Its entries.

    Raises:
        BopFileError: It cannot be read, or an entry lacks a field or has a bad one.
    """
    fields: Fields = {
        "scene_id": int,
        "image_id": int,
        "category_id": int,
        "score": float,
        "bbox": _box,
        "segmentation": _rle,
    }
    entries = read_json(path, list, "a list of BOP predictions")
    return [{**entry, **pick_fields(path, f"entry {k}", entry, fields)} for k, entry in enumerate(entries)]


def _box(value: Any) -> list[float]:
    x, y, width, height = (float(side) for side in value)
    return [x, y, width, height]


def _rle(value: Any) -> dict[str, Any]:
    height, width = value["size"]
    counts = value["counts"]
    if isinstance(counts, list):
        counts = coco_mask.frPyObjects(value, height, width)["counts"].decode("ascii")
    if not isinstance(counts, str):
        raise ValueError(counts)
    return {"size": [int(height), int(width)], "counts": counts}
