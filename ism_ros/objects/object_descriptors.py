"""Descriptors of one object: made of its templates by the descriptor model, and turned into a KnownObject."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ism_ros.checks.input_warnings import InputWarning
from ism_ros.data.boxes import boxes_from_masks
from ism_ros.data.crops import centred_depth_px, crop_resize_pad, crop_scales
from ism_ros.descriptors.base import Descriptor, sees_depth
from ism_ros.objects.known_object import KnownObject
from ism_ros.objects.spec import ObjectSpec
from ism_ros.objects.stores.descriptor_cache import Arrays
from ism_ros.objects.stores.patch_tokens import PatchFile, PatchPrecision
from ism_ros.objects.template_builder import ObjectTemplates
from ism_ros.rendering.views.polar_maps import ViewMaps
from ism_ros.rendering.views.surface_samples import SurfaceSamples


@dataclass(frozen=True)
class DescribedTemplates:
    """What the descriptor model says of the templates of an object, before it is placed on a device.

    Attributes:
        arrays: Small arrays by name, as of `stores.descriptor_cache.CachedDescriptors`.
        patch_tokens: (T, P, C) float32 or float16.
        warnings: Doubts about the files of the object.
    """

    arrays: Arrays
    patch_tokens: NDArray[np.generic]
    warnings: tuple[InputWarning, ...] = ()


@dataclass(frozen=True)
class PlacedDescriptors:
    """Descriptors of an object whose patch tokens are where they are used.

    Attributes:
        arrays: As of DescribedTemplates.
        patch_tokens: (T, P, C), in memory or in a file.
        warnings: Doubts about the files of the object.
    """

    arrays: Arrays
    patch_tokens: torch.Tensor | PatchFile
    warnings: tuple[InputWarning, ...] = ()


@torch.no_grad()
def describe_templates(
    templates: ObjectTemplates, descriptor: Descriptor, device: str, precision: PatchPrecision
) -> DescribedTemplates:
    """Describe the templates of an object by a model.

    Args:
        templates: Of the object.
        descriptor: The model.
        device: On which it runs.
        precision: Of the patch tokens.

    Returns:
        Class tokens and patch tokens, with what else belongs to the templates, on the CPU.
    """
    masks = torch.from_numpy(templates.masks).to(device)
    images = torch.from_numpy(templates.rgb).to(device).permute(0, 3, 1, 2).float() / 255.0
    # The reference crops templates whole, where it drops the last row and column of a proposal.
    boxes_xyxy = boxes_from_masks(masks) + torch.tensor([0, 0, 1, 1], device=masks.device)
    size = descriptor.crop_size
    crops, crop_masks = crop_resize_pad(images, masks, boxes_xyxy, size)
    if sees_depth(descriptor) and templates.depth_px is not None:
        depth, _ = crop_resize_pad(torch.from_numpy(templates.depth_px).to(device)[:, None], masks, boxes_xyxy, size)
        depth_px = centred_depth_px(torch.where(crop_masks, depth[:, 0], torch.nan), crop_scales(boxes_xyxy, size))
        described = descriptor.describe_templates(crops, crop_masks, depth_px)
    else:
        described = descriptor.describe_templates(crops, crop_masks)
    arrays: Arrays = {"class_tokens": described.class_tokens.float().cpu().numpy()}
    if templates.rotations is not None:
        arrays["rotations"] = templates.rotations
    if templates.points_m is not None:
        arrays["points_m"] = templates.points_m
        arrays["bounds_m"] = templates.bounds_m
    if templates.views is not None:
        arrays |= _arrays_of_views(templates.views)
    if templates.surface is not None:
        arrays |= _arrays_of_surface(templates.surface)
    patch_tokens = np.ascontiguousarray(described.patch_tokens.float().cpu().numpy().astype(precision))
    return DescribedTemplates(arrays, patch_tokens, templates.warnings)


def known_object(spec: ObjectSpec, descriptors: PlacedDescriptors, device: str) -> KnownObject:
    """Make the object that frames are compared with.

    Args:
        spec: The object.
        descriptors: Of the object.
        device: Where its tensors go.

    Returns:
        The object, without a grayscale variant.
    """
    arrays = descriptors.arrays

    def tensor(name: str) -> torch.Tensor | None:
        return torch.from_numpy(arrays[name]).to(device) if name in arrays else None

    return KnownObject(
        id=spec.id,
        category_id=spec.category_id,
        class_tokens=torch.from_numpy(arrays["class_tokens"]).to(device),
        patch_tokens=descriptors.patch_tokens,
        rotations=tensor("rotations"),
        points_m=tensor("points_m"),
        source=str(spec.templates or spec.cad),
        views=_views_of_arrays(arrays),
        surface=_surface_of_arrays(arrays),
        warnings=tuple(
            InputWarning(warning.reason, f"{label_of(spec)}: {warning.text}") for warning in descriptors.warnings
        ),
        bounds_m=torch.from_numpy(arrays["bounds_m"].astype(np.float64)) if "bounds_m" in arrays else None,
    )


def label_of(spec: ObjectSpec) -> str:
    """Name an object in a warning.

    Args:
        spec: The object.

    Returns:
        Its id and the name of its file: "object 'mug' (cup.ply)".
    """
    file = spec.cad or spec.templates
    return f"object '{spec.id}'" + (f" ({file.name})" if file is not None else "")


def _arrays_of_views(views: ViewMaps) -> Arrays:
    return {
        "view_maps": views.maps,
        "view_surface_m": views.centroid_m,
        "view_centre_m": views.centre_m,
        "view_reach_m": np.array([views.radius_m], np.float32),
        "view_rotations": views.rotations,
    }


def _views_of_arrays(arrays: Arrays) -> ViewMaps | None:
    if "view_maps" not in arrays:
        return None
    return ViewMaps(
        maps=arrays["view_maps"].astype(np.float16),
        centroid_m=arrays["view_surface_m"].astype(np.float64),
        radius_m=float(arrays["view_reach_m"][0]),
        rotations=np.asarray(arrays["view_rotations"], np.float64),
        template_count=len(arrays["rotations"]),
        centre_m=np.asarray(arrays["view_centre_m"], np.float64),
    )


def _arrays_of_surface(surface: SurfaceSamples) -> Arrays:
    return {
        "surface_points_m": surface.points_m,
        "surface_normals": surface.normals.astype(np.float16),
        "surface_colors": surface.colors.astype(np.float16),
        "surface_spacing_m": np.array([surface.spacing_m]),
        "surface_centre_m": surface.centre_m,
        "surface_of_view": surface.of_view.astype(np.int16),
        "surface_is_rim": surface.is_rim,
    }


def _surface_of_arrays(arrays: Arrays) -> SurfaceSamples | None:
    if "surface_points_m" not in arrays:
        return None
    return SurfaceSamples(
        points_m=arrays["surface_points_m"].astype(np.float32),
        normals=arrays["surface_normals"].astype(np.float32),
        colors=arrays["surface_colors"].astype(np.float32),
        spacing_m=float(arrays["surface_spacing_m"][0]),
        centre_m=arrays["surface_centre_m"].astype(np.float64),
        of_view=arrays["surface_of_view"].astype(np.int64),
        is_rim=arrays["surface_is_rim"].astype(np.bool_),
    )
