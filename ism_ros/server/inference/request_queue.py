"""The queue in front of the workers: who asked first is answered first, and a worker that dies costs no answer."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from ism_ros.objects.spec import ObjectSpec
from ism_ros.objects.template_builder import Progress
from ism_ros.server.backends.backend_protocol import ATTEMPTS, Answer, Worker
from ism_ros.server.errors import RequestError, WorkerDiedError
from ism_ros.server.model_process.inference_runner import Ask
from ism_ros.server.model_process.messages import NotYet, ObjectState
from ism_ros.server.request_logging import current_request

RETRY_AFTER_S = 2
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
"""Before models that could not be loaded are tried again; each pause is twice the one before."""
FIRST_LOOK_S, LONGEST_LOOK_S = 0.05, 1.0
"""The same before a request is asked again that waits for an object, where nobody says that it is ready."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EngineOptions:
    """queue_size: so many requests may wait, and so many more for objects that are being onboarded. batch_size: so many
    that wait are answered together. load_attempts: so often models are tried to be loaded; 0 = without end."""

    queue_size: int = 16
    batch_size: int = 1
    load_attempts: int = 0


class Reply(Future[Answer]):
    """waits_for: the object that is being onboarded before the request can be answered, or None. is_unwanted: the
    client has gone, even where it is too late to be cancelled."""

    waits_for: str | None = None
    is_unwanted = False

    def cancel(self) -> bool:
        self.is_unwanted = True
        return super().cancel()


@dataclass(eq=False)
class Waiting:
    """A request in the queue. attempts: workers that it was given to. looks: how often its objects were not ready;
    worker: which has them onboarded; since_s: when it began to wait for them."""

    ask: Ask
    future: Reply = field(default_factory=Reply)
    request_id: str = field(default_factory=current_request)
    attempts: int = 0
    looks: int = 0
    worker: Worker | None = None
    since_s: float = 0.0

    def is_due(self, worker: Worker) -> bool:
        """Whether `worker` may be asked again for what was not ready."""
        if self.worker is not worker and self.worker is not None and self.worker.state == "ready":
            return False
        waited_s = time.monotonic() - self.since_s
        if self.future.waits_for in worker.onboarding:
            return waited_s >= LONGEST_LOOK_S
        return waited_s >= min(LONGEST_LOOK_S, FIRST_LOOK_S * 2**self.looks)


class Engine:
    """Loads from construction on; `stop` answers what was accepted and ends.

    state: "loading", "ready" (while at least one worker is) or "failed"; message: what is being loaded, or why that
    failed. What failed is tried again after growing pauses. version: of the objects, counts changes. has_given_up: all
    attempts were in vain; on_give_up is called then.
    """

    def __init__(
        self, workers: Sequence[Worker], options: EngineOptions, on_give_up: Callable[[], None] = lambda: None
    ) -> None:
        self.version = 0
        self.has_given_up = False
        self._on_give_up = on_give_up
        self._failures: Counter[int] = Counter()
        self._last_failure = ""
        self._parked: deque[Waiting] = deque()
        self._ended = threading.Event()
        self._options = options
        self._workers = workers
        self._queue: deque[Waiting] = deque()
        self._changed = threading.Condition()
        self._starting = {id(worker): threading.Lock() for worker in workers}
        self._stopping = False
        self._threads = [
            threading.Thread(target=self._serve, args=(worker,), name="ism_engine", daemon=True)
            for worker in self._workers
            for _ in range(worker.lanes)
        ]
        for worker in self._workers:
            worker.start(self._worker_changed)
        for thread in self._threads:
            thread.start()

    @property
    def state(self) -> str:
        states = [worker.state for worker in self._workers]
        if "ready" in states:
            return "ready"
        return "failed" if all(state == "failed" for state in states) else "loading"

    @property
    def message(self) -> str:
        state, message = self.state, self._workers[0].message
        if state == "loading" and self._last_failure:
            return f"{message or 'starting'}, after: {self._last_failure}"
        return "" if state == "ready" else message

    @property
    def devices(self) -> list[str]:
        return [worker.device for worker in self._workers]

    @property
    def lanes(self) -> int:
        """Batches that are answered at a time."""
        return len(self._threads)

    @property
    def depth(self) -> int:
        """Requests that wait, those at hand not counted."""
        return len(self._queue) + len(self._parked)

    @property
    def onboarding(self) -> dict[str, tuple[int, int]]:
        """Objects that requests named and that are not ready yet: id to views rendered and views."""
        return {name: counts for worker in self._workers for name, counts in worker.onboarding.items()}

    @property
    def objects(self) -> tuple[ObjectState, ...]:
        """Those that every request may ask for; none while loading."""
        return next((worker.objects for worker in self._workers if worker.state == "ready"), ())

    @property
    def counters(self) -> Counter[str]:
        """Of all workers' caches and devices together."""
        return sum((Counter(worker.counters) for worker in self._workers), Counter())

    def answer(self, ask: Ask) -> Reply:
        """Queues; a future that is cancelled before its turn costs nothing. It raises RequestError, or what the worker
        did not foresee.

        Raises RequestError: 503 while the models load, or when they could not be loaded; 429 when too many wait.
        """
        self.check_ready()
        waiting = Waiting(ask)
        with self._changed:
            if self._stopping:
                raise RequestError(503, "the server is being shut down", RETRY_AFTER_S)
            if len(self._queue) >= self._options.queue_size:
                raise RequestError(429, f"{len(self._queue)} requests wait already: try again later", RETRY_AFTER_S)
            self._queue.append(waiting)
            self._changed.notify()
        return waiting.future

    def check_ready(self) -> None:
        """Raises RequestError 503 while there is no model."""
        state, message = self.state, self.message
        if state == "loading":
            raise RequestError(503, f"the models are being loaded ({message or 'starting'})", RETRY_AFTER_S)
        if state == "failed":
            again = "the server ends" if self.has_given_up else "that is tried again"
            raise RequestError(503, f"the models could not be loaded ({message}): {again}")

    def add_object(self, spec: ObjectSpec, progress: Progress | None = None) -> int:
        """Onboards an object, or another one in the place of that with its id; answers go on meanwhile.

        Returns the number of its templates. Raises ValueError with one line that says why, what `progress` raises, or
        WorkerDiedError.
        """
        counts = [worker.add_object(spec, progress) for worker in self._ready()]
        if not counts:
            raise WorkerDiedError("no process of the models is ready")
        self.version += 1
        return counts[0]

    def remove_object(self, object_id: str) -> None:
        """No request finds it any more; one that is not known is no matter."""
        for worker in self._ready():
            with contextlib.suppress(WorkerDiedError):  # the one in its place reads the list anew
                worker.remove_object(object_id)
        self.version += 1

    def stop(self, timeout_s: float) -> None:
        """Nothing more is accepted; what was accepted is answered, within `timeout_s`."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._ended.set()
        if self.state == "ready":
            deadline_s = time.monotonic() + timeout_s
            for thread in self._threads:
                thread.join(max(0.0, deadline_s - time.monotonic()))
        for worker in self._workers:
            worker.kill()

    def _ready(self) -> list[Worker]:
        return [worker for worker in self._workers if worker.state == "ready"]

    def _worker_changed(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _serve(self, worker: Worker) -> None:
        """Gives one lane of a worker what waits; starts the worker again when it has died."""
        while self._wait_until_loaded(worker):
            while worker.state == "ready":
                self._failures[id(worker)] = 0
                batch = self._next(worker)
                if not batch and self._stopping:
                    return
                self._answer(worker, batch)
            if self._stopping and not self._queue:
                return
            self._start_again(worker)

    def _start_again(self, worker: Worker) -> None:
        """Where none of its other lanes has done so."""
        with self._starting[id(worker)]:
            if worker.state == "dead":
                logger.error("a worker on %s has died and is started again", worker.device)
            elif worker.state != "failed" or self.has_given_up or self._give_up_or_pause(worker):
                return
            worker.kill()
            worker.start(self._worker_changed)

    def _give_up_or_pause(self, worker: Worker) -> bool:
        """Whether it has to be left at that."""
        self._failures[id(worker)] += 1
        self._last_failure = worker.message
        failures, attempts = self._failures[id(worker)], self._options.load_attempts
        if not worker.starts_again or (attempts and all(self._failures[id(one)] >= attempts for one in self._workers)):
            self.has_given_up = True
            logger.error("the models could not be loaded in %d attempts: %s", failures, worker.message)
            self._worker_changed()
            self._on_give_up()
            return True
        pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(failures - 1, 16))
        logger.error("models could not be loaded: %s (tried again in %g s)", worker.message, pause_s)
        return self._ended.wait(pause_s)

    def _wait_until_loaded(self, worker: Worker) -> bool:
        """False where its models cannot be loaded, or the server ends."""
        with self._changed:
            self._changed.wait_for(lambda: worker.state != "loading" or self._stopping)
        if self._stopping:
            return worker.state in ("ready", "dead") and bool(self._queue)
        return not self.has_given_up

    def _next(self, worker: Worker) -> list[Waiting]:
        """Waits for requests and takes as many as go together; none when the server ends or the worker has died.

        One that a worker died of goes alone, so that it takes no other along.
        """
        with self._changed:
            while True:
                batch: list[Waiting] = []
                self._unpark(worker)
                while self._queue and len(batch) < self._options.batch_size:
                    if batch and (self._queue[0].attempts or batch[-1].attempts):
                        break
                    waiting = self._queue.popleft()
                    if waiting.future.is_unwanted and waiting.looks:
                        continue
                    if waiting.attempts or waiting.looks or waiting.future.set_running_or_notify_cancel():
                        batch.append(waiting)
                if batch or (self._stopping and not self._parked) or worker.state != "ready":
                    return batch
                self._changed.wait(FIRST_LOOK_S if self._parked else None)

    def _unpark(self, worker: Worker) -> None:
        """Puts those first that waited for objects which are ready now."""
        due = [waiting for waiting in self._parked if waiting.future.is_unwanted or waiting.is_due(worker)]
        for waiting in reversed(due):
            self._parked.remove(waiting)
            waiting.future.waits_for = None
            self._queue.appendleft(waiting)

    def _park(self, waiting: Waiting, worker: Worker, object_id: str) -> None:
        """Sets a request aside until its object is ready; others go on meanwhile."""
        waiting.attempts -= 1
        waiting.looks += 1
        waiting.worker, waiting.since_s = worker, time.monotonic()
        waiting.future.waits_for = object_id
        with self._changed:
            if len(self._parked) < self._options.queue_size:
                self._parked.append(waiting)
                self._changed.notify_all()
                return
        said = f"object '{object_id}' is being onboarded, and {self._options.queue_size} requests wait for that: "
        _settle(waiting.future, RequestError(429, f"{said}try again later", RETRY_AFTER_S))

    def _answer(self, worker: Worker, batch: list[Waiting]) -> None:
        if not batch:
            return
        for waiting in batch:
            waiting.attempts += 1
        try:
            answers = worker.answer_all([(waiting.ask, waiting.request_id) for waiting in batch])
        except WorkerDiedError:
            self._give_back(batch)
            return
        for waiting, answer in zip(batch, answers, strict=True):
            if isinstance(answer, NotYet):
                self._park(waiting, worker, answer.object_id)
            else:
                _settle(waiting.future, answer)

    def _give_back(self, batch: list[Waiting]) -> None:
        """To the front of the queue, but for requests that have cost too many workers."""
        with self._changed:
            for waiting in reversed(batch):
                if waiting.attempts < ATTEMPTS:
                    self._queue.appendleft(waiting)
                else:
                    said = f"the models' process ended {ATTEMPTS} times over this request; the server's log says more"
                    _settle(waiting.future, RequestError(503, said))
            self._changed.notify_all()


def _settle(future: Future[Answer], answer: Answer | Exception) -> None:
    if isinstance(answer, Exception):
        future.set_exception(answer)
    else:
        future.set_result(answer)
