"""Poses of detections: from the alignment of their objects' views, with covariances and boxes of the models."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ism_ros.data.boxes import boxes_from_masks
from ism_ros.data.detections import Detections
from ism_ros.data.frame import Frame
from ism_ros.objects.known_object import KnownObject
from ism_ros.objects.library import ObjectLibrary
from ism_ros.pose.alignment import ObjectAlignments, ViewAlignment, align_views
from ism_ros.pose.coarse_pose import coarse_poses
from ism_ros.pose.observed_points import sample_observed_points
from ism_ros.refinement.covariance import at_origin, unknown_covariance
from ism_ros.runtime.threads import one_thread


@torch.inference_mode()
def with_coarse_poses(
    detections: Detections,
    frame: Frame,
    library: ObjectLibrary,
    view_prior_weight: float = 0.0,
    alignments: ObjectAlignments | None = None,
    rows: Tensor | None = None,
) -> Detections:
    """Estimate the poses of detections, their covariances, and the boxes of their models.

    Args:
        detections: N detections of `frame`.
        frame: The frame.
        library: The objects.
        view_prior_weight: Weight of class tokens in the choice of a view, a property of the descriptor.
        alignments: Alignments of the objects' views with masks of this frame; None = compute them.
        rows: (N,) int64, indices of the detections' masks in `alignments`; None = their own indices.

    Returns:
        The detections with the poses of the best aligned views. Those that have a covariance keep their pose. Those
        whose object has no views, or that have too little depth, keep the pose of their template. Those without any
        pose have NaN everywhere.
    """
    count, device = len(detections), detections.rotation.device
    rotation, translation_m = detections.rotation.cpu().clone(), detections.translation_m.cpu().clone()
    template_index = detections.template_index.cpu().clone()
    covariance, box_m = torch.full((count, 6, 6), float("nan")), torch.full((count, 2, 3), float("nan"))
    if detections.pose_covariance is not None:
        covariance = detections.pose_covariance.cpu().clone()
    posed = torch.isfinite(rotation).flatten(1).all(dim=1) & torch.isfinite(translation_m).all(dim=1)
    refined = posed & torch.isfinite(covariance).flatten(1).all(dim=1)
    if alignments is None:
        alignments, rows = align_detections(detections, posed & ~refined, frame, library), None
    object_index = detections.object_index.cpu()
    for index in object_index[posed].unique().tolist():
        known = library.objects[index]
        if known.box_m is not None:
            box_m[posed & (object_index == index)] = known.box_m.float()
        own = torch.nonzero(posed & ~refined & (object_index == index))[:, 0]
        if not len(own):
            continue
        covariance[own] = _template_covariance(known, rotation[own])
        if known.views is None or index not in alignments:
            continue
        here = own.to(device)
        alignment = alignments.of(index, here if rows is None else rows[here])
        if view_prior_weight and detections.view_similarity is not None:
            prior = view_prior_weight * known.views.from_templates(detections.view_similarity[here])
            alignment = alignment.with_prior(prior)
        for row, pose in zip(own.tolist(), coarse_poses(alignment, known.views), strict=True):
            if pose is not None:
                rotation[row] = torch.from_numpy(pose.rotation)
                translation_m[row] = torch.from_numpy(pose.translation_m)
                template_index[row] = int(known.views.nearest_template[pose.view])
                covariance[row] = torch.from_numpy(pose.covariance)
    return replace(
        detections,
        rotation=rotation.to(device),
        translation_m=translation_m.to(device),
        template_index=template_index.to(device),
        pose_covariance=covariance.to(device),
        model_box_m=box_m.to(device),
    )


def align_detections(detections: Detections, posed: Tensor, frame: Frame, library: ObjectLibrary) -> ObjectAlignments:
    """Align the views of each detection's object with what is observed under its mask.

    Args:
        detections: N detections of `frame`.
        posed: (N,) bool on the CPU, the detections to align.
        frame: The frame; without depth nothing is aligned.
        library: The objects.

    Returns:
        The alignments, of the objects that have views.
    """
    if not frame.has_depth or not posed.any():
        return ObjectAlignments({})
    observed = sample_observed_points(detections.masks, boxes_from_masks(detections.masks), frame)
    object_index = detections.object_index.cpu()
    aligned: dict[int, tuple[Tensor, ViewAlignment]] = {}
    for index in object_index[posed].unique().tolist():
        known = library.objects[index]
        if known.views is not None:
            rows = torch.nonzero(posed & (object_index == index))[:, 0].to(detections.masks.device)
            with one_thread(rows):
                aligned[index] = rows, align_views(observed[rows], known.views, known.spectra)
    return ObjectAlignments(aligned)


def _template_covariance(known: KnownObject, rotation: Tensor) -> Tensor:
    """Make the covariances (N, 6, 6) of poses of templates, with rotations (N, 3, 3)."""
    about_centre = unknown_covariance()
    arms_m = (rotation.double() @ known.centre_m).numpy()
    return torch.from_numpy(at_origin(about_centre, arms_m)).float()
