"""`/api/v1/objects`, `/api/v1/jobs` and `/api/v1/render`: objects come and go while requests are answered."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, File, Form, Request, Response, UploadFile
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from ism_ros.cad.colors import Rgb, parse_colour
from ism_ros.cad.units import DEFAULT_UNITS_TEXT, UNITS_PATTERN, UNITS_TEXT, resolve_units
from ism_ros.objects.spec import ObjectSpec
from ism_ros.objects.template_process import TemplateProcess
from ism_ros.server.answers import ERRORS, KEY_ERRORS, OBJECT_ERRORS
from ism_ros.server.archives import zip_folder
from ism_ros.server.engine import Engine
from ism_ros.server.errors import RequestError
from ism_ros.server.object_jobs import FINISHED, Job, ObjectJobs
from ism_ros.server.object_uploads import cad_suffix, checked_id, write_cad, writer
from ism_ros.server.schemas import AnswerWarning, CadColor, Done, ObjectEntry, Objects
from ism_ros.server.settings import ServerSettings

EVENT_PERIOD_S = 0.2
MAX_RENDERINGS = 4
"""So many may wait for each other; they need no model, only processors."""

Cad = Annotated[UploadFile | None, File(description="PLY, OBJ, STL, OFF, GLB or glTF")]
Units = Annotated[
    str | None, Form(pattern=UNITS_PATTERN, description=f"Of the CAD file: {UNITS_TEXT}; else {DEFAULT_UNITS_TEXT}.")
]
Color = Annotated[
    CadColor | None,
    Form(description="The one colour of the CAD model, instead of its own: '#5a78aa', '90,120,170' or a name."),
]


def add_object_routes(app: FastAPI, engine: Callable[[], Engine], jobs: ObjectJobs, server: ServerSettings) -> None:
    """engine: gives the one that runs."""
    renderings = Renderings(TemplateProcess(limits=server.preparation_limits()))

    @app.get("/api/v1/objects", tags=["objects"], responses=KEY_ERRORS)
    async def objects() -> Objects:
        """All that requests can ask for by object_ids."""
        return _objects(engine(), jobs)

    @app.post("/api/v1/objects", tags=["objects"], status_code=202, responses=OBJECT_ERRORS)
    async def add(
        response: Response,
        id: Annotated[str, Form(description="Its class_id in answers.", examples=["mug"])],
        cad: Cad = None,
        templates: Annotated[UploadFile | None, File(description="Zip of a SAM-6D template folder")] = None,
        units: Units = None,
        category_id: Annotated[int | None, Form(ge=1, le=1 << 30, description="For COCO output.")] = None,
        color: Color = None,
    ) -> Job:
        """Onboards an object in the background, or another one in the place of that with its id; it is kept."""
        engine().check_ready()
        write = writer(cad, templates, server)
        used = resolve_units(None if cad is None else Path(cad.filename or ""), units)
        job = await run_in_threadpool(jobs.add, checked_id(id), category_id, used, write, color)
        response.headers["Location"] = f"/api/v1/jobs/{job.id}"
        return job

    @app.delete("/api/v1/objects/{object_id}", tags=["objects"], responses=OBJECT_ERRORS)
    async def remove(object_id: str) -> Done:
        """Forgets an uploaded object and its files; one that is being onboarded is given up."""
        engine().check_ready()
        return Done(message=await run_in_threadpool(jobs.remove, object_id))

    @app.get("/api/v1/jobs", tags=["objects"], responses=KEY_ERRORS)
    async def all_jobs() -> list[Job]:
        """The latest first."""
        return await run_in_threadpool(jobs.jobs)

    @app.get(
        "/api/v1/jobs/{job_id}",
        tags=["objects"],
        response_model=Job,
        responses={**KEY_ERRORS, 404: ERRORS[404], 422: ERRORS[422]},
    )
    async def job(request: Request, job_id: str) -> Any:
        """Progress of one job; as server-sent events with `Accept: text/event-stream`, until it has ended."""
        found = jobs.job(job_id)
        if "text/event-stream" not in request.headers.get("accept", ""):
            return found
        return StreamingResponse(
            _events(jobs, job_id), media_type="text/event-stream", headers={"Cache-Control": "no-cache"}
        )

    @app.post(
        "/api/v1/render",
        tags=["objects"],
        response_class=Response,
        responses={**OBJECT_ERRORS, 200: {"content": {"application/zip": {}}, "description": "The template folder."}},
    )
    async def render(
        cad: Annotated[UploadFile, File(description="A CAD file")], units: Units = None, color: Color = None
    ) -> Response:
        """CAD file in, zip of a template folder out, which `templates` of /api/v1/objects takes."""
        used = resolve_units(Path(cad.filename or ""), units)
        data = await run_in_threadpool(renderings.render, cad, used, None if color is None else parse_colour(color))
        headers = {"Content-Disposition": 'attachment; filename="templates.zip"'}
        return Response(data, media_type="application/zip", headers=headers)


class Renderings:
    """Template folders for clients, one after the other."""

    def __init__(self, prepare: TemplateProcess) -> None:
        self._prepare = prepare
        self._places = threading.BoundedSemaphore(MAX_RENDERINGS)
        self._turn = threading.Lock()

    def render(self, cad: UploadFile, units: str, color: Rgb | None = None) -> bytes:
        """A zip. Raises RequestError."""
        suffix = cad_suffix(cad)
        if not self._places.acquire(blocking=False):
            raise RequestError(429, f"{MAX_RENDERINGS} CAD files are being rendered already: try again later", 5)
        try:
            with tempfile.TemporaryDirectory(prefix="ism_render_") as folder:
                file, templates = Path(folder) / f"model{suffix}", Path(folder) / "templates"
                write_cad(cad, file)
                with self._turn:
                    try:
                        self._prepare(ObjectSpec("model", file, units, color=color, root=Path(folder)), templates)
                    except (ValueError, RuntimeError) as error:
                        raise RequestError(400, str(error).replace(f"{folder}/", "")) from None
                if not templates.is_dir():
                    raise RequestError(507, "the templates could not be written: the server's disk is full")
                return zip_folder(templates)
        finally:
            self._places.release()


def _objects(engine: Engine, jobs: ObjectJobs) -> Objects:
    uploaded = jobs.objects
    entries = [
        ObjectEntry(
            id=known.id,
            category_id=known.category_id,
            templates=known.template_count,
            uploaded=known.id in uploaded,
            size_m=None if known.size_m is None else list(known.size_m),
            warnings=[AnswerWarning(reason=warning.reason, text=warning.text) for warning in known.warnings],
        )
        for known in engine.objects
    ]
    return Objects(objects=entries, version=engine.version)


async def _events(jobs: ObjectJobs, job_id: str) -> AsyncIterator[str]:
    before = ""
    while True:
        job = jobs.job(job_id).model_copy()  # it goes on while it is told of
        text = job.model_dump_json()
        if text != before:
            yield f"event: {job.state}\ndata: {text}\n\n"
            before = text
        if job.state in FINISHED:
            return
        await asyncio.sleep(EVENT_PERIOD_S)
