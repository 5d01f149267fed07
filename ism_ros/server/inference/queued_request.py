"""Requests that wait in the queue, and the futures of their responses."""

from __future__ import annotations

import time
from concurrent.futures import Future
from dataclasses import dataclass, field

from ism_ros.server.backends.backend_protocol import Backend
from ism_ros.server.model_process.messages import ResponseFields
from ism_ros.server.request_logging import current_request_id
from ism_ros.server.requests.inference_input import InferenceInput

FIRST_RETRY_S, MAX_RETRY_S = 0.05, 1.0
"""First and longest pause before a request that waits for an object is tried again, seconds; each is twice the last."""


class ResponseFuture(Future[ResponseFields]):
    """The response to a request in the queue.

    Attributes:
        pending_object: Id of the object that is being onboarded for it, or None.
        is_abandoned: Nobody waits for it any more, even where it is too late to be cancelled.
    """

    pending_object: str | None = None
    is_abandoned = False

    def cancel(self) -> bool:
        """Take the request out of the queue.

        Returns:
            False where a backend has it already; its response is dropped then.
        """
        self.is_abandoned = True
        return super().cancel()


@dataclass(eq=False)
class QueuedRequest:
    """A request in the queue.

    Attributes:
        request: What the model is given.
        future: Its response.
        request_id: Its id in the log.
        attempts: Backends that it was given to and that died, or that have it now.
        retries: How often its objects were not ready.
        backend: The backend that onboards them, or None.
        pending_since_s: When it began to wait for them, monotonic seconds.
    """

    request: InferenceInput
    future: ResponseFuture = field(default_factory=ResponseFuture)
    request_id: str = field(default_factory=current_request_id)
    attempts: int = 0
    retries: int = 0
    backend: Backend | None = None
    pending_since_s: float = 0.0

    def is_due(self, backend: Backend) -> bool:
        """Return whether a request whose objects were not ready may be tried again.

        Args:
            backend: Where it would be tried.
        """
        if self.backend is not backend and self.backend is not None and self.backend.state == "ready":
            return False
        waited_s = time.monotonic() - self.pending_since_s
        if self.future.pending_object in backend.onboarding:
            return waited_s >= MAX_RETRY_S
        return waited_s >= min(MAX_RETRY_S, FIRST_RETRY_S * 2**self.retries)

    def settle(self, result: ResponseFields | Exception) -> None:
        """Set the future.

        Args:
            result: The response's fields, or why there are none.
        """
        if isinstance(result, Exception):
            self.future.set_exception(result)
        else:
            self.future.set_result(result)
