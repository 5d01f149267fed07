"""Inference for the routes: result cache, queue, time-out, and clients that hang up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any

from starlette.concurrency import run_in_threadpool

from ism_ros.server.errors import CLIENT_DISCONNECTED, RequestError
from ism_ros.server.inference.queued_request import ResponseFuture
from ism_ros.server.inference.request_queue import RequestQueue
from ism_ros.server.inference.result_cache import ResultCache, request_key
from ism_ros.server.metrics import Metrics
from ism_ros.server.model_process.messages import ResponseFields
from ism_ros.server.requests.inference_input import InferenceInput
from ism_ros.server.settings import ServerSettings


class InferenceService:
    """Runs checked requests for the routes.

    Attributes:
        results: Responses that identical requests get again.
    """

    def __init__(self, queue: RequestQueue, metrics: Metrics, server: ServerSettings) -> None:
        """Initialize.

        Args:
            queue: What runs the requests.
            metrics: Where stages and detections are counted.
            server: Time-out and sizes.
        """
        self.results = ResultCache(server.result_cache)
        self._queue = queue
        self._metrics = metrics
        self._server = server

    @property
    def max_batch_frames(self) -> int:
        """How many frames of one batch wait at a time: enough to keep the models busy, not all that may wait."""
        busy = self._server.batch_size * self._queue.max_concurrent_batches
        return max(1, min(busy, self._server.max_waiting // 2))

    async def infer(self, request: InferenceInput, disconnected: Awaitable[object]) -> ResponseFields:
        """Queue a request and wait for its response.

        Args:
            request: The request.
            disconnected: Done when the client has hung up, which takes the request out of the queue.

        Returns:
            The response's fields.

        Raises:
            RequestError: 503 and 429 as of `RequestQueue.submit`, 504 after the time-out, 499 for a client that hung
                up, and what the model cannot use.
        """
        if not self.results.is_on or request.output_dir is not None:
            return await self._infer(request, disconnected)
        key = await run_in_threadpool(request_key, request, self._queue.version)
        response = self.results.get(key)
        if response is None:
            response = await self._infer(request, disconnected)
            self.results.put(key, response)
        return response

    async def _infer(self, request: InferenceInput, disconnected: Awaitable[object]) -> ResponseFields:
        future = self._queue.submit(request)
        response = await _result_unless_gone(
            future, disconnected, self._server.timeout_s, lambda: self._reason_of_delay(future)
        )
        self._metrics.observe_inference(response["stage_times"], len(response["detections"]))
        return response

    def _reason_of_delay(self, future: ResponseFuture) -> str:
        if future.pending_object is None:
            return "the queue is long or the model slow"
        done, total = self._queue.onboarding.get(future.pending_object, (0, 0))
        so_far = f" ({done} of {total} views)" if total else ""
        return f"object '{future.pending_object}' is still being onboarded{so_far}; ask again"


async def _result_unless_gone(
    future: Future[ResponseFields],
    disconnected: Awaitable[object],
    timeout_s: float,
    reason_of_delay: Callable[[], str],
) -> ResponseFields:
    """Wait for a future; raise RequestError 504 after `timeout_s`, and 499 where the client hung up."""
    result = asyncio.wrap_future(future)
    gone = asyncio.ensure_future(disconnected)
    either: set[asyncio.Future[Any]] = {result, gone}
    try:
        await asyncio.wait(either, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if result.done():
            return result.result()
        if gone.done():
            raise RequestError(CLIENT_DISCONNECTED, "the client went away")
        raise RequestError(504, f"no answer within {timeout_s:g} s: {reason_of_delay()}", 1)
    finally:
        result.cancel()
        gone.cancel()
