"""Loading of a model with its objects, and what a process that owns one reports of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch

from ism_ros.config.settings import Settings
from ism_ros.loading import load_model
from ism_ros.model import InstanceSegmentationModel
from ism_ros.objects.spec import ObjectSpec
from ism_ros.objects.template_builder import TemplateBuilder
from ism_ros.server.model_process.background_onboarding import ProgressCallback
from ism_ros.server.model_process.inference_runner import InferenceRunner
from ism_ros.server.model_process.messages import BatchResults, ModelOptions
from ism_ros.server.model_process.object_cache import ObjectCache
from ism_ros.server.objects.object_info import ObjectInfo
from ism_ros.server.requests.inference_input import InferenceInput

logger = logging.getLogger(__name__)


class OnboardingCancelledError(Exception):
    """The object that is being onboarded is not wanted any more."""


def load_runner(
    settings: Settings,
    options: ModelOptions,
    uploaded: Iterable[ObjectSpec],
    on_loading: Callable[[str], None],
    template_builder: TemplateBuilder,
    on_progress: ProgressCallback = lambda progress: None,
) -> InferenceRunner:
    """Load the models with the objects of the objects file and those that were uploaded.

    Args:
        settings: Settings of models and objects.
        options: Cache, preloaded object.
        uploaded: The uploaded objects; one that cannot be used is logged and left out.
        on_loading: Called with what is being loaded.
        template_builder: Renders templates.
        on_progress: Called when the progress of objects that requests name changes.

    Returns:
        The runner, ready for requests.

    Raises:
        ValueError: A model or object cannot be used; one line says why.
        OSError: The same, of a file.
    """
    model = load_model(settings, on_loading, template_builder=template_builder)
    _add_uploaded(uploaded, model)
    for known in model.library.objects:
        for warning in known.warnings:
            logger.warning("%s", warning.text)
    runner = InferenceRunner(model, ObjectCache(options.cache_bytes), on_progress)
    if options.preload is not None:
        with torch.inference_mode():
            runner.preload(options.preload)
    return runner


def run_batch(runner: InferenceRunner, requests: Sequence[InferenceInput]) -> BatchResults:
    """Run a batch; an unexpected error is logged whole, and each request gets it in one line.

    Args:
        runner: What runs it.
        requests: The requests.

    Returns:
        One result for each request.
    """
    try:
        results: Sequence[Any] = runner.run_batch(requests)
    except Exception as error:
        logger.exception("a batch of %d failed", len(requests))
        results = [RuntimeError(f"{type(error).__name__}: {error}")] * len(requests)
    return BatchResults(tuple(results), counters_of(runner))


def object_infos(model: InstanceSegmentationModel) -> tuple[ObjectInfo, ...]:
    """Describe all objects that a model knows.

    Args:
        model: The model.
    """
    return tuple(
        ObjectInfo(known.id, known.category_id, known.template_count, known.size_m, known.warnings)
        for known in model.library.objects
    )


def onboarding_error(spec: ObjectSpec, error: Exception) -> str:
    """Say in one line why an object could not be onboarded; an unexpected error is logged as well.

    Args:
        spec: The object.
        error: What onboarding it has raised.

    Returns:
        The line.
    """
    if isinstance(error, (ValueError, OSError, OnboardingCancelledError)):
        return str(error)
    logger.error("object '%s' could not be onboarded", spec.id, exc_info=error)
    return f"{type(error).__name__}: {error}"


def counters_of(runner: InferenceRunner) -> dict[str, int]:
    """Return the numbers of cache and device.

    Args:
        runner: Owner of the cache.

    Returns:
        Objects, their templates, hits and misses of the cache, and bytes that are allocated on the GPU.
    """
    cache = runner.cache
    return {
        "objects": len(cache),
        "templates": cache.templates,
        "hits": cache.hits,
        "misses": cache.misses,
        "device_bytes": torch.cuda.memory_allocated() if torch.cuda.is_available() else 0,
    }


def _add_uploaded(specs: Iterable[ObjectSpec], model: InstanceSegmentationModel) -> None:
    for spec in specs:
        try:
            if spec.id in model.library.ids:
                raise ValueError("the objects file has one of the same id")
            model.put(model.onboard(spec))
        except (ValueError, OSError) as error:
            logger.error("uploaded object '%s' cannot be used: %s; delete it or upload it again", spec.id, error)
