"""What the request queue gives requests to: a process of this server, or the replicas of a Ray Serve deployment."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from ism_ros.objects.spec import ObjectSpec
from ism_ros.objects.template_builder import Progress
from ism_ros.server.model_process.messages import ObjectPending, ResponseFields
from ism_ros.server.objects.object_info import ObjectInfo
from ism_ros.server.requests.inference_input import InferenceInput

ATTEMPTS = 3
"""Processes that may die over one request or object before it is given up."""

logger = logging.getLogger(__name__)


class Backend(Protocol):
    """A model that runs elsewhere; started by `start`, and again when it is dead.

    Attributes:
        state: "loading", "ready", "failed" or "dead".
        message: What is being loaded, or why that failed.
        device: Where the model runs.
        objects: The objects that it knows.
        onboarding: Objects that requests named by path: templates rendered and to render, by id.
        max_concurrent_batches: Batches that it takes at a time.
        restartable: Whether `start` may be called again where it has failed.
    """

    state: str
    message: str
    device: str
    objects: tuple[ObjectInfo, ...]
    onboarding: dict[str, tuple[int, int]]
    max_concurrent_batches: int
    restartable: bool

    @property
    def counters(self) -> dict[str, int]:
        """Numbers of cache and device, as of the last batch."""
        ...

    def start(self, on_change: Callable[[], None]) -> None:
        """Begin to load.

        Args:
            on_change: Called when state, message or objects have changed.
        """
        ...

    def run_batch(
        self, batch: Sequence[tuple[InferenceInput, str]]
    ) -> Sequence[ResponseFields | Exception | ObjectPending]:
        """Run a batch.

        Args:
            batch: Requests with their ids.

        Returns:
            One result for each request.

        Raises:
            BackendDiedError: The process ended meanwhile.
        """
        ...

    def add_object(self, spec: ObjectSpec, progress: Progress | None = None) -> int:
        """Onboard an object while batches are run.

        Args:
            spec: The object.
            progress: Called with templates rendered and to render; an exception of it cancels and is raised.

        Returns:
            The number of its templates.

        Raises:
            ValueError: It cannot be used; one line says why.
            BackendDiedError: The process ended meanwhile.
        """
        ...

    def remove_object(self, object_id: str) -> None:
        """Remove an object; one that is not known does not matter.

        Args:
            object_id: Its id.

        Raises:
            BackendDiedError: The process ended meanwhile.
        """
        ...

    def kill(self) -> None:
        """End it, whatever it is doing."""
        ...


def log_ready(backend: Backend, seconds: float) -> None:
    """Log that the models are loaded.

    Args:
        backend: Whose models.
        seconds: How long that took.
    """
    logger.info("ready after %.1f s on %s: %d objects", seconds, backend.device, len(backend.objects))
