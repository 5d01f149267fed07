"""Detections in the forms that others read: SAM-6D's files, BOP records, a label image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from ism_ros.data.boxes import mask_to_xywh, xyxy_to_sam6d_xywh
from ism_ros.data.detection_evidence import DetectionEvidence
from ism_ros.data.detections import Detections
from ism_ros.data.rle import encode_rle


def label_image(detections: Detections) -> NDArray[np.uint16]:
    """Draw all instances into one image.

    Args:
        detections: Of one frame, on any device.

    Returns:
        (H, W) uint16: 0 background, else the instance's id; where masks overlap the higher score is on top.
    """
    detections = detections.to("cpu")
    masks = detections.masks.numpy()
    labels = np.zeros(masks.shape[1:], dtype=np.uint16)
    ids = detections.instance_ids()
    for row in np.argsort(detections.score.numpy(), kind="stable"):
        left, top, width, height = mask_to_xywh(masks[row])
        box = slice(top, top + height), slice(left, left + width)
        np.copyto(labels[box], np.uint16(ids[row]), where=masks[row][box])
    return labels


def to_records(detections: Detections, scene_id: int = 0, image_id: int = 0) -> list[dict[str, Any]]:
    """Convert detections to the BOP records that SAM-6D's pose estimator reads.

    Args:
        detections: Of one frame, on any device.
        scene_id: Number of the scene in a dataset.
        image_id: Number of the image in the scene.

    Returns:
        One a detection; bbox as of `xyxy_to_sam6d_xywh`, segmentation as compressed COCO RLE.
    """
    time_s = sum(detections.stage_s.values())
    detections = detections.to("cpu")  # at once: a GPU is waited for at each number that is read
    masks = detections.masks.numpy()
    return [
        {
            "scene_id": scene_id,
            "image_id": image_id,
            "category_id": detections.category_id(row),
            "bbox": xyxy_to_sam6d_xywh(detections.boxes_xyxy[row].tolist()),
            "score": float(detections.score[row]),
            "time": time_s,
            "segmentation": encode_rle(masks[row]),
        }
        for row in range(len(detections))
    ]


def write_results(
    folder: Path, detections: Detections, visualization_rgb: NDArray[np.uint8], scene_id: int = 0, image_id: int = 0
) -> None:
    """Write detection_ism.json, detection_ism.npz and vis_ism.png.

    Beside what SAM-6D's pose estimator reads, the first has `evidence` in the records of verified detections
    (data.detection_evidence). The second has evidence_names (F,), evidence_values and evidence_contributions (N, F):
    NaN in rows of detections that were not verified, F = 0 where none was.

    Args:
        folder: Where to; made where it is missing.
        detections: Of one frame.
        visualization_rgb: (H, W, 3) uint8, the frame with the detections drawn over it.
        scene_id: Number of the scene in a dataset.
        image_id: Number of the image in the scene.

    Raises:
        OSError: They cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    detections = detections.to("cpu")
    records = [
        record if (own := detections.evidence_of(row)) is None else {**record, "evidence": own}
        for row, record in enumerate(to_records(detections, scene_id, image_id))
    ]
    evidence = _any_evidence(detections)
    (folder / "detection_ism.json").write_text(json.dumps(records), encoding="utf-8")
    np.savez_compressed(
        folder / "detection_ism.npz",
        scene_id=np.int64(scene_id),
        image_id=np.int64(image_id),
        category_id=np.array([record["category_id"] for record in records], dtype=np.int64),
        score=detections.score.numpy(),
        bbox=np.array([record["bbox"] for record in records], dtype=np.int64).reshape(-1, 4),
        time=np.float64(sum(detections.stage_s.values())),
        segmentation=detections.masks.numpy(),
        evidence_names=np.array(evidence.names, dtype=str),
        evidence_values=evidence.values.numpy(),
        evidence_contributions=evidence.contributions.numpy(),
    )
    (folder / "vis_ism.png").write_bytes(png_bytes(visualization_rgb))


def png_bytes(rgb: NDArray[np.uint8]) -> bytes:
    """Encode an image, for those who write it: cv2.imwrite says nothing when the disk is full.

    Args:
        rgb: (H, W, 3) uint8.

    Returns:
        The content of a PNG file.
    """
    _, encoded = cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    return encoded.tobytes()


def _any_evidence(detections: Detections) -> DetectionEvidence:
    """The evidence, without any features where none of the detections was verified."""
    evidence = detections.evidence
    if evidence is not None and bool(evidence.is_verified().any()):
        return evidence
    return DetectionEvidence((), torch.empty(len(detections), 0), torch.empty(len(detections), 0))
