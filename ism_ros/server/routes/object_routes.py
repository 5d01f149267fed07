"""`/api/v1/objects`, `/api/v1/jobs` and `/api/v1/render`: objects come and go while requests are served."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Request, Response, UploadFile
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from ism_ros.cad.colors import parse_color
from ism_ros.cad.units import UNITS_PATTERN, UNITS_TEXT, resolve_units
from ism_ros.server.context import Context
from ism_ros.server.error_responses import ERROR_RESPONSES, KEY_ERROR_RESPONSES, OBJECT_ERROR_RESPONSES
from ism_ros.server.objects.job_records import Job
from ism_ros.server.objects.object_jobs import ObjectJobs
from ism_ros.server.requests.json_bodies import JsonRoute
from ism_ros.server.requests.object_uploads import checked_id, upload_writer
from ism_ros.server.schemas import CadColor, Done, ObjectEntry, Objects, ResponseWarning

EVENT_PERIOD_S = 0.2
"""Seconds between two looks at a job whose progress is sent as events."""

Cad = Annotated[UploadFile | None, File(description="PLY, OBJ, STL, OFF, GLB or glTF")]
"""Form field of a CAD file."""
Units = Annotated[
    str | None, Form(pattern=UNITS_PATTERN, description=f"Of the CAD file: {UNITS_TEXT}; else glTF m, others mm.")
]
"""Form field of its units."""
Color = Annotated[
    CadColor | None,
    Form(description="The one color of the CAD model, instead of its own: '#5a78aa', '90,120,170' or a name."),
]
"""Form field of its color."""

router = APIRouter(tags=["objects"], route_class=JsonRoute)
"""The routes."""


@router.get("/api/v1/objects", responses=KEY_ERROR_RESPONSES)
async def objects(context: Context) -> Objects:
    """All that requests can ask for by object_ids."""
    uploaded = context.jobs.objects
    entries = [
        ObjectEntry(
            id=known.id,
            category_id=known.category_id,
            templates=known.template_count,
            uploaded=known.id in uploaded,
            size_m=None if known.size_m is None else list(known.size_m),
            warnings=[ResponseWarning(reason=warning.reason, text=warning.text) for warning in known.warnings],
        )
        for known in context.queue.objects
    ]
    return Objects(objects=entries, version=context.queue.version)


@router.post("/api/v1/objects", status_code=202, responses=OBJECT_ERROR_RESPONSES)
async def add(
    context: Context,
    response: Response,
    id: Annotated[str, Form(description="Its class_id in answers.", examples=["mug"])],
    cad: Cad = None,
    templates: Annotated[UploadFile | None, File(description="Zip of a SAM-6D template folder")] = None,
    units: Units = None,
    category_id: Annotated[int | None, Form(ge=1, le=1 << 30, description="For COCO output.")] = None,
    color: Color = None,
) -> Job:
    """Onboards an object in the background, or another one in the place of that with its id; it is kept."""
    context.queue.check_ready()
    write = upload_writer(cad, templates, context.server)
    used_units = resolve_units(None if cad is None else Path(cad.filename or ""), units)
    job = await run_in_threadpool(context.jobs.add, checked_id(id), category_id, used_units, write, color)
    response.headers["Location"] = f"/api/v1/jobs/{job.id}"
    return job


@router.delete("/api/v1/objects/{object_id}", responses=OBJECT_ERROR_RESPONSES)
async def remove(context: Context, object_id: str) -> Done:
    """Forgets an uploaded object and its files; one that is being onboarded is given up."""
    context.queue.check_ready()
    return Done(message=await run_in_threadpool(context.jobs.remove, object_id))


@router.get("/api/v1/jobs", responses=KEY_ERROR_RESPONSES)
async def all_jobs(context: Context) -> list[Job]:
    """The latest first."""
    return await run_in_threadpool(context.jobs.jobs)


@router.get(
    "/api/v1/jobs/{job_id}",
    response_model=Job,
    responses={**KEY_ERROR_RESPONSES, 404: ERROR_RESPONSES[404], 422: ERROR_RESPONSES[422]},
)
async def job(context: Context, request: Request, job_id: str) -> Any:
    """Progress of one job; as server-sent events with `Accept: text/event-stream`, until it has ended."""
    found = context.jobs.job(job_id)
    if "text/event-stream" not in request.headers.get("accept", ""):
        return found
    return StreamingResponse(
        _events(context.jobs, job_id), media_type="text/event-stream", headers={"Cache-Control": "no-cache"}
    )


@router.post(
    "/api/v1/render",
    response_class=Response,
    responses={
        **OBJECT_ERROR_RESPONSES,
        200: {"content": {"application/zip": {}}, "description": "The template folder."},
    },
)
async def render(
    context: Context,
    cad: Annotated[UploadFile, File(description="A CAD file")],
    units: Units = None,
    color: Color = None,
) -> Response:
    """CAD file in, zip of a template folder out, which `templates` of /api/v1/objects takes."""
    used_units = resolve_units(Path(cad.filename or ""), units)
    rgb = None if color is None else parse_color(color)
    data = await run_in_threadpool(context.renderer.render, cad, used_units, rgb)
    headers = {"Content-Disposition": 'attachment; filename="templates.zip"'}
    return Response(data, media_type="application/zip", headers=headers)


async def _events(jobs: ObjectJobs, job_id: str) -> AsyncIterator[str]:
    before = ""
    while True:
        current = jobs.job(job_id).model_copy()  # it goes on while it is sent
        text = current.model_dump_json()
        if text != before:
            yield f"event: {current.state}\ndata: {text}\n\n"
            before = text
        if current.is_finished:
            return
        await asyncio.sleep(EVENT_PERIOD_S)
