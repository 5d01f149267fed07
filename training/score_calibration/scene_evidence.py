"""Evidence and truth of one rendered scene, as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ism_ros.data.frame import Frame
from ism_ros.matching.calibration import pose_features
from ism_ros.matching.candidates import Candidates
from ism_ros.matching.scores.similarity import library_similarity, semantic_scores
from ism_ros.matching.verified import semantic_margin, verify_candidates
from ism_ros.model import InstanceSegmentationModel
from ism_ros.objects.known_object import KnownObject
from ism_ros.objects.library import ObjectLibrary
from ism_ros.query import Query
from ism_ros.verification.silhouette_masks import silhouette_masks
from training.score_calibration.evidence_store import MIN_PIXELS, Arrays, no_evidence
from training.score_calibration.known_objects import resized
from training.score_calibration.scene_libraries import LibraryEntry, choose_library
from training.training_scenes.random_cameras import observe
from training.training_scenes.random_objects import BankObject
from training.training_scenes.random_scenes import make_scene, render_scene


def make_evidence_of_scene(
    seed: int,
    bank: Sequence[BankObject],
    known: Sequence[KnownObject],
    is_colorless: Sequence[bool],
    model: InstanceSegmentationModel,
    with_depth: bool = True,
) -> Arrays:
    """Render a scene, find proposals, verify objects under them, and compare with the truth.

    Args:
        seed: Number of the scene.
        bank: The objects that may be in it.
        known: The same as known objects.
        is_colorless: Of each of them, whether its CAD model has no colors: those alone may be painted in the scene.
        model: Segmentor and descriptor.
        with_depth: Whether they see the depth.

    Returns:
        Arrays of one scene, as in `evidence_store.EvidenceRows`.
    """
    scene = make_scene(seed, bank, is_colorless)
    view, shine = render_scene(scene, bank, seed)
    frame = observe(view.rgb, view.depth_m, shine, scene.camera, seed)
    frame = frame if with_depth else replace(frame, depth_m=None)
    entries = choose_library(scene.placed, len(bank), np.random.default_rng([9, seed]), with_depth)
    is_object = np.array([[entry.is_like(one) for one in scene.placed] for entry in entries], bool)
    is_object = is_object.reshape(len(entries), len(scene.placed))
    pixels = pixels_of_instances(view.instance, len(scene.placed))
    to_be_found = np.flatnonzero(is_object.any(axis=0) & (pixels >= MIN_PIXELS))
    return {**_evidence(frame, _library(entries, known), model, view.instance, is_object), "to_be_found": to_be_found}


def _library(entries: Sequence[LibraryEntry], known: Sequence[KnownObject]) -> ObjectLibrary:
    return ObjectLibrary(tuple(resized(known[one.index], one.scale, f"object_{k}") for k, one in enumerate(entries)))


@torch.inference_mode()
def _evidence(
    frame: Frame,
    library: ObjectLibrary,
    model: InstanceSegmentationModel,
    instance: NDArray[Any],
    is_object: NDArray[np.bool_],
) -> Arrays:
    crops = model.propose(Query(frame, library, model.settings))
    proposals = crops.proposals
    if not len(proposals):
        return no_evidence()
    semantic = semantic_scores(library_similarity(model.describe([crops])[0], library))
    candidates = Candidates.of(frame, proposals, semantic, semantic_margin(semantic), library)
    found = verify_candidates(frame, candidates, library)
    if found is None:
        return no_evidence()
    rows, columns = found.poses.mask_index, found.poses.object_index
    looks = candidates.semantic[rows, columns], candidates.margin[rows, columns], candidates.proposals.confidence[rows]
    silhouettes = silhouette_masks(found.evidence, torch.arange(len(rows)), proposals.masks.shape[1:])
    ious = np.stack(
        [
            instance_ious(silhouettes.numpy(), instance, is_object.shape[1]),
            instance_ious(candidates.proposals.masks.numpy(), instance, is_object.shape[1])[rows.numpy()],
        ],
        axis=1,
    )
    iou, best = _best_instances(ious, is_object[columns.numpy()])
    return {
        "features": pose_features(found.evidence.terms, *looks).numpy(),
        "iou": iou,
        "instance": best,
        "proposal": rows.numpy(),
        "object": columns.numpy(),
    }


def pixels_of_instances(instance: NDArray[Any], count: int) -> NDArray[np.int64]:
    """Count the pixels of each instance.

    Args:
        instance: Number of the instance of each pixel, of any shape; from `count` on: surroundings, below 0: nothing.
        count: Number of instances, I.

    Returns:
        (I,) int64.
    """
    return np.bincount(instance[instance >= 0], minlength=count)[:count]


def instance_ious(masks: NDArray[np.bool_], instance: NDArray[Any], count: int) -> NDArray[np.float32]:
    """Compute the IoU of masks and instances.

    Args:
        masks: (M, H, W) bool.
        instance: (H, W) number of the instance of each pixel, as of `pixels_of_instances`.
        count: Number of instances, I.

    Returns:
        (M, I) float32.
    """
    area = pixels_of_instances(instance, count)
    common = np.zeros((len(masks), count))
    for row, mask in enumerate(masks):
        common[row] = pixels_of_instances(instance[mask], count)
    union = masks.reshape(len(masks), -1).sum(axis=1)[:, None] + area - common
    return (common / np.maximum(union, 1)).astype(np.float32)


def _best_instances(
    ious: NDArray[np.float32], is_object: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Best IoU (H, 2) of IoUs (H, 2, I) with instances that are the object of the row (H, I), and which, -1 = none."""
    if not ious.shape[2]:
        return np.zeros(ious.shape[:2], np.float32), np.full(ious.shape[:2], -1)
    own = ious * is_object[:, None]
    best = own.max(axis=2)
    return best, np.where(best > 0, own.argmax(axis=2), -1)
