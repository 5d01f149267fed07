"""A worker as the server sees it: started, asked, and told of objects; its death is an exception."""

from __future__ import annotations

import logging
import queue
import signal
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from ism_ros.config.settings import Settings
from ism_ros.objects.spec import ObjectSpec
from ism_ros.objects.template_builder import Progress
from ism_ros.server.backends.backend_protocol import log_ready
from ism_ros.server.errors import WorkerDiedError
from ism_ros.server.model_process import local_process
from ism_ros.server.model_process.inference_runner import Ask
from ism_ros.server.model_process.messages import (
    Added,
    AddObject,
    Answers,
    Cancel,
    Failed,
    Loading,
    LogLine,
    NotYet,
    Objects,
    ObjectState,
    Onboarding,
    Progressed,
    Ready,
    Removed,
    RemoveObject,
    WorkerOptions,
)
from ism_ros.server.request_logging import log_for

END_TIMEOUT_S = 5.0
LANES = 2

logger = logging.getLogger(__name__)


def cause_of_end(exit_code: int | None) -> str:
    """Says in words why a process ended, as far as its exit code tells.

    Args:
        exit_code: As multiprocessing gives it: negative = ended by that signal; None = it goes on without an answer.
    """
    if exit_code is None:
        return "its process no longer answers: see what it has said on stderr"
    if exit_code == -signal.SIGKILL:
        return "its process was killed, as the system does when memory is short: choose a smaller profile"
    if exit_code < 0:
        return f"its process crashed with {signal_name(-exit_code)}: see what it has said on stderr"
    return f"its process ended with code {exit_code}: see what it has said on stderr"


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class WorkerProcess:
    """A Worker that is one process at a time, with a model and a library of its own.

    In one of its lanes the model works; in the other one, pictures are decoded for it and answers encoded.
    """

    lanes = LANES
    starts_again = True

    def __init__(self, settings: Settings, options: WorkerOptions) -> None:
        self.state, self.message, self.device = "dead", "", settings.device
        self.objects: tuple[ObjectState, ...] = ()
        self.counters: dict[str, int] = {}
        self.onboarding: dict[str, tuple[int, int]] = {}
        self._settings = settings
        self._options = options
        self._changed: Callable[[], None] = lambda: None
        self._free: queue.SimpleQueue[Connection] = queue.SimpleQueue()
        self._asks: list[Connection] = []
        self._control: Connection | None = None
        self._process: Any = None
        self._began_s = 0.0
        self._adding, self._removing = threading.Lock(), threading.Lock()
        self._news = threading.Condition()
        self._added: Added | None = None
        self._removed: str | None = None
        self._progressed: Progressed | None = None

    def start(self, changed: Callable[[], None]) -> None:
        """Starts the process, which begins to load."""
        self._changed = changed
        self._began_s = time.monotonic()
        context = get_context("spawn")  # a copy of a process with threads may hang
        lanes = [context.Pipe() for _ in range(LANES)]
        self._asks, asks = [ours for ours, _ in lanes], [theirs for _, theirs in lanes]
        self._free = queue.SimpleQueue()
        for connection in self._asks:
            self._free.put(connection)
        self._control, control = context.Pipe()
        self.onboarding = {}
        self._tell("loading", "starting")
        self._process = context.Process(
            target=local_process.run, args=(asks, control, self._settings, self._options), name="ism_worker", daemon=False
        )
        try:
            self._process.start()
        except OSError as error:
            self._process = None
            self._tell("failed", f"its process cannot be started ({error.strerror})")
            return
        finally:
            for connection in (*asks, control):
                connection.close()
        threading.Thread(target=self._listen, args=(self._control,), name="ism_worker_news", daemon=True).start()

    def answer_all(self, batch: Sequence[tuple[Ask, str]]) -> tuple[dict[str, Any] | Exception | NotYet, ...]:
        """Raises WorkerDiedError."""
        free = self._free
        connection = free.get()
        try:
            connection.send(batch)
            answers: Answers = connection.recv()
        except (EOFError, OSError):
            if free is self._free:  # and not started again meanwhile
                self.state = "dead"
            raise WorkerDiedError("the process of the models ended in the middle of a request") from None
        free.put(connection)
        self.counters = dict(answers.state)
        return answers.answers

    def add_object(self, spec: ObjectSpec, progress: Progress | None = None) -> int:
        """Onboards beside the answers; the number of templates. An exception of `progress` ends it.

        Raises ValueError with one line that says why, or WorkerDiedError.
        """
        with self._adding:
            self._added = None
            self._send(AddObject(spec))
            cancelled: BaseException | None = None
            while (added := self._next_news(lambda: self._added)) is None:
                progressed, self._progressed = self._progressed, None
                if progressed is None or progress is None or cancelled is not None:
                    continue
                try:
                    progress(progressed.done, progressed.total)
                except BaseException as error:
                    cancelled = error
                    self._send(Cancel())
        if cancelled is not None and added.template_count is None:
            raise cancelled
        if added.template_count is None:
            raise ValueError(added.why)
        return added.template_count

    def remove_object(self, object_id: str) -> None:
        """Raises WorkerDiedError."""
        with self._removing:
            self._removed = None
            self._send(RemoveObject(object_id))
            while self._next_news(lambda: self._removed) is None:
                pass

    def kill(self) -> None:
        """Ends the process, whatever it is doing."""
        if self._process is not None:
            self._process.kill()
            self._process.join(END_TIMEOUT_S)
        for connection in (*self._asks, self._control):
            if connection is not None:
                connection.close()

    def _send(self, message: object) -> None:
        assert self._control is not None
        try:
            self._control.send(message)
        except OSError:
            raise WorkerDiedError("the process of the models has ended") from None

    def _next_news(self, wanted: Callable[[], Any]) -> Any:
        """What is wanted, or None where there are other news. Raises WorkerDiedError."""
        with self._news:
            if (found := wanted()) is None and self._progressed is None:
                if self.state != "ready":
                    raise WorkerDiedError("the process of the models has ended")
                self._news.wait(1.0)
                found = wanted()
            return found

    def _listen(self, control: Connection) -> None:
        while True:
            try:
                news = control.recv()
            except (EOFError, OSError):
                if control is self._control:
                    self._end_of_process()
                return
            if isinstance(news, LogLine):
                log_for(news.request_id, news.level, news.logger, news.text)
            elif isinstance(news, Loading):
                self._tell("loading", news.text)
            elif isinstance(news, Ready):
                self.device, self.counters = news.device, dict(news.state)
                log_ready(self, time.monotonic() - self._began_s)
                self._tell("ready", "")
            elif isinstance(news, Failed):
                self._tell("failed", news.why)
            else:
                self._hear(news)

    def _end_of_process(self) -> None:
        if self.state == "loading":
            self._tell("failed", cause_of_end(self._exit_code()))
        elif self.state != "failed":
            self._tell("dead", "the process of the models has ended")

    def _exit_code(self) -> int | None:
        self._process.join(END_TIMEOUT_S)
        return self._process.exitcode

    def _hear(self, news: object) -> None:
        with self._news:
            if isinstance(news, Objects):
                self.objects = news.objects
            elif isinstance(news, Onboarding):
                self.onboarding = dict(news.progress)
            elif isinstance(news, Progressed):
                self._progressed = news
            elif isinstance(news, Added):
                self._added = news
            elif isinstance(news, Removed):
                self._removed = news.object_id
            self._news.notify_all()
        self._changed()

    def _tell(self, state: str, message: str) -> None:
        with self._news:
            self.state, self.message = state, message
            self._news.notify_all()
        self._changed()
