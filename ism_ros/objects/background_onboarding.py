"""Onboarding of objects in the background: a queue, with progress and cancellation.

    queue = OnboardingQueue(model.onboard)
    task = queue.submit(spec, commit=model.put, on_progress=show)
    queue.cancel("mug", "it was removed meanwhile")
    known = task.result()

It knows neither of models nor of interfaces: whoever makes the queue says what onboards an object.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from ism_ros.objects.spec import ObjectSpec
from ism_ros.objects.template_builder import Progress

State = Literal["waiting", "running", "done", "failed", "cancelled"]
"""State of a task; the last three are final."""
FINISHED: tuple[State, ...] = ("done", "failed", "cancelled")
"""Final states."""

T = TypeVar("T")

logger = logging.getLogger(__name__)


class OnboardingCancelledError(Exception):
    """An object that is not wanted any more; the message says why, be it in general words where nobody said."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason or "it is not wanted any more")


@dataclass(frozen=True)
class OnboardingProgress:
    """How far the onboarding of one object is.

    Attributes:
        object_id: The object.
        done: Views rendered.
        total: Views to render; 0 until that is known.
    """

    object_id: str
    done: int = 0
    total: int = 0


class OnboardingTask(Generic[T]):
    """One object that waits for onboarding, is onboarded, or has been; safe to use from any thread.

    Attributes:
        spec: The object.
    """

    def __init__(
        self,
        spec: ObjectSpec,
        commit: Callable[[T], object] | None,
        on_progress: Callable[[OnboardingProgress], object] | None,
        on_finished: Callable[[OnboardingTask[T]], object] | None,
    ) -> None:
        """Make a task that waits; `OnboardingQueue.submit` does so.

        Args:
            spec: The object.
            commit: As of `OnboardingQueue.submit`; so are the others.
            on_progress: See there.
            on_finished: See there.
        """
        self.spec = spec
        self._commit = commit
        self._on_progress = on_progress
        self._on_finished = on_finished
        self._lock = threading.RLock()  # held while the task goes from one state to the next
        self._finished = threading.Event()
        self._state: State = "waiting"
        self._progress = OnboardingProgress(spec.id)
        self._cancel_reason: str | None = None
        self._result: T | None = None
        self._error: BaseException | None = None

    @property
    def state(self) -> State:
        """Its state now."""
        return self._state

    @property
    def progress(self) -> OnboardingProgress:
        """How far it is."""
        return self._progress

    @property
    def is_cancelled(self) -> bool:
        """Whether `cancel` was called in time; the task may still have to notice."""
        return self._cancel_reason is not None

    @property
    def error(self) -> BaseException | None:
        """What `result` raises, or None where it has not failed (yet)."""
        return self._error

    def cancel(self, reason: str = "") -> bool:
        """Give the object up, unless it is finished.

        A task that waits is finished at once; one that runs notices with the next view that is rendered, and is not
        committed. While it is being committed, this waits: an object is either committed or cancelled, never both. Do
        not call this while holding a lock that `commit` takes.

        Args:
            reason: Why, for the message of the error.

        Returns:
            Whether it was given up; False where it was finished already.
        """
        with self._lock:
            if self._state in FINISHED or self._cancel_reason is not None:
                return self._cancel_reason is not None
            self._cancel_reason = reason
            if self._state == "running":
                return True
            self._state, self._error = "cancelled", OnboardingCancelledError(reason)
        self._announce_end()
        return True

    def result(self, timeout_s: float | None = None) -> T:
        """Wait for the end of the task.

        Args:
            timeout_s: Longest wait, seconds; None = for as long as it takes.

        Returns:
            What the object became.

        Raises:
            OnboardingCancelledError: It was cancelled.
            TimeoutError: It is not finished within that time.
            Exception: Whatever onboarding or committing it raised.
        """
        if not self._finished.wait(timeout_s):
            raise TimeoutError(f"object '{self.spec.id}' is not onboarded yet")
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]

    def run(self, onboard: Callable[[ObjectSpec, Progress], T]) -> None:
        """Onboard the object in this thread, unless it was cancelled while it waited.

        Args:
            onboard: Called with the object and a progress callback that raises where the task is cancelled.
        """
        with self._lock:
            if self._state != "waiting":
                return
            self._state = "running"
        try:
            result = onboard(self.spec, self._report)
            with self._lock:
                self._raise_if_cancelled()
                if self._commit is not None:
                    self._commit(result)
                self._result, self._state = result, "done"
        except Exception as error:  # a model can fail in more ways than can be listed; `result` raises it
            with self._lock:
                if self._cancel_reason is None:
                    self._state, self._error = "failed", error
                else:
                    self._state, self._error = "cancelled", OnboardingCancelledError(self._cancel_reason)
        self._announce_end()

    def _report(self, done: int, total: int) -> None:
        self._raise_if_cancelled()
        self._progress = OnboardingProgress(self.spec.id, done, total)
        if self._on_progress is not None:
            self._on_progress(self._progress)

    def _raise_if_cancelled(self) -> None:
        if self._cancel_reason is not None:
            raise OnboardingCancelledError(self._cancel_reason)

    def _announce_end(self) -> None:
        try:
            if self._on_finished is not None:
                self._on_finished(self)
        except Exception:
            logger.exception("the end of the onboarding of object '%s' could not be announced", self.spec.id)
        finally:
            self._finished.set()


class OnboardingQueue(Generic[T]):
    """Onboards objects in the order in which they are submitted, on threads of its own.

    Threads start with the first object and end with `shutdown`; a program that ends does not wait for them.
    """

    def __init__(
        self,
        onboard: Callable[[ObjectSpec, Progress], T],
        interrupt: Callable[[], object] | None = None,
        concurrency: int = 1,
        thread_name: str = "ism_onboarding",
    ) -> None:
        """Make an empty queue.

        Args:
            onboard: Onboards an object, such as `InstanceSegmentationModel.onboard`; called with the object and a
                progress callback, in a thread of the queue.
            interrupt: Called after a task that runs was cancelled, to end its work at once, such as
                `TemplateProcess.stop`; whatever `onboard` raises then counts as the cancellation. With a concurrency
                above 1 it must leave the other tasks alone.
            concurrency: Number of objects onboarded at a time.
            thread_name: Of its threads.
        """
        self._onboard = onboard
        self._interrupt = interrupt
        self._concurrency = concurrency
        self._thread_name = thread_name
        self._waiting: queue.SimpleQueue[OnboardingTask[T] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._tasks: list[OnboardingTask[T]] = []
        self._threads: list[threading.Thread] = []
        self._end_reason: str | None = None

    @property
    def tasks(self) -> tuple[OnboardingTask[T], ...]:
        """Tasks that are not finished, in the order in which they were submitted."""
        with self._lock:
            return tuple(task for task in self._tasks if task.state not in FINISHED)

    def submit(
        self,
        spec: ObjectSpec,
        commit: Callable[[T], object] | None = None,
        on_progress: Callable[[OnboardingProgress], object] | None = None,
        on_finished: Callable[[OnboardingTask[T]], object] | None = None,
    ) -> OnboardingTask[T]:
        """Queue an object.

        The callbacks are called in the thread of the queue; `on_finished` of a task that is cancelled while it waits,
        in that of whoever cancels it.

        Args:
            spec: The object.
            commit: Takes the result, such as `InstanceSegmentationModel.put`; what it raises fails the task. `cancel`
                waits while it runs.
            on_progress: Called after each view that is rendered; what it raises fails the task.
            on_finished: Called once the state is final, before `result` returns.

        Returns:
            The task; already cancelled where the queue is shut down.
        """
        task: OnboardingTask[T] = OnboardingTask(spec, commit, on_progress, on_finished)
        with self._lock:
            end_reason = self._end_reason
            if end_reason is None:
                self._tasks = [known for known in self._tasks if known.state not in FINISHED] + [task]
                if len(self._threads) < self._concurrency:
                    self._start_thread()
                self._waiting.put(task)
        if end_reason is not None:
            task.cancel(end_reason)
        return task

    def cancel(self, object_id: str | None = None, reason: str = "") -> tuple[OnboardingTask[T], ...]:
        """Give up an object, however often it was submitted, or all of them.

        Args:
            object_id: Its id; None = all objects.
            reason: Why, for the message of the error.

        Returns:
            The tasks that were given up.
        """
        tasks = [task for task in self.tasks if object_id is None or task.spec.id == object_id]
        cancelled = tuple(task for task in tasks if task.cancel(reason))
        if self._interrupt is not None and any(task.state == "running" for task in cancelled):
            self._interrupt()
        return cancelled

    def shutdown(self, reason: str = "", timeout_s: float | None = 0.0) -> None:
        """Give up all objects and take no more.

        Args:
            reason: Why, for the messages of the errors.
            timeout_s: Longest wait for each thread to end, seconds; None = for as long as it takes.
        """
        with self._lock:
            self._end_reason = reason
            threads = list(self._threads)
        self.cancel(None, reason)
        for _ in threads:
            self._waiting.put(None)
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(timeout_s)

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._run, name=self._thread_name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _run(self) -> None:
        while (task := self._waiting.get()) is not None:
            task.run(self._onboard)
