"""The replicas of a Ray Serve deployment as the engine sees them: one worker that takes several batches at a time.

A replica that dies is started again by Ray Serve. What it was asked is asked again, of another one or of that which
takes its place, and no request is refused meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ism_ros.config.settings import Settings
from ism_ros.objects.spec import ObjectSpec
from ism_ros.objects.template_builder import Progress
from ism_ros.server.backends import ray_cluster
from ism_ros.server.backends.backend_protocol import ATTEMPTS, Answer, log_ready
from ism_ros.server.errors import WorkerDiedError
from ism_ros.server.model_process.inference_runner import Ask
from ism_ros.server.model_process.messages import (
    Added,
    Answers,
    Failed,
    NotYet,
    Objects,
    ObjectState,
    Progressed,
    Ready,
    WorkerOptions,
)
from ism_ros.server.model_process.ray_replica import Told
from ism_ros.server.request_logging import log_for
from ism_ros.server.settings import ServerSettings

END_TIMEOUT_S = 20.0

Result = TypeVar("Result")

logger = logging.getLogger(__name__)


class RayWorker:
    """A Worker, never dead once it was ready."""

    starts_again = False  # Ray Serve does that

    def __init__(self, settings: Settings, options: WorkerOptions, server: ServerSettings) -> None:
        self.state, self.message, self.device = "loading", "starting", settings.device
        self.objects: tuple[ObjectState, ...] = ()
        self.lanes = server.replicas
        self.onboarding: dict[str, tuple[int, int]] = {}
        self._settings = settings
        self._options = options
        self._address = server.ray_address
        self._name = f"ism-server-{socket.gethostname()}-{server.port}"
        self._changed: Callable[[], None] = lambda: None
        self._signals_back: Callable[[], object] = lambda: None
        self._handle: Any = None
        self._counters: dict[int, Counter[str]] = {}
        self._lock = threading.Lock()
        self._end = threading.Event()
        # Linux ends Ray's processes with the thread that started them, so it stays
        self._thread = threading.Thread(target=self._run, name="ism_ray", daemon=True)

    @property
    def counters(self) -> dict[str, int]:
        return dict(sum(self._counters.values(), Counter[str]()))

    def start(self, changed: Callable[[], None]) -> None:
        """Starts Ray where there is none, and the replicas; on the main thread, in its event loop."""
        self._changed = changed
        loop = asyncio.get_running_loop()
        self._signals_back = lambda: loop.call_soon_threadsafe(_take_signals_back)
        self._thread.start()

    def answer_all(self, batch: Sequence[tuple[Ask, str]]) -> Sequence[Answer | Exception | NotYet]:
        """Raises WorkerDiedError."""
        told = self._unless_death(lambda: self._handle.answer.remote(list(batch)).result())
        answers = self._heard(told)
        assert isinstance(answers, Answers)
        with self._lock:
            self._counters[told.replica] = Counter(answers.state)
        return answers.answers

    def add_object(self, spec: ObjectSpec, progress: Progress | None = None) -> int:
        """One replica renders and describes it, into the cache; all know it when the common folder lists it.

        Raises ValueError with one line that says why, what `progress` raises, or WorkerDiedError.
        """
        for attempt in range(1, ATTEMPTS + 1):
            try:
                count = self._unless_death(lambda: self._onboard(spec, progress))
                break
            except WorkerDiedError:
                if attempt == ATTEMPTS:
                    raise
        with self._lock:
            new = ObjectState(spec.id, spec.category_id, count)
            kept = tuple(new if one.id == new.id else one for one in self.objects)
            self.objects = kept if new in kept else (*kept, new)
        self._changed()
        return count

    def remove_object(self, object_id: str) -> None:
        """Replicas see in the common folder that it is gone."""
        with self._lock:
            self.objects = tuple(one for one in self.objects if one.id != object_id)
        self._changed()

    def kill(self) -> None:
        """Takes the replicas away, and Ray where it is our own."""
        self._end.set()
        self._thread.join(END_TIMEOUT_S)

    def _run(self) -> None:
        try:
            self._deploy()
            self._end.wait()
        finally:
            ray_cluster.leave(self._name, is_own=not self._address)

    def _deploy(self) -> None:
        began_s = time.monotonic()
        try:
            self._tell("loading", "starting Ray")
            ray_cluster.connect(self._address)
            self._signals_back()
            self._tell("loading", f"starting {self.lanes} replicas")
            self._handle = ray_cluster.deploy(
                self._name, self.lanes, self._settings, self._options, on_loopback=not self._address
            )
            of_state, of_objects = self._handle.describe.remote().result()
            state, objects = self._heard(of_state), self._heard(of_objects)
        except Exception as error:  # told to every request and in /api/v1/status
            if not isinstance(error, OSError):
                logger.exception("the replicas could not be started")
            self._tell("failed", (str(error) or type(error).__name__).splitlines()[0])
            return
        if isinstance(state, Failed):
            self._tell("failed", state.why)
            return
        assert isinstance(state, Ready)
        assert isinstance(objects, Objects)
        self.device = ",".join([state.device] * self.lanes)
        self._counters[of_state.replica] = Counter(state.state)
        self.objects = objects.objects
        log_ready(self, time.monotonic() - began_s)
        self._tell("ready", "")

    def _onboard(self, spec: ObjectSpec, progress: Progress | None) -> int:
        news = self._handle.options(stream=True).onboard.remote(spec)
        for told in news:
            content = self._heard(told)
            if isinstance(content, Progressed) and progress is not None:
                try:
                    progress(content.done, content.total)
                except BaseException:
                    news.cancel()
                    raise
            elif isinstance(content, Added):
                if content.template_count is None:
                    raise ValueError(content.why)
                return content.template_count
        raise WorkerDiedError("the replica ended without a word")

    def _unless_death(self, call: Callable[[], Result]) -> Result:
        try:
            return call()
        except Exception as error:
            if not ray_cluster.is_death(error):
                raise
            logger.error("a replica has died and is started again")
            logger.debug("it ended with: %s", error)
            raise WorkerDiedError("a replica ended in the middle of what it was asked") from None

    def _heard(self, told: Told) -> object:
        for line in told.lines:
            log_for(line.request_id, line.level, line.logger, line.text)
        return told.content

    def _tell(self, state: str, message: str) -> None:
        self.state, self.message = state, message
        self._changed()


def _take_signals_back() -> None:
    """Ray puts a handler of its own before those that are there, which writes a stack trace at each SIGTERM."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.getsignal(number))
