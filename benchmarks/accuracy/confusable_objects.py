"""Pairs of objects that differ in texture alone or in shape alone, and which of them a model names correctly."""

from __future__ import annotations

import numpy as np
import trimesh
from common.coco_scoring import mask_ious
from PIL import Image

from ism_ros.data.frame import Frame
from ism_ros.model import InstanceSegmentationModel
from ism_ros.sim.benchmark_scenes.objects.object_catalog import KINDS, make_object
from ism_ros.sim.synthesis.ground_truth import GroundTruth

DIFFERENCES = ("texture", "shape")
"""In what the objects of a pair differ."""
MIN_VISIBLE_SHARE = 0.3
"""Least visible share of an instance that must be named correctly."""


def make_pair(difference: str, number: int) -> list[trimesh.Trimesh]:
    """Make two objects that differ in one respect.

    Args:
        difference: One of DIFFERENCES.
        number: Number of the pair.

    Returns:
        The two meshes, named `first` and `second`.
    """
    kind = KINDS[number % len(KINDS)]
    first = make_object(kind, 900_000 + number)
    second = first.copy()
    if difference == "texture":
        _change_colors(second)
    else:
        axis = int(np.argsort(first.extents)[1 + number % 2])
        factors = np.ones(3)
        factors[axis] = 0.6
        second.apply_scale(factors)
    first.metadata, second.metadata = {**first.metadata, "name": "first"}, {**first.metadata, "name": "second"}
    return [first, second]


def _change_colors(mesh: trimesh.Trimesh) -> None:
    """Other hues and the opposite lightness."""
    if isinstance(mesh.visual, trimesh.visual.TextureVisuals):
        material = mesh.visual.material.copy()
        name = "baseColorTexture" if getattr(material, "baseColorTexture", None) is not None else "image"
        picture = np.asarray(getattr(material, name).convert("RGB"))
        setattr(material, name, Image.fromarray((255 - picture)[..., [1, 2, 0]]))
        mesh.visual = trimesh.visual.TextureVisuals(uv=np.array(mesh.visual.uv), material=material)
        return
    colors = np.array(mesh.visual.vertex_colors)
    colors[:, :3] = (255 - colors[:, :3])[:, [1, 2, 0]]
    mesh.visual = trimesh.visual.ColorVisuals(mesh, vertex_colors=colors)


def instances_named_correctly(
    model: InstanceSegmentationModel, frame: Frame, truth: GroundTruth
) -> list[tuple[float, bool]]:
    """Say of every known instance whether the best detection on it has its name.

    Args:
        model: The model that knows both objects.
        frame: The frame.
        truth: Its ground truth.

    Returns:
        Visible share, and False also where it is not found, of each instance that is visible enough.
    """
    found = model.segment(frame, with_poses=False)
    ious = mask_ious(found.masks.cpu().numpy(), truth.masks)
    named = []
    for instance in np.flatnonzero(truth.known & (truth.visible_share >= MIN_VISIBLE_SHARE)):
        covering = np.flatnonzero(ious[:, instance] >= 0.5) if len(ious) else []
        is_named = len(covering) > 0 and found.class_id(int(covering[0])) == truth.names[instance]
        named.append((float(truth.visible_share[instance]), is_named))
    return named
