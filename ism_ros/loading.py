"""A model with everything that its settings name: networks, and the objects of the objects file."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from ism_ros.config.settings import Settings
from ism_ros.config.sources import load_settings
from ism_ros.data import crops
from ism_ros.descriptors.base import DESCRIPTORS
from ism_ros.matching.base import MATCHERS
from ism_ros.model import InstanceSegmentationModel
from ism_ros.objects.library import ObjectLibrary
from ism_ros.objects.spec import ObjectSpec, read_objects_file
from ism_ros.objects.template_builder import TemplateBuilder, build_templates
from ism_ros.runtime.cache_folder import remove_stale
from ism_ros.runtime.model_request import ModelRequest
from ism_ros.runtime.out_of_memory import OutOfMemoryCounter
from ism_ros.runtime.threads import set_num_threads
from ism_ros.segmentors import upsampling
from ism_ros.segmentors.base import load_segmentor
from ism_ros.shape_search import region_loops

logger = logging.getLogger(__name__)


def load_model(
    settings: Settings | None = None,
    progress: Callable[[str], None] | None = None,
    specs: Sequence[ObjectSpec] | None = None,
    template_builder: TemplateBuilder = build_templates,
    template_progress: Callable[[str, int, int], None] | None = None,
) -> InstanceSegmentationModel:
    """Load the model that settings describe, and onboard its objects.

    Sets how many threads PyTorch uses to `settings.cpu_threads`; frames have as many, whichever thread asks.

    Args:
        settings: None = the defaults and ISM_* of the environment.
        progress: Called with what is being done, in words.
        specs: The objects; None = those of `settings.objects_file`.
        template_builder: Renders templates, in this process or another.
        template_progress: Called with the step, the rendered templates and all templates, instead of `progress`.

    Returns:
        The model, ready for frames.

    Raises:
        ValueError: One line that a user can act on: SettingsError, ObjectsFileError, CadError, TemplateError, or a
            checkpoint or package that is missing.
    """
    settings = settings or load_settings()
    report = progress or _ignore
    device = settings.resolved_device()
    set_num_threads(settings.resolved_cpu_threads())
    if specs is None:
        specs = read_objects_file(Path(settings.objects_file)) if settings.objects_file else ()
    remove_stale(settings.resolved_cache_dir())
    report(f"loading segmentor '{settings.segmentor}' and descriptor '{settings.descriptor}' on {device}")
    recoveries = OutOfMemoryCounter()
    request = partial(
        ModelRequest,
        device=device,
        checkpoints_dir=settings.resolved_checkpoints_dir(),
        settings=settings.model_dump(),
        recoveries=recoveries,
        cache_dir=settings.resolved_cache_dir(),
    )
    segmentor = load_segmentor(settings.segmentor, request(model=settings.segmentor_model))
    descriptor = DESCRIPTORS.get(settings.descriptor).load(request(model=settings.descriptor_model))
    model = InstanceSegmentationModel(
        segmentor, descriptor, ObjectLibrary(), settings, device, recoveries, template_builder
    )
    for number, spec in enumerate(specs, start=1):
        label = f"object {number} of {len(specs)}: {spec.id}"
        report(label)
        known = model.onboard(spec, partial(template_progress or partial(_report_templates, report), label))
        model.library = model.library.with_object(known)
    model.library.build_index()
    if device == "cpu":
        report("compiling for this processor, which takes some seconds at the first start")
        matcher = MATCHERS.get(settings.resolved_scoring())
        searched = region_loops.compile_loops if settings.search_by_shape else None
        for prepare in (crops.compile_loops, upsampling.compile_loops, matcher.prepare_cpu, searched):
            if prepare is not None:
                prepare()
    places = ", ".join(f"{size / 1e6:.0f} MB on {place}" for place, size in model.library.patch_bytes().items())
    logger.info("patch tokens of %d objects: %s", len(model.library), places or "none")
    return model


def _report_templates(report: Callable[[str], None], label: str, done: int, total: int) -> None:
    report(f"{label}, template {done} of {total}")


def _ignore(text: str) -> None:
    """Report nothing."""
