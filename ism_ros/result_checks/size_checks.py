"""Sizes of known objects compared with observed ones, in metres: detects wrong units of depth or CAD models.

A depth image ten times too far or a CAD model ten times too large has no implausible number by itself. It shows where
what looks like an object has another size, and where nothing is found.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ism_ros.cad.units import UNITS_TEXT, length_text
from ism_ros.checks.input_warnings import InputWarning
from ism_ros.data.frame import Frame
from ism_ros.objects.known_object import KnownObject
from ism_ros.objects.library import ObjectLibrary

FACTORS = (0.1, 10.0, 0.001, 1000.0, 1 / 25.4, 25.4)
"""Factors of depth that are tried: units of tenths of millimetres, centimetres, metres, inches."""
MIN_OBJECT_PX, MAX_OBJECT_VIEWS = 3.0, 4.0
"""Limits of an object's size: in pixels at the nearest surface, and in diagonals of the camera's view at the furthest.
Objects outside of them have a wrong unit."""
LIKELY_RATIO = (0.35, 1.6)
"""Ratios of observed size to diameter between which a proposal supports a factor."""
PLAUSIBLE_RATIO = (0.2, 3.0)
"""Ratios of observed size to diameter outside of which a proposal has another size than the object."""
MAX_CHECKED = 8
"""Largest number of proposals whose sizes tell which factors to try, those with the best semantic score."""
USUAL_FACTORS = (0.1, 10.0)
"""Factors that are tried in any case: cameras that store tenths of millimetres, CAD models in centimetres."""
MAX_FACTORS = 3
"""Most factors that are tried."""
USUAL_MEDIAN_M = (0.2, 4.0)
"""Range of the median reading in which depth is not doubted where something was found."""
CERTAIN = 0.75
"""Score of a detection from which on depth is not doubted."""
LIKELY, CLEARLY_MORE = 0.45, 0.15
"""Least score that an object has where depth becomes a usual one, and how much more than the best detection without."""
SURE, BOTH_LIKELY = 0.8, 0.5
"""Least score that an object has, or two objects have, where depth is a usual one as it is."""
MAX_NAMED = 3
"""Largest number of objects named in one warning."""


def sizes_in_diameters(
    masks: Tensor, boxes_xyxy: Tensor, object_index: Tensor, frame: Frame, library: ObjectLibrary
) -> Tensor:
    """Measure the observed size under each of a few masks, in diameters of the matched object.

    Args:
        masks: (N, H, W) bool.
        boxes_xyxy: (N, 4) inclusive pixels.
        object_index: (N,) indices in `library`.
        frame: The frame of the masks.
        library: The objects.

    Returns:
        (N,) diagonal of the box at the median depth / diameter; NaN without depth, or where the object has no geometry.
    """
    diameters_m = [library.objects[index].diameter_m or float("nan") for index in object_index.tolist()]
    rows = zip(masks.cpu().numpy(), boxes_xyxy.tolist(), strict=True)
    sizes_m = [frame.observed_size_m(box, mask) for mask, box in rows]
    return torch.tensor(sizes_m) / torch.tensor(diameters_m)


def object_size_warnings(frame: Frame, missing: Sequence[KnownObject]) -> tuple[InputWarning, ...]:
    """Warn of objects that were not found and whose size is impossible in a frame.

    Args:
        frame: The frame; without depth there are no warnings.
        missing: Objects that were not found.

    Returns:
        At most one warning for too large and one for too small objects, of the reason `object_size`.
    """
    if not missing or frame.depth_m is None or not frame.has_depth:
        return ()
    readings_m = _some_readings_m(frame.depth_m)
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


def found_size_warnings(in_diameters: Tensor) -> tuple[InputWarning, ...]:
    """Warn of the unit of depth, or of CAD models, where no detection has the size of its object.

    Args:
        in_diameters: (N,) sizes of detections in diameters of their objects; NaN where one is not known.

    Returns:
        At most one warning, of the reason `depth_unit`.
    """
    sizes = in_diameters[in_diameters.isfinite()]
    if not len(sizes) or bool(((sizes > PLAUSIBLE_RATIO[0]) & (sizes < PLAUSIBLE_RATIO[1])).any()):
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
    """Choose factors of depth by the number of proposals that have the size of their object with them.

    Args:
        in_diameters: (N,) sizes of proposals in diameters of their objects; NaN where one is not known.

    Returns:
        At most MAX_FACTORS of FACTORS, the one that most proposals support first, and USUAL_FACTORS among them.
    """
    sizes = in_diameters[in_diameters.isfinite()]
    low, high = LIKELY_RATIO
    support = {factor: int(((sizes * factor > low) & (sizes * factor < high)).sum()) for factor in FACTORS}
    wanted = sorted(FACTORS, key=lambda f: (-support[f], FACTORS.index(f)))
    others = [f for f in wanted if f not in USUAL_FACTORS and support[f] > 0][: MAX_FACTORS - len(USUAL_FACTORS)]
    return [f for f in wanted if f in USUAL_FACTORS or f in others]


def is_unusual(depth_m: NDArray[np.float32]) -> bool:
    """Tell whether the median reading is one that few cameras and tables have.

    Args:
        depth_m: (H, W) metres, 0 = no reading.

    Returns:
        Whether it is outside of USUAL_MEDIAN_M.
    """
    readings_m, (low, high) = _some_readings_m(depth_m), USUAL_MEDIAN_M
    return bool(readings_m.size) and not low <= float(np.median(readings_m)) <= high


def _some_readings_m(depth_m: NDArray[np.float32]) -> NDArray[np.float32]:
    sample = depth_m[::8, ::8]
    return sample[sample > 0]


def is_convincing(of_objects: Sequence[float], found: float, is_depth: bool) -> bool:
    """Tell whether scores with scaled depth tell of a wrong unit: objects that are absent have some score as well.

    Args:
        of_objects: Best score of each object that is found so.
        found: Best score without; 0 where nothing is found.
        is_depth: Whether depth is unusual as it is, and usual when it is scaled.

    Returns:
        Whether they do.
    """
    best, second = sorted([*of_objects, 0.0, 0.0], reverse=True)[:2]
    if is_depth:
        return best >= max(LIKELY, found + CLEARLY_MORE)
    return best >= SURE or second >= BOTH_LIKELY


def scale_warning(object_id: str, score: float, found: float, factor: float, diameter_m: float) -> InputWarning:
    """Warn that an object would be detected if depth were scaled, where nothing, or nothing certain, was detected.

    Args:
        object_id: Of the object.
        score: Score that it would have.
        found: Score of the best detection; 0 where there is none.
        factor: Factor of depth, one of FACTORS.
        diameter_m: Diameter of the object, metres.

    Returns:
        A warning of the reason `depth_unit`.
    """
    times = f"{1 / factor:g} times nearer" if factor < 1 else f"{factor:g} times further"
    other_m = diameter_m / factor
    seen = f"nothing found with more than {found:.2f}" if found else "nothing found"
    return InputWarning(
        "depth_unit",
        f"{seen}, but {object_id} would be, with {score:.2f}, if depth were {times} or it "
        f"{length_text(other_m)} instead of {length_text(diameter_m)} across: {_WHAT_TO_CHECK}",
    )


_WHAT_TO_CHECK = "check the unit of depth (depth_scale, or 16UC1 in millimetres) and the units of the CAD models"


def _object_warning(objects: Sequence[KnownObject], seen: str) -> InputWarning:
    named = ", ".join(f"{one.id} would be {length_text(one.diameter_m or 0.0)} across" for one in objects[:MAX_NAMED])
    more = f" and {len(objects) - MAX_NAMED} more alike" if len(objects) > MAX_NAMED else ""
    return InputWarning(
        "object_size", f"not found: {named}{more}, {seen}: check the units of the CAD file ({UNITS_TEXT})"
    )
