"""What the routes share: settings, the engine and its objects, the folders that may be read, keys and counters."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import Future
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection

from ism_ros.config import Settings
from ism_ros.objects.cache_folder import keep_below
from ism_ros.objects.colours import parse_colour
from ism_ros.server.answers import failure
from ism_ros.server.docs_routes import is_of_docs
from ism_ros.server.engine import Engine, EngineOptions
from ism_ros.server.errors import RequestError
from ism_ros.server.inference import Ask
from ism_ros.server.logs import begin_request, fields
from ism_ros.server.metrics import Metrics
from ism_ros.server.named_objects import NamedObject
from ism_ros.server.object_jobs import ObjectJobs
from ism_ros.server.page_routes import is_of_page
from ism_ros.server.rate_limit import RateLimit
from ism_ros.server.result_cache import ResultCache, key_of
from ism_ros.server.roots import Roots
from ism_ros.server.settings import ServerSettings, state_dir
from ism_ros.server.stored_objects import StateFolder, StoredObjects
from ism_ros.server.worker_messages import WorkerOptions
from ism_ros.server.worker_process import WorkerProcess
from ism_ros.server.workers import Answer, Worker

STOP_TIMEOUT_S = 30.0
TIDY_PERIOD_S = 600.0
OPEN_PATHS = ("/health", "/ready")
"""Answered without a key: probes have none."""
CLIENT_GONE = 499
"""nginx's status; nobody sees it but log and metrics."""
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
"""Pages of other sites may send these, as browsers do not show them what comes back."""
OTHER_SITE = "a page of another site may not send this: use the page of this server; a proxy must pass Host on"

logger = logging.getLogger(__name__)


class Porch:
    """The engine starts and ends with the app's lifespan."""

    def __init__(self, settings: Settings, server: ServerSettings) -> None:
        self.settings = settings
        self.server = server
        self.roots = Roots(server.data_root)
        self.metrics = Metrics()
        self.results = ResultCache(server.result_cache)
        self.began_s = time.monotonic()
        self._rate = RateLimit(server.rate_limit)
        self._objects = StoredObjects(StateFolder(state_dir(server)))
        self.jobs = ObjectJobs(self._objects)
        self._engine: Engine | None = None

    @property
    def engine(self) -> Engine:
        assert self._engine is not None, "the app is started by its lifespan"
        return self._engine

    @contextlib.asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        """Loads at start, in the background; at the end what was accepted is answered first."""
        options = EngineOptions(self.server.max_waiting, self.server.batch_size)
        self._objects.read()
        self._engine = Engine(self._workers(), options)
        self.jobs.start(self._engine)
        tidying = asyncio.create_task(self._tidy())
        try:
            yield
        finally:
            tidying.cancel()
            self.jobs.stop()
            await run_in_threadpool(self.engine.stop, STOP_TIMEOUT_S)

    def _workers(self) -> Sequence[Worker]:
        """One a device, or the replicas of Ray Serve."""
        options = WorkerOptions(
            state_folder=state_dir(self.server),
            cache_bytes=self.server.max_cache_size,
            preload=self.default_object() if self.server.preload_templates else None,
            limits=self.server.preparation_limits(),
            log_level=logging.getLogger().level,
        )
        if self.server.engine == "ray":
            from ism_ros.server.ray_worker import RayWorker  # here, as nothing else needs Ray

            return [RayWorker(self.settings, options, self.server)]
        devices = self.server.device_list() or (self.settings.device,)
        return [WorkerProcess(self.settings.model_copy(update={"device": device}), options) for device in devices]

    async def _tidy(self) -> None:
        """Keeps the cache on disk within its budget."""
        cache_dir = self.settings.resolved_cache_dir()
        while True:
            await run_in_threadpool(keep_below, cache_dir, self.server.max_disk_cache)
            await asyncio.sleep(TIDY_PERIOD_S)

    def default_object(self) -> NamedObject | None:
        """What requests that name nothing look for, from ISM_TEMPLATE_DIR and ISM_CAD_MODEL_PATH."""
        folder, cad = self.server.template_dir, self.server.cad_model_path
        if not folder and not cad:
            return None
        return NamedObject(self.roots.first / folder if folder else None, self.roots.first / cad if cad else None)

    def named_object(
        self, template_dir: str | None, cad_path: str | None, units: str | None, color: str | None = None
    ) -> NamedObject | None:
        """The paths of a request, or the server's own where it has none. Raises RequestError."""
        if not template_dir and not cad_path:
            return self.default_object()
        return NamedObject(
            self.roots.existing(template_dir, "template_dir") if template_dir else None,
            self.roots.existing(cad_path, "cad_path") if cad_path else None,
            units,
            None if color is None else parse_colour(color),
        )

    def allows(self, connection: HTTPConnection) -> bool:
        """Whether a request carries the key, where one is asked for."""
        key = self.server.api_key.encode()
        return not key or hmac.compare_digest(_key_of(connection), key)

    def check_rate(self, connection: HTTPConnection) -> None:
        """Raises RequestError 429 where those of its key, or of its address, came too often."""
        client = hashlib.sha256(_key_of(connection)).hexdigest() if self.server.api_key else _address_of(connection)
        if wait_s := self._rate.wait_s(client):
            raise RequestError(429, f"more than {self.server.rate_limit} requests a minute: wait {wait_s} s", wait_s)

    def _check(self, request: Request, is_open: bool) -> None:
        """Raises RequestError where a request is not to be answered at all."""
        if request.method not in SAFE_METHODS and is_from_another_site(request):
            raise RequestError(403, OTHER_SITE)
        if is_open:
            return
        if not self.allows(request):
            raise RequestError(401, "the API key is missing or wrong: send it as X-API-Key")
        self.check_rate(request)

    async def watch(self, request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        """Checks who asks, counts and logs the answer, and gives it the request's id."""
        began_s = time.perf_counter()
        request_id = begin_request(request.headers.get("x-request-id"))
        path = request.scope["path"]  # that of request.url comes out of the Host header as well, in some Starlettes
        is_open = path in OPEN_PATHS or is_of_page(path) or is_of_docs(path)
        try:
            self._check(request, is_open)
        except RequestError as error:
            response: Response = failure(error.status, error.message, error.retry_after_s)
        else:
            response = await go_on(request)
        route = getattr(request.scope.get("route"), "path", "none")
        seconds = time.perf_counter() - began_s
        self.metrics.answered(route, response.status_code, seconds)
        response.headers["X-Request-ID"] = request_id
        logger.log(
            logging.DEBUG if is_open else logging.INFO,
            "%s %s %d in %.0f ms",
            request.method,
            route,
            response.status_code,
            1000 * seconds,
            extra=fields(method=request.method, path=route, status=response.status_code, seconds=round(seconds, 4)),
        )
        return response

    async def infer(self, ask: Ask, gone: Awaitable[None]) -> dict[str, Any]:
        """Queues, waits, and answers. A client that is `gone` takes its request out of the queue."""
        if not self.results.is_on or ask.output_dir is not None:
            return await self._infer(ask, gone)
        key = await run_in_threadpool(key_of, ask, self.engine.version)
        answer = self.results.get(key)
        if answer is None:
            answer = await self._infer(ask, gone)
            self.results.put(key, answer)
        return answer

    async def _infer(self, ask: Ask, gone: Awaitable[None]) -> dict[str, Any]:
        answer = await _unless_gone(gone, self.engine.answer(ask), self.server.timeout_s)
        self.metrics.inferred(answer["stage_times"], len(answer["detections"]))
        return answer


async def _unless_gone(is_gone: Awaitable[None], future: Future[Answer], timeout_s: float) -> Answer:
    """The future's result. Raises RequestError 504 after `timeout_s`, and 499 where the client hung up."""
    result = asyncio.wrap_future(future)
    gone = asyncio.ensure_future(is_gone)
    either: set[asyncio.Future[Any]] = {result, gone}
    try:
        await asyncio.wait(either, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if result.done():
            return result.result()
        if gone.done():
            raise RequestError(CLIENT_GONE, "the client went away")
        raise RequestError(504, f"no answer within {timeout_s:g} s: the queue is long or the model slow", 1)
    finally:
        result.cancel()
        gone.cancel()


def is_from_another_site(connection: HTTPConnection) -> bool:
    """Whether a browser says that a page of another site, which may be anybody's, sends this.

    A server that listens to this machine alone is in reach of every page that is looked at here.
    """
    if site := connection.headers.get("sec-fetch-site"):
        return site not in ("same-origin", "none")
    origin = connection.headers.get("origin")  # all that browsers say to a server without TLS elsewhere
    return origin is not None and origin.partition("://")[2] != connection.headers.get("host")


def _address_of(connection: HTTPConnection) -> str:
    return connection.client.host if connection.client is not None else ""


def _key_of(request: HTTPConnection) -> bytes:
    bearer = request.headers.get("authorization", "")
    given = request.headers.get("x-api-key") or bearer.removeprefix("Bearer ")
    return given.encode("latin-1")  # the bytes that the client sent, whatever characters they are
