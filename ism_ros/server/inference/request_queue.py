"""The queue in front of the backends: first come, first served, and a backend that dies costs no response."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence

from ism_ros.objects.spec import ObjectSpec
from ism_ros.objects.template_builder import Progress
from ism_ros.server.backends.backend_protocol import ATTEMPTS, Backend
from ism_ros.server.errors import BackendDiedError, RequestError
from ism_ros.server.inference.load_retries import LoadRetries
from ism_ros.server.inference.queued_request import FIRST_RETRY_S, QueuedRequest, ResponseFuture
from ism_ros.server.model_process.messages import ObjectPending
from ism_ros.server.objects.object_info import ObjectInfo
from ism_ros.server.requests.inference_input import InferenceInput

RETRY_AFTER_S = 2
"""Seconds after which refused clients may try again."""

logger = logging.getLogger(__name__)


class RequestQueue:
    """Gives requests to backends, and starts these again when they die.

    Models that could not be loaded are tried again after growing pauses.

    Attributes:
        version: Counts the changes of the objects.
    """

    def __init__(
        self,
        backends: Sequence[Backend],
        queue_size: int = 16,
        batch_size: int = 1,
        load_attempts: int = 0,
        on_give_up: Callable[[], None] = lambda: None,
    ) -> None:
        """Initialize; `start` begins to load.

        Args:
            backends: What runs the requests.
            queue_size: Requests that may wait, and as many more for objects that are being onboarded.
            batch_size: Waiting requests that are run together, at most.
            load_attempts: Tries to load the models; 0 = without end.
            on_give_up: Called when all tries have failed.
        """
        self.version = 0
        self._backends = backends
        self._queue_size = queue_size
        self._batch_size = batch_size
        self._queue: deque[QueuedRequest] = deque()
        self._pending: deque[QueuedRequest] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        self._retries = LoadRetries(backends, load_attempts, on_give_up)
        self._restarting = {id(backend): threading.Lock() for backend in backends}
        self._threads = [
            threading.Thread(target=self._serve, args=(backend,), name="ism_queue", daemon=True)
            for backend in backends
            for _ in range(backend.max_concurrent_batches)
        ]

    def start(self) -> None:
        """Begin to load the models."""
        for backend in self._backends:
            backend.start(self._notify)
        for thread in self._threads:
            thread.start()

    @property
    def state(self) -> str:
        """Return "loading", "ready" (while at least one backend is) or "failed"."""
        states = [backend.state for backend in self._backends]
        if "ready" in states:
            return "ready"
        return "failed" if all(state == "failed" for state in states) else "loading"

    @property
    def message(self) -> str:
        """Return what is being loaded, or why that failed."""
        state, message = self.state, self._backends[0].message
        if state == "loading" and self._retries.last_failure:
            return f"{message or 'starting'}, after: {self._retries.last_failure}"
        return "" if state == "ready" else message

    @property
    def has_given_up(self) -> bool:
        """Return whether all tries to load the models have failed."""
        return self._retries.has_given_up

    @property
    def devices(self) -> list[str]:
        """Return the devices of the backends."""
        return [backend.device for backend in self._backends]

    @property
    def max_concurrent_batches(self) -> int:
        """Return how many batches run at a time, at most."""
        return len(self._threads)

    @property
    def depth(self) -> int:
        """Return how many requests wait, those that run not counted."""
        return len(self._queue) + len(self._pending)

    @property
    def onboarding(self) -> dict[str, tuple[int, int]]:
        """Return the objects named by path that are not ready yet: templates rendered and to render, by id."""
        return {name: counts for backend in self._backends for name, counts in backend.onboarding.items()}

    @property
    def objects(self) -> tuple[ObjectInfo, ...]:
        """Return the objects that every request may ask for; none while loading."""
        return next((backend.objects for backend in self._backends if backend.state == "ready"), ())

    @property
    def counters(self) -> Counter[str]:
        """Return the numbers of all backends' caches and devices together."""
        return sum((Counter(backend.counters) for backend in self._backends), Counter())

    def submit(self, request: InferenceInput) -> ResponseFuture:
        """Queue a request.

        Args:
            request: What the model is given.

        Returns:
            The future of its response, which may raise RequestError or an unexpected error of the backend; cancelled
            before its turn, it costs nothing.

        Raises:
            RequestError: 503 while the models load or when they could not be loaded, 429 when too many wait.
        """
        self.check_ready()
        queued = QueuedRequest(request)
        with self._changed:
            if self._stopping:
                raise RequestError(503, "the server is being shut down", RETRY_AFTER_S)
            if len(self._queue) >= self._queue_size:
                raise RequestError(429, f"{len(self._queue)} requests wait already: try again later", RETRY_AFTER_S)
            self._queue.append(queued)
            self._changed.notify()
        return queued.future

    def check_ready(self) -> None:
        """Check that there is a model.

        Raises:
            RequestError: 503 while there is none.
        """
        state, message = self.state, self.message
        if state == "loading":
            raise RequestError(503, f"the models are being loaded ({message or 'starting'})", RETRY_AFTER_S)
        if state == "failed":
            again = "the server ends" if self.has_given_up else "that is tried again"
            raise RequestError(503, f"the models could not be loaded ({message}): {again}")

    def add_object(self, spec: ObjectSpec, progress: Progress | None = None) -> int:
        """Onboard an object in all backends, in the place of that with its id, while requests are served.

        Args:
            spec: The object.
            progress: Called with templates rendered and to render; an exception of it cancels and is raised.

        Returns:
            The number of its templates.

        Raises:
            ValueError: It cannot be used; one line says why.
            BackendDiedError: A backend died meanwhile, or none is ready.
        """
        counts = [backend.add_object(spec, progress) for backend in self._ready_backends()]
        if not counts:
            raise BackendDiedError("no process of the models is ready")
        self.version += 1
        return counts[0]

    def remove_object(self, object_id: str) -> None:
        """Remove an object from all backends; one that is not known does not matter.

        Args:
            object_id: Its id.
        """
        for backend in self._ready_backends():
            with contextlib.suppress(BackendDiedError):  # the process in its place reads the list again
                backend.remove_object(object_id)
        self.version += 1

    def stop(self, timeout_s: float) -> None:
        """Accept nothing more, run what was accepted, and end the backends.

        Args:
            timeout_s: Longest that accepted requests are waited for, seconds.
        """
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._retries.stop()
        if self.state == "ready":
            deadline_s = time.monotonic() + timeout_s
            for thread in self._threads:
                thread.join(max(0.0, deadline_s - time.monotonic()))
        for backend in self._backends:
            backend.kill()

    def _ready_backends(self) -> list[Backend]:
        return [backend for backend in self._backends if backend.state == "ready"]

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _serve(self, backend: Backend) -> None:
        """Give a backend one batch after the other, on one of its threads; start it again when it has died."""
        while self._wait_until_loaded(backend):
            while backend.state == "ready":
                self._retries.succeeded(backend)
                batch = self._next_batch(backend)
                if not batch and self._stopping:
                    return
                if batch:
                    self._run(backend, batch)
            if self._stopping and not self._queue:
                return
            self._restart(backend)

    def _restart(self, backend: Backend) -> None:
        """Start a backend again, unless another one of its threads has done so or it is given up."""
        with self._restarting[id(backend)]:
            if backend.state == "dead":
                logger.error("a worker on %s has died and is started again", backend.device)
            elif backend.state != "failed" or self.has_given_up or not self._retries.may_retry(backend):
                self._notify()
                return
            backend.kill()
            backend.start(self._notify)

    def _wait_until_loaded(self, backend: Backend) -> bool:
        """Return False where the models cannot be loaded, or the server ends."""
        with self._changed:
            self._changed.wait_for(lambda: backend.state != "loading" or self._stopping)
        if self._stopping:
            return backend.state in ("ready", "dead") and bool(self._queue)
        return not self.has_given_up

    def _next_batch(self, backend: Backend) -> list[QueuedRequest]:
        """Wait for requests and take as many as go together; none when the server ends or the backend has died.

        One over which a backend died runs alone, so that it takes no other along.
        """
        with self._changed:
            while True:
                batch: list[QueuedRequest] = []
                self._requeue_due(backend)
                while self._queue and len(batch) < self._batch_size:
                    if batch and (self._queue[0].attempts or batch[-1].attempts):
                        break
                    queued = self._queue.popleft()
                    if queued.future.is_abandoned and queued.retries:
                        continue
                    if queued.attempts or queued.retries or queued.future.set_running_or_notify_cancel():
                        batch.append(queued)
                if batch or (self._stopping and not self._pending) or backend.state != "ready":
                    return batch
                self._changed.wait(FIRST_RETRY_S if self._pending else None)

    def _run(self, backend: Backend, batch: list[QueuedRequest]) -> None:
        for queued in batch:
            queued.attempts += 1
        try:
            results = backend.run_batch([(queued.request, queued.request_id) for queued in batch])
        except BackendDiedError:
            self._put_back(batch)
            return
        for queued, result in zip(batch, results, strict=True):
            if isinstance(result, ObjectPending):
                self._set_aside(queued, backend, result.object_id)
            else:
                queued.settle(result)

    def _requeue_due(self, backend: Backend) -> None:
        """Put those first that waited for objects which may be ready now."""
        due = [queued for queued in self._pending if queued.future.is_abandoned or queued.is_due(backend)]
        for queued in reversed(due):
            self._pending.remove(queued)
            queued.future.pending_object = None
            self._queue.appendleft(queued)

    def _set_aside(self, queued: QueuedRequest, backend: Backend, object_id: str) -> None:
        """Keep a request until its object is ready; others go on meanwhile."""
        queued.attempts -= 1
        queued.retries += 1
        queued.backend, queued.pending_since_s = backend, time.monotonic()
        queued.future.pending_object = object_id
        with self._changed:
            if len(self._pending) < self._queue_size:
                self._pending.append(queued)
                self._changed.notify_all()
                return
        text = f"object '{object_id}' is being onboarded, and {self._queue_size} requests wait for that: "
        queued.settle(RequestError(429, f"{text}try again later", RETRY_AFTER_S))

    def _put_back(self, batch: list[QueuedRequest]) -> None:
        """Put requests back to the front of the queue, but for those over which too many backends died."""
        with self._changed:
            for queued in reversed(batch):
                if queued.attempts < ATTEMPTS:
                    self._queue.appendleft(queued)
                else:
                    text = f"the models' process ended {ATTEMPTS} times over this request; the server's log says more"
                    queued.settle(RequestError(503, text))
            self._changed.notify_all()
