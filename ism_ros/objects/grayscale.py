"""Objects as a camera without colors sees them: what frames that have lost theirs are compared with.

A color template says little about a gray image of the same object. So there is a second set of descriptors, of the
templates in grayscale; it is built when the first gray frame comes, and cached like the first.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ism_ros.objects.known_object import KnownObject
from ism_ros.objects.library import ObjectLibrary
from ism_ros.rendering.views.polar_maps import ViewMaps, cell_areas_m2
from ism_ros.rendering.views.surface_samples import SurfaceSamples

LUMINANCE_WEIGHTS = (0.299, 0.587, 0.114)
"""Weights of red, green and blue by which cameras, JPEG and OpenCV make gray of colors (ITU-R BT.601)."""
LOG_PERIOD_S = 3.0
"""Shortest time between two lines of the log that say how far objects are, seconds."""

logger = logging.getLogger(__name__)


class LazyVariant:
    """A variant of an object that is built at the first call; calls that come meanwhile wait for it."""

    def __init__(self, build: Callable[[], KnownObject]) -> None:
        """Keep how to build it.

        Args:
            build: Called once.
        """
        self._build = build
        self._built: KnownObject | None = None
        self._lock = threading.Lock()

    @property
    def built(self) -> KnownObject | None:
        """The variant, or None where nobody has needed it yet."""
        return self._built

    def __call__(self) -> KnownObject:
        """Return the variant, building it where it is the first call."""
        with self._lock:
            if self._built is None:
                self._built = self._build()
            return self._built


def grayscale_library(library: ObjectLibrary) -> ObjectLibrary:
    """Replace each object by its grayscale variant.

    Those that are not built yet are, with lines in the log, as a frame waits for that.

    Args:
        library: The objects as onboarded.

    Returns:
        A library of the same ids; objects without a variant stay as they are.
    """
    logged_s = -LOG_PERIOD_S
    missing = [known for known in library.objects if known.grayscale is not None and known.grayscale.built is None]
    for number, known in enumerate(missing, start=1):
        assert known.grayscale is not None
        if time.monotonic() - logged_s >= LOG_PERIOD_S:
            logged_s = time.monotonic()
            logger.warning(
                "the camera gives no colors: object %d of %d, '%s', is described in gray, once; frames wait for that",
                number,
                len(missing),
                known.id,
            )
        known.grayscale()
    return library.map_objects(lambda known: known if known.grayscale is None else known.grayscale())


def grayscale_images(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Make images gray.

    Args:
        rgb: (..., 3) uint8.

    Returns:
        The same shape, all three channels equal to the luma of ITU-R BT.601.
    """
    gray = np.rint(rgb.astype(np.float32) @ np.array(LUMINANCE_WEIGHTS, np.float32)).clip(0, 255).astype(np.uint8)
    return np.repeat(gray[..., None], 3, axis=-1)


def grayscale_crops(crops: Tensor) -> Tensor:
    """Make crops gray.

    Args:
        crops: (N, 3, H, W) RGB.

    Returns:
        The same shape and type, all three channels equal.
    """
    weights = crops.new_tensor(LUMINANCE_WEIGHTS)[:, None, None]
    return (crops * weights).sum(dim=1, keepdim=True).expand_as(crops).contiguous()


def grayscale_views(views: ViewMaps) -> ViewMaps:
    """Make the polar maps of views those of gray images.

    Args:
        views: Of the object in color.

    Returns:
        The same with three equal channels: brightness relative to the mean of its view.
    """
    maps = torch.from_numpy(views.maps).float()
    gray = (maps[:, 2:] * maps.new_tensor(LUMINANCE_WEIGHTS)[:, None, None]).sum(dim=1)
    area_m2 = maps[:, 0] * cell_areas_m2(views.radius_m, maps)
    mean = (gray * area_m2).sum(dim=(1, 2)) / area_m2.sum(dim=(1, 2)).clamp(min=1e-12)
    relative = gray / mean.clamp(min=1e-3)[:, None, None]
    return replace(views, maps=torch.cat([maps[:, :2], relative[:, None].expand(-1, 3, -1, -1)], dim=1).half().numpy())


def grayscale_surface(surface: SurfaceSamples) -> SurfaceSamples:
    """Make the colors of surface samples gray.

    Args:
        surface: Of the object in color.

    Returns:
        The same with three equal channels.
    """
    gray = surface.colors @ np.array(LUMINANCE_WEIGHTS, np.float32)
    return replace(surface, colors=np.repeat(gray[:, None], 3, axis=1))
