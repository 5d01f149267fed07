"""Known objects made of random ones, as onboarding makes them of CAD files, on disk and in other sizes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ism_ros.descriptors.base import Descriptor
from ism_ros.objects.known_object import KnownObject
from ism_ros.objects.object_descriptors import PlacedDescriptors, describe_templates, known_object
from ism_ros.objects.spec import ObjectSpec
from ism_ros.objects.stores.descriptor_cache import Arrays
from ism_ros.objects.template_builder import (
    ObjectTemplates,
    render_between,
    seen_points_m,
    surface_of_object,
    views_with_between,
)
from ism_ros.rendering.template_renderer import render_templates
from ism_ros.runtime.atomic_files import open_atomically
from training.score_calibration.cad_colors import CadColors
from training.training_scenes.random_objects import BankObject


def make_templates(made: BankObject, colors: CadColors) -> ObjectTemplates:
    """Render an object in the colors of its CAD model.

    Args:
        made: The object.
        colors: What the CAD model makes of its colors.

    Returns:
        What onboarding makes of a CAD file.
    """
    templates = render_templates(made.surface, samples=1)
    between = render_between(made.surface)
    assert templates.rotations is not None
    brightest = float(templates.rgb.mean(axis=-1).max())
    templates = replace(templates, rgb=colors.apply(templates.rgb, templates.masks, brightest))
    between = replace(between, rgb=colors.apply(between.rgb, between.masks, brightest))
    centre_m = templates.bounds_m.mean(axis=0)
    views = views_with_between(templates, between, centre_m)
    return ObjectTemplates(
        templates.rgb,
        templates.masks,
        np.asarray(templates.rotations, np.float32),
        seen_points_m(templates, centre_m),
        views,
        templates.bounds_m,
        surface=surface_of_object(templates, views),
        depth_px=templates.depth_px,
    )


def write_known(path: Path, templates: ObjectTemplates, descriptor: Descriptor) -> None:
    """Describe an object and write what verification needs of it, without patch tokens.

    Args:
        path: The .npz file, which appears whole or not at all.
        templates: Of the object.
        descriptor: The descriptor model, on the CPU.
    """
    arrays = describe_templates(templates, descriptor, "cpu", "float16").arrays
    with open_atomically(path, "wb") as stream:
        np.savez(stream, **arrays)


def read_known(path: Path) -> KnownObject:
    """Read a known object.

    Args:
        path: What `write_known` wrote.

    Returns:
        The object, on the CPU, without patch tokens.
    """
    with np.load(path) as stored:
        arrays: Arrays = {name: stored[name] for name in stored.files}
    return known_object(ObjectSpec(id=path.stem, cad=path), PlacedDescriptors(arrays, torch.zeros(1)), "cpu")


def resized(known: KnownObject, scale: float, name: str) -> KnownObject:
    """Make the same object in another size.

    Args:
        known: The object.
        scale: Factor of its size.
        name: The id of the result.

    Returns:
        The resized object.
    """
    views, surface = known.views, known.surface
    assert views is not None
    assert surface is not None
    assert known.points_m is not None
    assert known.bounds_m is not None
    maps = views.maps.astype(np.float32)
    maps[:, 1] *= scale  # relative depth, metres
    return replace(
        known,
        id=name,
        points_m=known.points_m * scale,
        bounds_m=known.bounds_m * scale,
        views=replace(
            views,
            maps=maps.astype(np.float16),
            centroid_m=views.centroid_m * scale,
            radius_m=views.radius_m * scale,
            centre_m=views.centre_m * scale,
        ),
        surface=replace(
            surface,
            points_m=(surface.points_m * scale).astype(np.float32),
            spacing_m=surface.spacing_m * scale,
            centre_m=surface.centre_m * scale,
        ),
    )
