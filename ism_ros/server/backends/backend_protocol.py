"""What the engine gives requests to: processes of this server, or the replicas of a Ray Serve deployment."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from ism_ros.objects.spec import ObjectSpec
from ism_ros.objects.template_builder import Progress
from ism_ros.server.model_process.inference_runner import Ask
from ism_ros.server.model_process.messages import NotYet, ObjectState

ATTEMPTS = 3
"""So many processes may die of a request, or of an object, before it is given up."""

Answer = dict[str, Any]

logger = logging.getLogger(__name__)


class Worker(Protocol):
    """Started by `start`, and again when it is dead.

    state: "loading", "ready", "failed" or "dead"; message: what is being loaded, or why that failed. objects: what it
    knows. counters: of its cache and device, as of its last answer. onboarding: objects that requests named, id to
    views rendered and views. lanes: so many batches it answers at a time. starts_again: whether `start` may be called
    again where it has failed.
    """

    state: str
    message: str
    device: str
    objects: tuple[ObjectState, ...]
    onboarding: dict[str, tuple[int, int]]
    lanes: int
    starts_again: bool

    @property
    def counters(self) -> dict[str, int]: ...

    def start(self, changed: Callable[[], None]) -> None:
        """Begins to load. changed: called when state, message or objects are others."""
        ...

    def answer_all(self, batch: Sequence[tuple[Ask, str]]) -> Sequence[Answer | Exception | NotYet]:
        """One answer for each ask, which comes with the id of its request. Raises WorkerDiedError."""
        ...

    def add_object(self, spec: ObjectSpec, progress: Progress | None = None) -> int:
        """Onboards beside the answers; the number of templates. An exception of `progress` ends it.

        Raises ValueError with one line that says why, or WorkerDiedError.
        """
        ...

    def remove_object(self, object_id: str) -> None:
        """Raises WorkerDiedError."""
        ...

    def kill(self) -> None:
        """Ends it, whatever it is doing."""
        ...


def log_ready(worker: Worker, seconds: float) -> None:
    logger.info("ready after %.1f s on %s: %d objects", seconds, worker.device, len(worker.objects))
