"""From detections to the fields of an inference response."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ism_ros.data.boxes import xyxy_to_sam6d_xywh
from ism_ros.data.detections import Detections, RejectedDetection
from ism_ros.io.result_files import png_bytes, to_records, write_results
from ism_ros.server.errors import RequestError
from ism_ros.server.model_process.messages import ResponseFields
from ism_ros.server.requests.inference_input import InferenceInput
from ism_ros.visualization import draw_overlay

SCORE_PARTS = ("semantic_score", "appearance_score", "geometric_score", "visible_ratio", "fit_score")
"""Parts of the score that responses have."""


def make_response(request: InferenceInput, rgb: NDArray[np.uint8], detections: Detections) -> ResponseFields:
    """Make the fields of `schemas.InferenceResponse`, fit for json.dumps, and write the files that were asked for.

    Args:
        request: The request.
        rgb: Its color image, (H, W, 3) uint8.
        detections: What was found, on the CPU.

    Returns:
        The fields.

    Raises:
        RequestError: 400 where `output_dir` cannot be written.
    """
    overlay = draw_overlay(rgb, detections) if request.visualization or request.output_dir else None
    if request.output_dir is not None and overlay is not None:
        try:
            write_results(request.output_dir, detections, overlay)
        except OSError as error:
            why = error.strerror or error
            raise RequestError(
                400, f"output_dir {request.output_dir} cannot be written ({why}): choose another"
            ) from None
    named = request.path_object
    records = to_records(detections)
    return {
        "success": True,
        "detections": [_detection(detections, row, record) for row, record in enumerate(records)],
        "num_detections": len(records),
        "best_rejected": _rejected_fields(detections.best_rejected),
        "near_miss": _rejected_fields(detections.best_rejected),
        "warnings": [{"reason": warning.reason, "text": warning.text} for warning in detections.warnings],
        "scores": [record["score"] for record in records],
        "inference_time": sum(detections.stage_s.values()),
        "stage_times": detections.stage_s,
        "visualization": _png_base64(overlay) if overlay is not None and request.visualization else None,
        "template_dir_used": str(named.template_dir) if named is not None and named.template_dir is not None else None,
        "cad_path_used": str(named.cad_path) if named is not None and named.cad_path is not None else None,
        "output_dir_used": None if request.output_dir is None else str(request.output_dir),
        "error_message": None,
    }


def _rejected_fields(best: RejectedDetection | None) -> dict[str, Any] | None:
    if best is None:
        return None
    return {"class_id": best.class_id, "score": best.score, "bbox": xyxy_to_sam6d_xywh(best.box_xyxy)}


def _detection(detections: Detections, row: int, record: dict[str, Any]) -> dict[str, Any]:
    rotation, translation_m = detections.rotation[row], detections.translation_m[row]
    has_pose = bool(rotation.isfinite().all() and translation_m.isfinite().all())
    pose = {"rotation": rotation.flatten().tolist(), "translation_m": translation_m.tolist()} if has_pose else None
    return {
        "category_id": record["category_id"],
        "class_id": detections.class_id(row),
        "score": record["score"],
        **{part: float(getattr(detections, part)[row]) for part in SCORE_PARTS},
        "bbox": record["bbox"],
        "segmentation": record["segmentation"],
        "template_index": int(detections.template_index[row]),
        "pose": pose,
        "evidence": detections.evidence_of(row),
    }


def _png_base64(rgb: NDArray[np.uint8]) -> str:
    return base64.b64encode(png_bytes(rgb)).decode("ascii")
