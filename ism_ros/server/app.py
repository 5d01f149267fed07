"""The ISM Server: routes, and nothing that is not about HTTP."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import time
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, File, Form, Request, Response, UploadFile, WebSocket
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from ism_ros import __version__
from ism_ros.config.settings import Settings
from ism_ros.segmentors import SEGMENTORS
from ism_ros.selftest.self_test import SCENE
from ism_ros.server.context import CLIENT_GONE, Porch
from ism_ros.server.error_responses import ERRORS, KEY_ERRORS, add_error_answers, failed, failure
from ism_ros.server.errors import RequestError
from ism_ros.server.middleware.body_limit import BodyLimit
from ism_ros.server.middleware.head_requests import HeadAsGet
from ism_ros.server.model_process.object_cache import sample_specs
from ism_ros.server.requests.inference_parsing import ask_of_images, ask_of_json, asked_of_fields, asked_of_form
from ism_ros.server.requests.json_bodies import JsonRoute
from ism_ros.server.routes.docs_routes import OPENAPI_URL, add_docs_routes, describe_key
from ism_ros.server.routes.object_routes import add_object_routes
from ism_ros.server.routes.page_routes import add_page_routes
from ism_ros.server.routes.stream_routes import serve_stream
from ism_ros.server.schemas import REQUEST_EXAMPLE, Health, InferenceAnswer, InferenceRequest, OnboardingEntry, Status
from ism_ros.server.settings import ServerSettings, engine_settings, server_settings

MAX_BATCH = 64
_CAMERA = json.dumps(REQUEST_EXAMPLE["cam_params"])
_OPTIONS = json.dumps({"object_ids": REQUEST_EXAMPLE["object_ids"]})

logger = logging.getLogger(__name__)


def create_app(settings: Settings | None = None, server: ServerSettings | None = None) -> FastAPI:
    """The app; what is left out is read from the environment. Raises SettingsError."""
    settings = engine_settings() if settings is None else settings
    server = server_settings() if server is None else server
    porch = Porch(settings, server)
    app = FastAPI(
        title="ISM Server",
        version=__version__,
        description="Instances of novel objects in RGB-D frames, from their CAD models alone.",
        lifespan=porch.lifespan,
        openapi_url=OPENAPI_URL,
        docs_url=None,
        redoc_url=None,
    )
    app.router.route_class = JsonRoute
    too_large = f"the request has more than {server.max_upload} bytes: send smaller images"
    too_slow = f"the request was not there after {server.upload_timeout_s:g} s: send smaller images, or faster"
    app.add_middleware(
        BodyLimit,
        max_bytes=server.max_upload,
        timeout_s=server.upload_timeout_s,
        too_large=lambda: failure(413, too_large),
        too_slow=lambda: failure(408, too_slow),
    )
    app.middleware("http")(porch.watch)
    app.add_middleware(HeadAsGet)
    app.state.porch = porch
    add_error_answers(app)
    add_page_routes(app)
    add_docs_routes(app)
    if server.api_key:
        describe_key(app)
    _add_routes(app, porch)
    add_object_routes(app, lambda: porch.engine, porch.jobs, server)
    return app


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _never() -> None:
    await asyncio.Event().wait()


def _add_routes(app: FastAPI, porch: Porch) -> None:
    @app.get("/health", tags=["state"], responses={503: ERRORS[503]})
    async def health() -> Health:
        """Answered at once, whatever the models do; 503 only where they could not be loaded and the server ends."""
        if porch.engine.has_given_up:
            porch.engine.check_ready()
        return Health(version=__version__)

    @app.get("/ready", tags=["state"], responses={503: ERRORS[503]})
    async def ready() -> Health:
        """200 only when the models are loaded."""
        porch.engine.check_ready()
        return Health(status="ready", version=__version__)

    @app.get("/api/v1/status", tags=["state"], responses=KEY_ERRORS)
    async def status() -> Status:
        """Models, objects, and how busy the server is."""
        engine = porch.engine
        known = engine.objects
        return Status(
            state=engine.state,
            message=engine.message,
            segmentor=porch.settings.segmentor,
            descriptor=porch.settings.descriptor,
            segmentors=list(SEGMENTORS),
            score_threshold=porch.settings.score_threshold,
            device=",".join(engine.devices),
            objects=[one.id for one in known],
            templates_loaded=sum(one.template_count for one in known) + engine.counters["templates"],
            uptime_s=time.monotonic() - porch.began_s,
            queue_depth=engine.depth,
            onboarding=[
                OnboardingEntry(id=name, done=done, total=total) for name, (done, total) in engine.onboarding.items()
            ],
            queue_size=porch.server.max_waiting,
        )

    @app.get("/metrics", tags=["state"], response_class=PlainTextResponse, responses=KEY_ERRORS)
    async def metrics() -> Response:
        """Counters and histograms for Prometheus."""
        counters, results = porch.engine.counters, porch.results
        cache = {
            **{what: counters[what] for what in ("objects", "hits", "misses")},
            "result_hits": results.hits,
            "result_misses": results.misses,
        }
        device = counters["device_bytes"]
        return Response(
            porch.metrics.text(porch.engine.depth, device, cache), media_type="text/plain; version=0.0.4; charset=utf-8"
        )

    @app.post("/api/v1/inference", tags=["inference"], response_model=InferenceAnswer, responses=ERRORS)
    async def inference(request: Request, asked: InferenceRequest) -> Response:
        """Instances of the objects in one frame."""
        porch.engine.check_ready()
        ask = await run_in_threadpool(ask_of_json, porch, asked)
        return JSONResponse(await porch.infer(ask, _disconnected(request)))

    @app.post("/api/v1/inference/batch", tags=["inference"], responses={**ERRORS, 207: {"description": "Some failed."}})
    async def batch(
        request: Request, asked: Annotated[list[InferenceRequest], Field(min_length=1, max_length=MAX_BATCH)]
    ) -> list[InferenceAnswer]:
        """Several frames, answered in their order; 207 where some could not be, each of which says why."""
        porch.check_batch(request, len(asked))
        porch.engine.check_ready()
        places = asyncio.Semaphore(porch.places_of_batch())
        gone = asyncio.ensure_future(_disconnected(request))

        async def answer(one: InferenceRequest) -> dict[str, Any]:
            async with places:  # others are served in between
                try:
                    return await porch.infer(await run_in_threadpool(ask_of_json, porch, one), asyncio.shield(gone))
                except RequestError as error:
                    if error.status == CLIENT_GONE:
                        raise
                    return failed(error.message)

        answering = [asyncio.ensure_future(answer(one)) for one in asked]
        try:
            answers = await asyncio.gather(*answering)
        finally:
            for one in (gone, *answering):
                one.cancel()
        succeeded = all(answer["success"] for answer in answers)
        return JSONResponse(answers, 200 if succeeded else 207)  # type: ignore[return-value]

    @app.websocket("/api/v1/stream")
    async def stream(socket: WebSocket) -> None:
        """Frames in, detections out: see server/stream.py for the messages."""
        try:
            porch.check_client(socket)
        except RequestError as error:
            await socket.close(code=1008, reason=error.message)
            return
        await socket.accept()

        async def answer(fields: dict[str, Any], rgb: bytes, depth: bytes | None) -> dict[str, Any]:
            porch.check_rate(socket)
            asked = asked_of_fields(fields, "the frame's header")
            ask = await run_in_threadpool(ask_of_images, porch, asked, rgb, depth)
            return await porch.infer(ask, _never())

        await serve_stream(socket, answer, failed)

    @app.post("/api/v1/inference/upload", tags=["inference"], response_model=InferenceAnswer, responses=ERRORS)
    async def upload(
        request: Request,
        rgb: Annotated[UploadFile, File(description="PNG or JPEG")],
        cam_params: Annotated[str, Form(description="As in the JSON request.", examples=[_CAMERA])],
        depth: Annotated[UploadFile | None, File(description="16-bit PNG, registered to rgb")] = None,
        options: Annotated[str, Form(description="Further fields of the JSON request.", examples=[_OPTIONS])] = "{}",
    ) -> Response:
        """The same with files instead of base64."""
        porch.engine.check_ready()
        asked = asked_of_form(cam_params, options)
        images = await rgb.read(), None if depth is None else await depth.read()
        ask = await run_in_threadpool(ask_of_images, porch, asked, *images)
        return JSONResponse(await porch.infer(ask, _disconnected(request)))

    @app.get("/test/sample", tags=["inference"], responses=KEY_ERRORS)
    async def sample() -> InferenceRequest:
        """A request that can be sent as it is: a rendered scene and two objects that come with the package."""
        camera = json.loads((SCENE / "camera.json").read_text(encoding="utf-8"))
        return InferenceRequest.model_validate(
            {
                "rgb_image": _base64(SCENE / "rgb.jpg"),
                "depth_image": _base64(SCENE / "depth.png"),
                "cam_params": camera,
                "object_ids": list(sample_specs()),
                "visualization": True,
            }
        )


def _base64(file: Path) -> str:
    return base64.b64encode(file.read_bytes()).decode("ascii")
