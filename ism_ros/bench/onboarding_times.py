"""Seconds to make an object known, the first time and from the cache."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from tempfile import TemporaryDirectory

from ism_ros.model import InstanceSegmentationModel
from ism_ros.objects.spec import ObjectSpec


@dataclass(frozen=True)
class OnboardingTimes:
    """Seconds of one object.

    Attributes:
        object_id: Its id.
        first_s: Rendered and described.
        cached_s: Read from the cache.
    """

    object_id: str
    first_s: float
    cached_s: float


def time_onboarding(
    model: InstanceSegmentationModel, spec: ObjectSpec, progress: Callable[[int, int], None] | None = None
) -> OnboardingTimes | None:
    """Make an object known twice, with a cache that is empty at first; model and cache stay as they are.

    Args:
        model: Describes the object.
        spec: The object.
        progress: Called with the number of rendered views and of all views.

    Returns:
        The seconds; None with a large network on a CPU, which describes templates for minutes.

    Raises:
        ValueError: As `objects.onboarding.onboard`.
    """
    if model.device == "cpu" and not model.descriptor.is_small:
        return None
    spent_s = []
    with TemporaryDirectory(prefix="ism_bench_") as folder:
        trial = replace(model, settings=model.settings.model_copy(update={"cache_dir": folder}))
        for _ in range(2):
            began = time.perf_counter()
            trial.onboard(spec, progress)
            spent_s.append(time.perf_counter() - began)
    return OnboardingTimes(spec.id, *spent_s)
