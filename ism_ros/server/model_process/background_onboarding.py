"""Objects that requests name by path and that are not onboarded yet: made ready beside the answers, each once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from ism_ros.model import InstanceSegmentationModel
from ism_ros.objects.library import KnownObject
from ism_ros.objects.spec import ObjectSpec
from ism_ros.server.model_process.messages import NotYet
from ism_ros.server.model_process.object_cache import ObjectCache, signature

AT_A_TIME = 2
FAILURE_KEPT_S = 10.0
"""Requests that waited for the same object are told the same; one that comes later has it tried again."""

Tell = Callable[[Mapping[str, tuple[int, int]]], None]
"""Told of all objects at hand whenever that changes: id to views rendered and views."""

_Key = tuple[ObjectSpec, tuple[object, ...]]


class ColdObjects:
    """See the module. cache: where they are when they are ready."""

    def __init__(self, cache: ObjectCache, model: InstanceSegmentationModel, tell: Tell) -> None:
        self._cache = cache
        self._model = model
        self._tell = tell
        self._pool = ThreadPoolExecutor(AT_A_TIME, "ism_cold")
        self._lock = threading.Lock()
        self._running: dict[_Key, tuple[int, int]] = {}
        self._failed: dict[_Key, tuple[Exception, float]] = {}

    def get(self, specs: Sequence[ObjectSpec]) -> list[KnownObject] | NotYet:
        """All of them, or the first for which the request has to wait. Raises what onboarding one of them raised."""
        keys = [(spec, signature(spec)) for spec in specs]
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
                    self._pool.submit(self._onboard, key)
        return NotYet(missing[0][0].id)

    def _onboard(self, key: _Key) -> None:
        spec, _ = key

        def progress(done: int, total: int) -> None:
            self._running[key] = (done, total)
            self._say()

        self._say()
        try:
            known = self._model.onboard(spec, progress)
        except Exception as error:  # each request that waits for it is told
            with self._lock:
                self._failed[key] = error, time.monotonic() + FAILURE_KEPT_S
                del self._running[key]
        else:
            with self._lock:
                self._cache.put(key, known, self._model)
                del self._running[key]
        self._say()

    def _say(self) -> None:
        with self._lock:
            now_s = time.monotonic()
            self._failed = {key: failed for key, failed in self._failed.items() if now_s < failed[1]}
            running = {spec.id: counts for (spec, _), counts in self._running.items()}
        self._tell(running)
