"""Sizes of known objects compared with what is seen, in metres: finds units of depth or CAD models that are wrong.

A depth image ten times too far or a CAD model ten times too large has no odd number in it. It shows where what looks
like an object has not its size, and where nothing is found.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ism_ros.cad.units import UNITS_TEXT, length_text
from ism_ros.checks.input_warnings import InputWarning
from ism_ros.data.frame import Frame
from ism_ros.objects.library import KnownObject, ObjectLibrary

FACTORS = (0.1, 10.0, 0.001, 1000.0, 1 / 25.4, 25.4)
"""By which depth or CAD models are wrong: tenths of millimetres, centimetres, metres, inches."""
MIN_OBJECT_PX, MAX_OBJECT_VIEWS = 3.0, 4.0
"""An object smaller than so many pixels where the nearest surface is, or larger than so many times what the camera
sees at the furthest, is not of the size that is believed."""
LIKELY = (0.35, 1.6)
"""What is seen of an object measures so many of its diameters, unless much of it is hidden."""
OTHER_SIZE = (0.2, 3.0)
"""Diameters outside of which what was found is not of the object's size."""
MAX_CHECKED = 8
"""Most proposals, of those that look most like an object, that are scored again in other units."""
MIN_SIZES = 3
MAX_NAMED = 3
"""Objects named in one sentence."""


def sizes_in_diameters(
    masks: Tensor, boxes_xyxy: Tensor, object_index: Tensor, frame: Frame, library: ObjectLibrary
) -> Tensor:
    """Measure what is seen under each of a few masks in diameters of the object that it is taken for.

    Args:
        masks: (N, H, W) bool.
        boxes_xyxy: (N, 4) inclusive pixels.
        object_index: (N,) places in `library`.
        frame: What the masks are of.
        library: The objects.

    Returns:
        (N,) diagonal of the box at the median depth / diameter; NaN without depth, or where the object has no geometry.
    """
    diameters_m = [library.objects[index].diameter_m or float("nan") for index in object_index.tolist()]
    rows = zip(masks.cpu().numpy(), boxes_xyxy.tolist(), strict=True)
    sizes_m = [frame.observed_size_m(box, mask) for mask, box in rows]
    return torch.tensor(sizes_m) / torch.tensor(diameters_m)


def doubts_about_objects(frame: Frame, missing: Sequence[KnownObject]) -> tuple[InputWarning, ...]:
    """Doubt the units of objects that were not found and are of no size that could be seen in this frame.

    Returns:
        At most one warning for the too large and one for the too small, of the reason `object_size`.
    """
    if not missing or frame.depth_m is None or not frame.has_depth:
        return ()
    sample = frame.depth_m[::8, ::8]
    readings_m = sample[sample > 0]
    if not readings_m.size:
        return ()
    nearest_m, furthest_m = (float(reading) for reading in np.percentile(readings_m, (5, 95)))
    camera = frame.camera
    least_m = MIN_OBJECT_PX * nearest_m / max(camera.fx, camera.fy)
    view_m = float(np.hypot(frame.width / camera.fx, frame.height / camera.fy)) * furthest_m
    known = [one for one in missing if one.diameter_m is not None]
    large = [one for one in known if (one.diameter_m or 0.0) > MAX_OBJECT_VIEWS * view_m]
    small = [one for one in known if (one.diameter_m or 0.0) < least_m]
    warnings = []
    if large:
        seen = f"while the camera sees no more than {length_text(view_m)} across"
        warnings.append(_object_warning(large, seen))
    if small:
        seen = f"less than {MIN_OBJECT_PX:.0f} pixels at the distance of what the camera sees"
        warnings.append(_object_warning(small, seen))
    return tuple(warnings)


def doubt_about_found(in_diameters: Tensor) -> tuple[InputWarning, ...]:
    """Doubt the unit of depth, or of the CAD models, where nothing that was found is of its object's size.

    Args:
        in_diameters: (N,) sizes of what was found in diameters of its objects.
    """
    sizes = in_diameters[in_diameters.isfinite()]
    if not len(sizes) or bool(((sizes > OTHER_SIZE[0]) & (sizes < OTHER_SIZE[1])).any()):
        return ()
    median = float(sizes.median())
    return (
        InputWarning(
            "depth_unit",
            f"what was found measures {median:.2g} times its object by depth and camera matrix, so that poses are "
            f"wrong: {_WHAT_TO_CHECK}",
        ),
    )


def factors_to_try(in_diameters: Tensor) -> list[float]:
    """The factors of depth that give some of what looks like an object that object's size, the likeliest first.

    Args:
        in_diameters: (N,) sizes of what looks like an object in diameters of it.
    """
    sizes = in_diameters[in_diameters.isfinite()]
    if not len(sizes):
        return []
    support = {
        factor: int(((sizes * factor > LIKELY[0]) & (sizes * factor < LIKELY[1])).sum()) for factor in (1.0, *FACTORS)
    }
    return sorted((f for f in FACTORS if support[f] > 0), key=lambda f: -support[f])[:2]


def nothing_fits(in_diameters: Tensor) -> bool:
    """Whether all that looks like an object is far from that object's size, and there is enough of it to tell.

    Args:
        in_diameters: (N,) sizes of what looks like an object in diameters of it.
    """
    sizes = in_diameters[in_diameters.isfinite() & (in_diameters > 0)]
    outside = (sizes < OTHER_SIZE[0]) | (sizes > OTHER_SIZE[1])
    return len(sizes) >= MIN_SIZES and bool(outside.all())


def doubt_about_scale(object_id: str, score: float, factor: float, diameter_m: float) -> InputWarning:
    """Say that an object would be found at another scale, where nothing was at the one that is believed.

    Args:
        object_id: of the object.
        score: with which it would be found.
        factor: of depth, one of FACTORS.
        diameter_m: of the object as it is believed.
    """
    times = f"{1 / factor:g} times nearer" if factor < 1 else f"{factor:g} times further"
    other_m = diameter_m / factor
    return InputWarning(
        "depth_unit",
        f"nothing found, but {object_id} would be, with {score:.2f}, if depth were {times} or it "
        f"{length_text(other_m)} instead of {length_text(diameter_m)} across: {_WHAT_TO_CHECK}",
    )


_WHAT_TO_CHECK = "check the unit of depth (depth_scale, or 16UC1 in millimetres) and the units of the CAD models"


def _object_warning(objects: Sequence[KnownObject], seen: str) -> InputWarning:
    named = ", ".join(f"{one.id} would be {length_text(one.diameter_m or 0.0)} across" for one in objects[:MAX_NAMED])
    more = f" and {len(objects) - MAX_NAMED} more alike" if len(objects) > MAX_NAMED else ""
    return InputWarning(
        "object_size", f"not found: {named}{more}, {seen}: check the units of the CAD file ({UNITS_TEXT})"
    )
