"""Onboarding of objects that requests name by path, while other requests are served; each object once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from ism_ros.model import InstanceSegmentationModel
from ism_ros.objects.background_onboarding import OnboardingProgress, OnboardingQueue, OnboardingTask
from ism_ros.objects.known_object import KnownObject
from ism_ros.objects.spec import ObjectSpec
from ism_ros.server.model_process.messages import ObjectPending
from ism_ros.server.model_process.object_cache import ObjectCache, ObjectKey
from ism_ros.server.objects.file_signature import file_signature

MAX_CONCURRENT = 2
"""Objects that are onboarded at a time."""
FAILURE_KEPT_S = 10.0
"""Seconds for which all who wait for an object get the same error; a request that comes later has it tried again."""

ProgressCallback = Callable[[Mapping[str, tuple[int, int]]], None]
"""Called with all objects that are being onboarded whenever that changes: templates rendered and to render, by id."""


class BackgroundOnboarding:
    """Onboards objects on threads of its own and puts them into a cache."""

    def __init__(self, cache: ObjectCache, model: InstanceSegmentationModel, on_progress: ProgressCallback) -> None:
        """Initialize.

        Args:
            cache: Where objects are once they are ready.
            model: What onboards them.
            on_progress: Called when the progress changes.
        """
        self._cache = cache
        self._model = model
        self._on_progress = on_progress
        self._queue: OnboardingQueue[KnownObject] = OnboardingQueue(model.onboard, concurrency=MAX_CONCURRENT)
        self._lock = threading.Lock()
        self._running: dict[ObjectKey, tuple[int, int]] = {}
        self._failed: dict[ObjectKey, tuple[Exception, float]] = {}

    def get(self, specs: Sequence[ObjectSpec]) -> list[KnownObject] | ObjectPending:
        """Return objects, or begin to onboard those that are not ready.

        Args:
            specs: The objects.

        Returns:
            All of them, or the first one that the request has to wait for.

        Raises:
            Exception: What onboarding one of them has raised.
        """
        keys = [(spec, file_signature(spec)) for spec in specs]
        with self._lock:
            known = self._cache.take(keys, self._model)
            if known is not None:
                return known
            for key in keys:
                error, until_s = self._failed.get(key, (None, 0.0))
                if error is not None and time.monotonic() < until_s:
                    raise error
            missing = [key for key in keys if not self._cache.holds(key, self._model)]
            for key in missing:
                if key not in self._running:
                    self._failed.pop(key, None)
                    self._running[key] = (0, 0)
                    self._queue.submit(
                        key[0], partial(self._keep, key), partial(self._show, key), partial(self._finish, key)
                    )
        self._report()
        return ObjectPending(missing[0][0].id)

    def _keep(self, key: ObjectKey, known: KnownObject) -> None:
        with self._lock:
            self._cache.put(key, known, self._model)

    def _show(self, key: ObjectKey, progress: OnboardingProgress) -> None:
        self._running[key] = progress.done, progress.total
        self._report()

    def _finish(self, key: ObjectKey, task: OnboardingTask[KnownObject]) -> None:
        with self._lock:
            if isinstance(task.error, Exception):  # every request that waits for it gets it
                self._failed[key] = task.error, time.monotonic() + FAILURE_KEPT_S
            del self._running[key]
        self._report()

    def _report(self) -> None:
        with self._lock:
            now_s = time.monotonic()
            self._failed = {key: failed for key, failed in self._failed.items() if now_s < failed[1]}
            running = {spec.id: counts for (spec, _), counts in self._running.items()}
        self._on_progress(running)
