"""Objects as a camera without colours sees them: what frames that have lost theirs are compared with.

A colour template says little beside a grey picture of the same object. So there is a second set of descriptors, of the
templates in grey; it is made when the first grey frame comes, and kept in the cache like the first.
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

from ism_ros.objects.library import KnownObject, ObjectLibrary
from ism_ros.rendering.polar_maps import ViewMaps, cell_areas_m2

LUMINANCE = (0.299, 0.587, 0.114)
"""Of red, green and blue, as cameras, JPEG and OpenCV make grey of colours (ITU-R BT.601)."""
LOG_PERIOD_S = 3.0

logger = logging.getLogger(__name__)


class MadeOnce:
    """The grey variant of an object, made when it is first asked for; those who ask meanwhile wait."""

    def __init__(self, make: Callable[[], KnownObject]) -> None:
        self._make = make
        self._made: KnownObject | None = None
        self._lock = threading.Lock()

    @property
    def made(self) -> KnownObject | None:
        """The variant, or None where nobody has asked for it."""
        return self._made

    def __call__(self) -> KnownObject:
        with self._lock:
            if self._made is None:
                self._made = self._make()
            return self._made


def library_in_grey(library: ObjectLibrary) -> ObjectLibrary:
    """Put the grey variant of each object in its place; those that have none stay as they are.

    Says in the log that, and how far, objects are being described, as a frame waits for that.
    """
    told_s = -LOG_PERIOD_S
    missing = [known for known in library.objects if known.in_grey is not None and known.in_grey.made is None]
    for number, known in enumerate(missing, start=1):
        assert known.in_grey is not None
        if time.monotonic() - told_s >= LOG_PERIOD_S:
            told_s = time.monotonic()
            logger.warning(
                "the camera gives no colours: object %d of %d, '%s', is described in grey, once; frames wait for that",
                number,
                len(missing),
                known.id,
            )
        known.in_grey()
    return library.each(lambda known: known if known.in_grey is None else known.in_grey())


def grey_pictures(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Make pictures (..., 3) uint8 grey: three equal channels."""
    grey = np.rint(rgb.astype(np.float32) @ np.array(LUMINANCE, np.float32)).clip(0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)


def grey_views(views: ViewMaps) -> ViewMaps:
    """Make the maps of `views` those of grey pictures: brightness relative to that of the view in all three colours."""
    maps = torch.from_numpy(views.maps).float()
    grey = (maps[:, 2:] * maps.new_tensor(LUMINANCE)[:, None, None]).sum(dim=1)
    area_m2 = maps[:, 0] * cell_areas_m2(views.radius_m, maps)
    mean = (grey * area_m2).sum(dim=(1, 2)) / area_m2.sum(dim=(1, 2)).clamp(min=1e-12)
    relative = grey / mean.clamp(min=1e-3)[:, None, None]
    return replace(views, maps=torch.cat([maps[:, :2], relative[:, None].expand(-1, 3, -1, -1)], dim=1).half().numpy())
