"""Objects known by their shape alone, and what a depth camera sees where one of them stands before it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
import trimesh
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from ism_ros.cad.surfaces import surface_of
from ism_ros.data.boxes import boxes_from_masks
from ism_ros.data.camera import Camera
from ism_ros.data.frame import Frame
from ism_ros.objects.known_object import KnownObject
from ism_ros.objects.template_builder import surface_of_object, views_of_object
from ism_ros.refinement.observed_masks import ObservedMasks, observed_masks
from ism_ros.refinement.pose_batch import PoseBatch, RefinementSamples
from ism_ros.rendering.renderer import render
from ism_ros.rendering.template_renderer import render_templates
from ism_ros.verification.evidence.gathering import gather_evidence
from ism_ros.verification.evidence.terms import TERMS, Evidence
from ism_ros.verification.observed_image import ObservedImage
from ism_ros.verification.verification import object_samples, refinement_samples

CAMERA = Camera(np.array([[615.0, 0, 322.5], [0, 615.0, 238.5], [0, 0, 1]]), 640, 480)
TEMPLATE_SIZE_PX = 160
TABLE_M = 0.9
"""Distance of a wall behind everything that stands before the camera, metres."""


def pose(rotation: Rotation, translation_m: tuple[float, float, float]) -> NDArray[np.float64]:
    """Object-to-camera (4, 4)."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation.as_matrix(), translation_m
    return matrix


def known(name: str, mesh: trimesh.Trimesh, with_all_views: bool = False) -> KnownObject:
    """An object of which there are views, perhaps from between its templates as well, and a surface.

    Its tokens say nothing.
    """
    templates = render_templates(mesh, size_px=TEMPLATE_SIZE_PX, samples=1)
    views = views_of_object(mesh if with_all_views else None, templates)
    assert views is not None
    assert templates.rotations is not None
    count = len(templates.rotations)
    return KnownObject(
        name,
        1,
        torch.nn.functional.normalize(torch.ones(count, 8), dim=1),
        torch.zeros(count, 4, 8),
        torch.from_numpy(templates.rotations).float(),
        torch.from_numpy(mesh.vertices - mesh.bounds.mean(axis=0)).float(),
        views=views,
        bounds_m=torch.from_numpy(np.array(mesh.bounds)),
        surface=surface_of_object(templates, views),
    )


def seen(
    mesh: trimesh.Trimesh,
    at: NDArray[np.float64],
    noise_m: float = 0.002,
    nearer: tuple[trimesh.Trimesh, NDArray[np.float64]] | None = None,
) -> tuple[Frame, NDArray[np.bool_]]:
    """A frame of a mesh before a wall, perhaps behind another one, with noise, and the mask of what is seen of it."""
    others = [] if nearer is None else [nearer]
    meshes, poses = [surface_of(mesh), *(surface_of(other) for other, _ in others)], [at, *(p for _, p in others)]
    view = render(meshes, poses, CAMERA, background=(120, 120, 124), samples=1)
    depth_m = np.where(view.depth_m > 0, view.depth_m, np.float32(TABLE_M))
    noise = np.random.default_rng(0).normal(0, 1, depth_m.shape) * noise_m
    return Frame(view.rgb, (depth_m + noise).astype(np.float32), CAMERA), view.instance == 0


def observed(frame: Frame, *masks: NDArray[np.bool_]) -> tuple[ObservedMasks, torch.Tensor]:
    stack = torch.from_numpy(np.stack(masks))
    return observed_masks(frame, stack, boxes_from_masks(stack)), stack


def batch(one: KnownObject, *poses: NDArray[np.float64]) -> PoseBatch:
    """Poses of an object's origin as a batch under mask 0, each with the view that it shows."""
    assert one.views is not None
    rotations = np.stack([at[:3, :3] for at in poses])
    centres_m = np.stack([at[:3, :3] @ one.centre_m.numpy() + at[:3, 3] for at in poses])
    nothing = torch.zeros(len(poses), dtype=torch.int64)
    view = np.einsum("vij,hij->hv", one.views.rotations[:, 2:], rotations[:, 2:]).argmax(axis=1)
    return PoseBatch(
        torch.from_numpy(rotations).float(),
        torch.from_numpy(centres_m).float(),
        nothing,
        nothing,
        torch.from_numpy(view),
        torch.zeros(len(poses)),
    )


def samples_of(one: KnownObject, poses: PoseBatch) -> RefinementSamples:
    """The samples that a batch of poses of one object is refined by."""
    return refinement_samples([one], poses)


def evidence_of(one: KnownObject, poses: PoseBatch, frame: Frame, mask: NDArray[np.bool_]) -> Evidence:
    under, masks = observed(frame, mask)
    image = ObservedImage.of(frame.rgb, masks.device)
    return gather_evidence(poses, object_samples([one], poses.object_index), under, masks, image)


def terms_of(one: KnownObject, at: NDArray[np.float64], frame: Frame, mask: NDArray[np.bool_]) -> dict[str, float]:
    """What there is for and against one pose, by name."""
    evidence = evidence_of(one, batch(one, at), frame, mask)
    return dict(zip(TERMS, evidence.terms[0].tolist(), strict=True))


def repainted(one: KnownObject, color: tuple[float, float, float]) -> KnownObject:
    """The same object in one color."""
    assert one.surface is not None
    colors = np.broadcast_to(np.array(color, np.float32), one.surface.colors.shape).copy()
    return replace(one, surface=replace(one.surface, colors=colors))
