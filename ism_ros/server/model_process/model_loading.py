"""A model in the process that owns it, whoever that belongs to: loaded, asked, and what it has to tell."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch

from ism_ros.config.settings import Settings
from ism_ros.model import InstanceSegmentationModel, load_model
from ism_ros.objects.spec import ObjectSpec
from ism_ros.objects.template_builder import Prepare
from ism_ros.server.model_process.background_onboarding import Tell
from ism_ros.server.model_process.inference_runner import Ask, Inference
from ism_ros.server.model_process.messages import Answers, ObjectState, WorkerOptions
from ism_ros.server.model_process.object_cache import ObjectCache
from ism_ros.server.objects.object_store import load_stored

logger = logging.getLogger(__name__)


class CancelledError(Exception):
    """The object that is being onboarded is not wanted any more."""


def load(
    settings: Settings,
    options: WorkerOptions,
    stored: Iterable[ObjectSpec],
    tell: Callable[[str], None],
    prepare: Prepare,
    tell_onboarding: Tell = lambda progress: None,
) -> Inference:
    """The models with the objects of the objects file and those that are `stored`. tell: what is being loaded.
    tell_onboarding: of objects that requests name.

    Raises ValueError or OSError with one line that says why.
    """
    model = load_model(settings, tell, prepare=prepare)
    load_stored(stored, model)
    for known in model.library.objects:
        for warning in known.warnings:
            logger.warning("%s", warning.text)
    inference = Inference(model, ObjectCache(options.cache_bytes), tell_onboarding)
    if options.preload is not None:
        with torch.inference_mode():
            inference.preload(options.preload)
    return inference


def answers(inference: Inference, asks: Sequence[Ask]) -> Answers:
    """One answer an ask; what nobody foresaw is told in the log, and to each of them in one line."""
    try:
        found: Sequence[Any] = inference.answer_all(asks)
    except Exception as error:
        logger.exception("a batch of %d failed", len(asks))
        found = [RuntimeError(f"{type(error).__name__}: {error}")] * len(asks)
    return Answers(tuple(found), counters_of(inference))


def object_states(model: InstanceSegmentationModel) -> tuple[ObjectState, ...]:
    """Of all objects that the model knows."""
    return tuple(
        ObjectState(known.id, known.category_id, known.template_count, known.size_m, known.warnings)
        for known in model.library.objects
    )


def why_not(spec: ObjectSpec, error: Exception) -> str:
    """One line that says why an object could not be onboarded; what nobody foresaw goes into the log as well."""
    if isinstance(error, (ValueError, OSError, CancelledError)):
        return str(error)
    logger.error("object '%s' could not be onboarded", spec.id, exc_info=error)
    return f"{type(error).__name__}: {error}"


def counters_of(inference: Inference) -> dict[str, int]:
    cache = inference.cache
    device_bytes = torch.cuda.memory_allocated() if torch.cuda.is_available() else 0
    return {
        "objects": len(cache),
        "templates": cache.templates,
        "hits": cache.hits,
        "misses": cache.misses,
        "device_bytes": device_bytes,
    }
