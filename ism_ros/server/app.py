"""The ISM Server: routes, and nothing that is not about HTTP."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hmac
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Annotated, Any

import torch
from fastapi import FastAPI, File, Form, Request, Response, UploadFile, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from ism_ros import __version__
from ism_ros.config import Settings
from ism_ros.frame import Camera, Frame
from ism_ros.ism import InstanceSegmentationModel
from ism_ros.known_answer import SCENE
from ism_ros.server.body_limit import BodyLimit
from ism_ros.server.engine import Engine
from ism_ros.server.errors import RequestError
from ism_ros.server.inference import Answered, Ask, Inference, to_json
from ism_ros.server.logs import begin_request, fields
from ism_ros.server.metrics import Metrics
from ism_ros.server.named_objects import NamedObject, ObjectCache, sample_specs
from ism_ros.server.roots import Roots
from ism_ros.server.schemas import Health, InferenceAnswer, InferenceRequest, Status
from ism_ros.server.settings import ServerSettings, engine_settings, server_settings
from ism_ros.server.stream import serve_stream
from ism_ros.server.uploads import bytes_of_base64, decode_depth_m, decode_rgb

STOP_TIMEOUT_S = 30.0
MAX_BATCH = 64
OPEN_PATHS = ("/health", "/ready")
"""Answered without a key: probes have none."""

ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": InferenceAnswer, "description": text}
    for status, text in {
        400: "The request cannot be used; error_message says why.",
        401: "The key is missing or wrong.",
        403: "A path outside of the server's folders.",
        404: "A file, folder or object is not there.",
        413: "The body or an image is too large.",
        422: "A field is missing or of the wrong kind.",
        429: "Too many requests wait; see Retry-After.",
        503: "Models are being loaded; see Retry-After.",
        504: "The request took too long.",
    }.items()
}

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
        responses={},
    )
    too_large = f"the request has more than {server.max_upload} bytes: send smaller images"
    app.add_middleware(BodyLimit, max_bytes=server.max_upload, refusal=lambda: failure(413, too_large))
    app.middleware("http")(porch.watch)
    app.add_exception_handler(RequestError, _refused)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _no_route)
    app.add_exception_handler(Exception, _unforeseen)
    _add_routes(app, porch)
    return app


class Porch:
    """What the routes share: the engine, the folders that may be read, the counters."""

    def __init__(self, settings: Settings, server: ServerSettings) -> None:
        self.settings = settings
        self.server = server
        self.roots = Roots(server.data_root)
        self.metrics = Metrics()
        self.cache = ObjectCache(server.max_cache_size)
        self.inference = Inference(self.cache)
        self.began_s = time.monotonic()
        self._engine: Engine | None = None

    @property
    def engine(self) -> Engine:
        assert self._engine is not None, "the app is started by its lifespan"
        return self._engine

    @contextlib.asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        """Loads at start, in the background; at the end what was accepted is answered first."""
        self._engine = Engine(self.settings, self.server.max_waiting, self._preload)
        try:
            yield
        finally:
            await run_in_threadpool(self.engine.stop, STOP_TIMEOUT_S)

    def default_object(self) -> NamedObject | None:
        """What requests that name nothing look for, from ISM_TEMPLATE_DIR and ISM_CAD_MODEL_PATH."""
        folder, cad = self.server.template_dir, self.server.cad_model_path
        if not folder and not cad:
            return None
        return NamedObject(self.roots.first / folder if folder else None, self.roots.first / cad if cad else None)

    def _preload(self, model: InstanceSegmentationModel) -> None:
        named = self.default_object()
        if self.server.preload_templates and named is not None:
            with torch.inference_mode():
                self.inference.preload(model, named)

    def named_object(self, template_dir: str | None, cad_path: str | None, units: str | None) -> NamedObject | None:
        """The paths of a request, or the server's own where it has none. Raises RequestError."""
        if not template_dir and not cad_path:
            return self.default_object()
        return NamedObject(
            self.roots.existing(template_dir, "template_dir") if template_dir else None,
            self.roots.existing(cad_path, "cad_path") if cad_path else None,
            units,
        )

    def allows(self, connection: HTTPConnection) -> bool:
        """Whether a request carries the key, where one is asked for."""
        key = self.server.api_key.encode()
        return not key or hmac.compare_digest(_key_of(connection), key)

    async def watch(self, request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        """Asks for the key, counts and logs the answer, and gives it the request's id."""
        began_s = time.perf_counter()
        request_id = begin_request(request.headers.get("x-request-id"))
        if request.url.path not in OPEN_PATHS and not self.allows(request):
            response: Response = failure(401, "the API key is missing or wrong: send it as X-API-Key")
        else:
            response = await go_on(request)
        route = request.scope.get("route")
        path = getattr(route, "path", "none")
        seconds = time.perf_counter() - began_s
        self.metrics.answered(path, response.status_code, seconds)
        response.headers["X-Request-ID"] = request_id
        logger.log(
            logging.DEBUG if request.url.path in OPEN_PATHS else logging.INFO,
            "%s %s %d in %.0f ms",
            request.method,
            path,
            response.status_code,
            1000 * seconds,
            extra=fields(method=request.method, path=path, status=response.status_code, seconds=round(seconds, 4)),
        )
        return response

    async def infer(self, ask: Ask, gone: Awaitable[None]) -> dict[str, Any]:
        """Queues, waits, and answers. A client that is `gone` takes its request out of the queue."""
        future = self.engine.submit(lambda model: self.inference.answer(model, ask))
        try:
            answered = await _unless_gone(gone, future, self.server.timeout_s)
        except (ValueError, OSError) as error:
            raise RequestError(400, str(error)) from None
        self.metrics.inferred(answered.detections.stage_s, len(answered.detections))
        named = ask.named
        return await run_in_threadpool(
            to_json,
            answered,
            str(named.template_dir) if named is not None and named.template_dir is not None else None,
            str(named.cad_path) if named is not None and named.cad_path is not None else None,
        )


async def _unless_gone(is_gone: Awaitable[None], future: Future[Answered], timeout_s: float) -> Answered:
    """The future's result. Raises RequestError 504 after `timeout_s`, and 499 where the client hung up."""
    result = asyncio.wrap_future(future)
    gone = asyncio.ensure_future(is_gone)
    either: set[asyncio.Future[Any]] = {result, gone}
    try:
        await asyncio.wait(either, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if result.done():
            return result.result()
        if gone.done():
            raise RequestError(499, "the client went away")
        raise RequestError(504, f"no answer within {timeout_s:g} s: the queue is long or the model slow", 1)
    finally:
        result.cancel()
        gone.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _never() -> None:
    await asyncio.Event().wait()


def _key_of(request: HTTPConnection) -> bytes:
    bearer = request.headers.get("authorization", "")
    given = request.headers.get("x-api-key") or bearer.removeprefix("Bearer ")
    return given.encode()


def _add_routes(app: FastAPI, porch: Porch) -> None:
    @app.get("/health", tags=["state"])
    async def health() -> Health:
        """Always answered at once, whatever the models do."""
        return Health(version=__version__)

    @app.get("/ready", tags=["state"], responses={503: ERRORS[503]})
    async def ready() -> Health:
        """200 only when the models are loaded."""
        porch.engine.check_ready()
        return Health(status="ready", version=__version__)

    @app.get("/api/v1/status", tags=["state"])
    async def status() -> Status:
        """Models, objects, and how busy the server is."""
        engine, model = porch.engine, porch.engine.model
        known = () if model is None else model.library.objects
        return Status(
            state=engine.state,
            message=engine.message,
            segmentor=porch.settings.segmentor,
            descriptor=porch.settings.descriptor,
            device=porch.settings.device if model is None else model.device,
            objects=[one.id for one in known],
            templates_loaded=sum(one.template_count for one in known) + porch.cache.templates,
            uptime_s=time.monotonic() - porch.began_s,
            queue_depth=engine.depth,
            queue_size=porch.server.max_waiting,
        )

    @app.get("/metrics", tags=["state"], response_class=Response)
    async def metrics() -> Response:
        """Counters and histograms for Prometheus."""
        cache = {"objects": len(porch.cache), "hits": porch.cache.hits, "misses": porch.cache.misses}
        device = torch.cuda.memory_allocated() if torch.cuda.is_available() else 0
        return Response(
            porch.metrics.text(porch.engine.depth, device, cache), media_type="text/plain; version=0.0.4; charset=utf-8"
        )

    @app.post("/api/v1/inference", tags=["inference"], response_model=InferenceAnswer, responses=ERRORS)
    async def inference(request: Request, asked: InferenceRequest) -> Response:
        """Instances of the objects in one frame."""
        porch.engine.check_ready()
        ask = await run_in_threadpool(_ask_of_json, porch, asked)
        return JSONResponse(await porch.infer(ask, _disconnected(request)))

    @app.post("/api/v1/inference/batch", tags=["inference"], responses={**ERRORS, 207: {"description": "Some failed."}})
    async def batch(
        request: Request, asked: Annotated[list[InferenceRequest], Field(min_length=1, max_length=MAX_BATCH)]
    ) -> list[InferenceAnswer]:
        """Several frames, answered in their order; 207 where some could not be, each of which says why."""
        porch.engine.check_ready()
        answers = []
        for one in asked:
            try:
                ask = await run_in_threadpool(_ask_of_json, porch, one)
                answers.append(await porch.infer(ask, _disconnected(request)))
            except RequestError as error:
                answers.append(failed(error.message))
        succeeded = all(answer["success"] for answer in answers)
        return JSONResponse(answers, 200 if succeeded else 207)  # type: ignore[return-value]

    @app.websocket("/api/v1/stream")
    async def stream(socket: WebSocket) -> None:
        """Frames in, detections out: see server/stream.py for the messages."""
        if not porch.allows(socket):
            await socket.close(code=1008, reason="the API key is missing or wrong")
            return
        await socket.accept()

        async def answer(fields: dict[str, Any], rgb: bytes, depth: bytes | None) -> dict[str, Any]:
            asked = _asked_of_fields(fields, "the frame's header")
            ask = await run_in_threadpool(_ask, porch, asked, rgb, depth)
            return await porch.infer(ask, _never())

        await serve_stream(socket, answer, failed)

    @app.post("/api/v1/inference/upload", tags=["inference"], response_model=InferenceAnswer, responses=ERRORS)
    async def upload(
        request: Request,
        rgb: Annotated[UploadFile, File(description="PNG or JPEG")],
        cam_params: Annotated[str, Form(description='{"cam_K": [9 numbers], "depth_scale": 1.0}')],
        depth: Annotated[UploadFile | None, File(description="16-bit PNG, registered to rgb")] = None,
        options: Annotated[str, Form(description="Further fields of the JSON request, as JSON.")] = "{}",
    ) -> Response:
        """The same with files instead of base64."""
        porch.engine.check_ready()
        asked = _asked_of_form(cam_params, options)
        images = await rgb.read(), None if depth is None else await depth.read()
        ask = await run_in_threadpool(_ask, porch, asked, *images)
        return JSONResponse(await porch.infer(ask, _disconnected(request)))

    @app.get("/test/sample", tags=["inference"])
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


def _ask_of_json(porch: Porch, asked: InferenceRequest) -> Ask:
    depth = None if asked.depth_image is None else bytes_of_base64(asked.depth_image, "depth_image")
    return _ask(porch, asked, bytes_of_base64(asked.rgb_image, "rgb_image"), depth)


def _asked_of_form(cam_params: str, options: str) -> InferenceRequest:
    try:
        fields = {**json.loads(options), "cam_params": json.loads(cam_params)}
    except (ValueError, TypeError) as error:
        raise RequestError(422, f"cam_params and options must be JSON: {error}") from None
    return _asked_of_fields(fields, "cam_params or options")


def _asked_of_fields(fields: dict[str, Any], what: str) -> InferenceRequest:
    """The request of a client that sends its images beside it. Raises RequestError."""
    try:
        return InferenceRequest.model_validate({**fields, "rgb_image": "", "depth_image": None})
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise RequestError(422, f"{what} cannot be used: {place}: {first['msg'].lower()}") from None


def _ask(porch: Porch, asked: InferenceRequest, rgb_bytes: bytes, depth_bytes: bytes | None) -> Ask:
    """Paths first: they cost nothing. Raises RequestError."""
    named = porch.named_object(asked.template_dir, asked.cad_path, asked.cad_units)
    if named is not None and asked.object_ids is not None and (asked.template_dir or asked.cad_path):
        raise RequestError(400, "send object_ids, or template_dir and cad_path, not both")
    output_dir = porch.roots.inside(asked.output_dir, "output_dir") if asked.output_dir else None
    rgb = decode_rgb(rgb_bytes, porch.server.max_pixels)
    scale = asked.cam_params.depth_scale
    depth_m = None if depth_bytes is None else decode_depth_m(depth_bytes, scale, porch.server.max_pixels)
    try:
        frame = Frame(rgb, depth_m, Camera(asked.cam_params.cam_K, rgb.shape[1], rgb.shape[0]))  # type: ignore[arg-type]
    except ValueError as error:
        raise RequestError(400, str(error)) from None
    return Ask(
        frame=frame,
        named=None if asked.object_ids is not None else named,
        object_ids=None if asked.object_ids is None else tuple(asked.object_ids),
        segmentor=asked.segmentor_model,
        stability_score_threshold=asked.stability_score_thresh,
        score_threshold=asked.score_threshold,
        output_dir=output_dir,
        visualization=porch.server.visualization if asked.visualization is None else asked.visualization,
    )


def failure(status: int, message: str, retry_after_s: int | None = None) -> JSONResponse:
    """The answer to a request that failed, of the same shape as one that did not."""
    headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
    return JSONResponse(failed(message), status, headers)


def failed(message: str) -> dict[str, Any]:
    """The fields of an answer that says what is wrong."""
    return InferenceAnswer(success=False, error_message=message).model_dump()


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    return failure(error.status, error.message, error.retry_after_s)


async def _malformed(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if part != "body")
    return failure(422, f"{place or 'the body'}: {first['msg'][:1].lower()}{first['msg'][1:]}")


async def _no_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return failure(error.status_code, f"{request.method} {request.url.path}: {error.detail}; see /docs")


async def _unforeseen(request: Request, error: Exception) -> Response:
    logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return failure(500, "the server failed to answer this request; its log says why")


def _base64(file: Path) -> str:
    return base64.b64encode(file.read_bytes()).decode("ascii")
