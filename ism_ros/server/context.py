"""What the routes share: settings, the engine and its objects, the folders that may be read, keys and counters."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import logging
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection

from ism_ros.cad.colors import parse_colour
from ism_ros.config.settings import Settings
from ism_ros.runtime.cache_folder import keep_below
from ism_ros.server.backends.backend_protocol import Answer, Worker
from ism_ros.server.backends.local_backend import WorkerProcess
from ism_ros.server.error_responses import failure
from ism_ros.server.errors import RequestError
from ism_ros.server.inference.request_queue import Engine, EngineOptions, Reply
from ism_ros.server.inference.result_cache import ResultCache, key_of
from ism_ros.server.metrics import Metrics
from ism_ros.server.middleware.allowed_hosts import AllowedHosts
from ism_ros.server.middleware.connection_limits import say_seldom_that_descriptors_are_lacking
from ism_ros.server.middleware.rate_limit import RateLimit
from ism_ros.server.model_process.inference_runner import Ask
from ism_ros.server.model_process.messages import WorkerOptions
from ism_ros.server.model_process.object_cache import NamedObject
from ism_ros.server.objects.object_jobs import ObjectJobs
from ism_ros.server.objects.object_store import StateFolder, StoredObjects
from ism_ros.server.request_logging import begin_request, fields
from ism_ros.server.requests.data_directories import Roots
from ism_ros.server.routes.docs_routes import is_of_docs
from ism_ros.server.routes.page_routes import is_of_page
from ism_ros.server.settings import ServerSettings, state_dir

STOP_TIMEOUT_S = 30.0
TIDY_PERIOD_S = 600.0
OPEN_PATHS = ("/health", "/ready")
"""Answered without a key and under any name: probes have none."""
CLIENT_GONE = 499
"""nginx's status; nobody sees it but log and metrics."""
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
"""Pages of other sites may send these, as browsers do not show them what comes back."""
WRONG_KEYS_A_MINUTE = 30
"""Of one address: enough for a person who types, too few for a program that guesses."""
MAX_ADDRESSES = 10_000
NO_KEY = "the API key is missing or wrong: send it as X-API-Key"
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
        self.on_give_up: Callable[[], None] = lambda: None
        self._hosts = AllowedHosts(server.allowed_hosts, server.host)
        self._rate = RateLimit(server.rate_limit)
        self._wrong_keys = RateLimit(WRONG_KEYS_A_MINUTE)
        self._known_addresses: OrderedDict[str, None] = OrderedDict()
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
        say_seldom_that_descriptors_are_lacking(asyncio.get_running_loop())
        options = EngineOptions(self.server.max_waiting, self.server.batch_size, self.server.load_attempts)
        self._objects.read()
        self._engine = Engine(self._workers(), options, self.on_give_up)
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
            from ism_ros.server.backends.ray_backend import RayWorker  # here, as nothing else needs Ray

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
        cad = self.roots.existing(cad_path, "cad_path") if cad_path else None
        return NamedObject(
            self.roots.existing(template_dir, "template_dir") if template_dir else None,
            cad,
            units,
            root=None if cad is None else self._root_of(cad),
            cad_color=None if color is None else parse_colour(color),
        )

    def _root_of(self, cad: Path) -> Path:
        """Where files may lie that a CAD file names: beside it, where clients uploaded it."""
        uploads = StateFolder(state_dir(self.server)).uploads.resolve()
        return cad.parent if cad.is_relative_to(uploads) else self.roots.holding(cad)

    def check_client(self, connection: HTTPConnection, is_safe: bool = False, is_open: bool = False) -> None:
        """Raises RequestError where a request is not to be answered: 403 for what pages of other sites may not send,
        401 or 429 for its key. is_safe: pages are shown nothing of the answer; is_open: no key is needed."""
        if not is_safe and is_from_another_site(connection):
            raise RequestError(403, OTHER_SITE)
        if self.server.api_key and not is_open and not _key_of(connection):
            raise RequestError(401, NO_KEY)  # no guess, as a page of another site may have it sent from anywhere
        host = connection.headers.get("host")
        if not self._hosts.allows(host):
            shown = (host or "")[:100]
            raise RequestError(403, f"the host {shown!r} is none of this server's: add its name to ISM_ALLOWED_HOSTS")
        if not is_open:
            self._check_key(connection)

    def _check_key(self, connection: HTTPConnection) -> None:
        """Raises RequestError 401 where a request does not carry the key, if one is asked for; 429 where its address
        has sent too many wrong ones, unless it has shown the right one before."""
        key = self.server.api_key.encode()
        if not key:
            return
        address, given = _address_of(connection), _key_of(connection)
        wait_s = 0 if address in self._known_addresses else self._wrong_keys.wait_s(address, cost=0)
        if not wait_s and hmac.compare_digest(given, key):
            self._known_addresses[address] = None
            self._known_addresses.move_to_end(address)
            while len(self._known_addresses) > MAX_ADDRESSES:
                self._known_addresses.popitem(last=False)
            return
        if wait_s := wait_s or self._wrong_keys.wait_s(address):
            raise RequestError(429, f"too many wrong API keys came from {address}: wait {wait_s} s", wait_s)
        raise RequestError(401, NO_KEY)

    def check_rate(self, connection: HTTPConnection, requests: int = 1) -> None:
        """Counts them. Raises RequestError 429 where those of its key, or of its address, come too often."""
        client = hashlib.sha256(_key_of(connection)).hexdigest() if self.server.api_key else _address_of(connection)
        if wait_s := self._rate.wait_s(client, requests):
            raise RequestError(429, f"more than {self.server.rate_limit} requests a minute: wait {wait_s} s", wait_s)

    def check_batch(self, connection: HTTPConnection, frames: int) -> None:
        """Counts the frames of a batch beyond the first, which the request was. Raises RequestError 429."""
        limit = self.server.rate_limit
        if limit and frames > limit:
            raise RequestError(429, f"a batch of {frames} is more than {limit} requests a minute: send fewer at once")
        if frames > 1:
            self.check_rate(connection, frames - 1)

    def _check(self, request: Request, is_open: bool) -> None:
        """Raises RequestError where a request is not to be answered at all."""
        if request.scope["path"] in OPEN_PATHS:
            return
        self.check_client(request, request.method in SAFE_METHODS, is_open)
        if not is_open:
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

    def places_of_batch(self) -> int:
        """So many frames of one batch wait at a time: enough to keep the models busy, not all that may wait."""
        lanes = self.server.batch_size * self.engine.lanes
        return max(1, min(lanes, self.server.max_waiting // 2))

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
        reply = self.engine.answer(ask)
        answer = await _unless_gone(gone, reply, self.server.timeout_s, lambda: self._why_late(reply))
        self.metrics.inferred(answer["stage_times"], len(answer["detections"]))
        return answer

    def _why_late(self, reply: Reply) -> str:
        if reply.waits_for is None:
            return "the queue is long or the model slow"
        done, total = self.engine.onboarding.get(reply.waits_for, (0, 0))
        so_far = f" ({done} of {total} views)" if total else ""
        return f"object '{reply.waits_for}' is still being onboarded{so_far}; ask again"


async def _unless_gone(
    is_gone: Awaitable[None], future: Future[Answer], timeout_s: float, why_late: Callable[[], str]
) -> Answer:
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
        raise RequestError(504, f"no answer within {timeout_s:g} s: {why_late()}", 1)
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
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    given = request.headers.get("x-api-key") or (token.strip() if scheme.lower() == "bearer" else scheme)
    return given.encode("latin-1")  # the bytes that the client sent, whatever characters they are
