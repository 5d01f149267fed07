"""How far the best template is from the true direction of view."""

from __future__ import annotations

import numpy as np
from common.coco_scoring import mask_ious
from numpy.typing import NDArray

from ism_ros.data.detections import Detections
from ism_ros.rendering.views.viewpoints import camera_positions
from ism_ros.sim.synthesis.ground_truth import GroundTruth

NEAR_DEG = 35.0
"""Largest angle between the template's view and the true one that counts as near, degrees."""
Array = NDArray[np.float64]


def viewpoints_near(found: Detections, truth: GroundTruth, symmetries: dict[str, Array]) -> list[bool]:
    """Say of each detection of the right name at IoU 0.5 whether its template is within NEAR_DEG of the true view.

    Args:
        found: Detections of a frame.
        truth: Its ground truth.
        symmetries: (S, 3, 3) symmetries of each object by name.

    Returns:
        One value a detection of the right name.
    """
    ious = mask_ious(found.masks.cpu().numpy(), truth.masks)
    out = []
    for row in range(len(found)):
        instance = int(ious[row].argmax()) if len(truth.masks) else -1
        name = found.class_id(row)
        if instance < 0 or ious[row, instance] < 0.5 or truth.names[instance] != name or not truth.known[instance]:
            continue
        pose = truth.object_to_camera[instance]
        towards = -pose[:3, :3].T @ pose[:3, 3] / np.linalg.norm(pose[:3, 3])
        view = camera_positions()[int(found.template_index[row])]
        cosine = float((np.einsum("sji,j->si", symmetries[name], towards) @ view).max())
        out.append(np.degrees(np.arccos(np.clip(cosine, -1, 1))) <= NEAR_DEG)
    return out
