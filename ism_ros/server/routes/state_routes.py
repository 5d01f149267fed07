"""GET /health, /ready, /api/v1/status and /metrics."""

from __future__ import annotations

import time

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse

from ism_ros import __version__
from ism_ros.segmentors.base import SEGMENTORS
from ism_ros.server.context import Context
from ism_ros.server.error_responses import ERROR_RESPONSES, KEY_ERROR_RESPONSES
from ism_ros.server.schemas import Health, OnboardingEntry, Status

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Media type of Prometheus' text format."""

router = APIRouter(tags=["state"])
"""The routes."""


@router.get("/health", responses={503: ERROR_RESPONSES[503]})
async def health(context: Context) -> Health:
    """Answered at once, whatever the models do; 503 only where they could not be loaded and the server ends."""
    if context.queue.has_given_up:
        context.queue.check_ready()
    return Health(version=__version__)


@router.get("/ready", responses={503: ERROR_RESPONSES[503]})
async def ready(context: Context) -> Health:
    """200 only when the models are loaded."""
    context.queue.check_ready()
    return Health(status="ready", version=__version__)


@router.get("/api/v1/status", responses=KEY_ERROR_RESPONSES)
async def status(context: Context) -> Status:
    """Models, objects, and how busy the server is."""
    queue, settings = context.queue, context.settings
    objects = queue.objects
    return Status(
        state=queue.state,
        message=queue.message,
        segmentor=settings.segmentor,
        descriptor=settings.descriptor,
        segmentors=list(SEGMENTORS),
        score_threshold=settings.score_threshold,
        device=",".join(queue.devices),
        objects=[one.id for one in objects],
        templates_loaded=sum(one.template_count for one in objects) + queue.counters["templates"],
        uptime_s=time.monotonic() - context.started_s,
        queue_depth=queue.depth,
        onboarding=[
            OnboardingEntry(id=name, done=done, total=total) for name, (done, total) in queue.onboarding.items()
        ],
        queue_size=context.server.max_waiting,
    )


@router.get("/metrics", response_class=PlainTextResponse, responses=KEY_ERROR_RESPONSES)
async def metrics(context: Context) -> Response:
    """Counters and histograms for Prometheus."""
    counters, results = context.queue.counters, context.inference.results
    cache = {
        **{what: counters[what] for what in ("objects", "hits", "misses")},
        "result_hits": results.hits,
        "result_misses": results.misses,
    }
    text = context.metrics.render(context.queue.depth, counters["device_bytes"], cache)
    return Response(text, media_type=METRICS_TYPE)
