"""Predictions made of the truth at random: moved, grown, shrunk, doubled, misnamed, left out, invented.

python make_predictions.py DATASET OUT
"""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from ism_ros.bop.dataset import open_dataset
from ism_ros.bop.ground_truth import read_ground_truth
from ism_ros.data.rle import decode_rle, encode_rle

MODES = {"mild": (2, 3, 0.1, 0.1), "rough": (9, 9, 0.3, 0.35)}
"""Most pixels moved, most grown or shrunk, share left out, share of wrong objects."""


def changed(mask, rng, shift_px, size_px):
    dx, dy = rng.integers(-shift_px, shift_px + 1, 2)
    moved = cv2.warpAffine(mask.astype(np.uint8), np.float32([[1, 0, dx], [0, 1, dy]]), mask.shape[::-1])
    kernel = np.ones([int(rng.integers(1, size_px + 1))] * 2, np.uint8)
    other = (cv2.dilate if rng.random() < 0.5 else cv2.erode)(moved, kernel).astype(bool)
    return other if other.any() else mask


def entry(instance, object_id, score, mask):
    rle = encode_rle(mask)
    box = [int(side) for side in coco_mask.toBbox(rle)]
    return {
        "scene_id": instance.image.scene_id,
        "image_id": instance.image.image_id,
        "category_id": int(object_id),
        "score": score,
        "bbox": box,
        "time": 0.25,
        "segmentation": rle,
    }


def perturbed(truth, seed, mode):
    shift_px, size_px, lost, wrong = MODES[mode]
    rng = np.random.default_rng(seed)
    rows = []
    for instance in truth.instances:
        mask = decode_rle(instance.mask)
        for _ in range(1 + int(rng.integers(0, 3))):
            if rng.random() < lost:
                continue
            # scores of one digit: many are equal, and their order counts
            score = round(float(rng.random()), 1 if mode == "rough" else 6)
            object_id = rng.integers(1, 7) if rng.random() < wrong else instance.object_id
            rows.append(entry(instance, object_id, score, changed(mask, rng, shift_px, size_px)))
    first = truth.instances[0]
    if mode == "rough":  # more than the 100 that count, of one object in one image
        for _ in range(110):
            speck = np.zeros(truth.sizes[first.image], bool)
            v, u = rng.integers(0, 200, 2)
            speck[v : v + 30, u : u + 30] = True
            rows.append(entry(first, first.object_id, round(float(rng.random()), 1), speck))
    rng.shuffle(rows)
    return rows


if __name__ == "__main__":
    out = Path(sys.argv[2])
    truth = read_ground_truth(open_dataset(Path(sys.argv[1])))
    for mode, seed in (("mild", 1), ("rough", 2)):
        (out / f"{mode}_simset-test.json").write_text(json.dumps(perturbed(truth, seed, mode)))
