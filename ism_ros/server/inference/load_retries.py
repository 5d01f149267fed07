"""When models that could not be loaded are tried again, and when they are given up."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Sequence

from ism_ros.server.backends.backend_protocol import Backend

FIRST_PAUSE_S, MAX_PAUSE_S = 1.0, 60.0
"""First and longest pause before models are tried to be loaded again, seconds; each is twice the last."""

logger = logging.getLogger(__name__)


class LoadRetries:
    """Counts failures to load the models of backends.

    Attributes:
        has_given_up: All tries have failed.
        last_failure: Why the last one failed; empty = none has.
    """

    def __init__(self, backends: Sequence[Backend], attempts: int, on_give_up: Callable[[], None]) -> None:
        """Initialize.

        Args:
            backends: All backends; as long as one has tries left, none is given up.
            attempts: Tries of each; 0 = without end.
            on_give_up: Called when all tries have failed.
        """
        self.has_given_up = False
        self.last_failure = ""
        self._backends = backends
        self._attempts = attempts
        self._on_give_up = on_give_up
        self._failures: Counter[int] = Counter()
        self._stopping = threading.Event()

    def succeeded(self, backend: Backend) -> None:
        """Forget the failures of a backend.

        Args:
            backend: One that is ready.
        """
        self._failures[id(backend)] = 0

    def may_retry(self, backend: Backend) -> bool:
        """Count a failure, and wait for as long as is to be waited before the next try.

        Args:
            backend: One that has failed.

        Returns:
            False where all tries have failed, or the server ends.
        """
        self._failures[id(backend)] += 1
        self.last_failure = backend.message
        failures = self._failures[id(backend)]
        if not backend.restartable or self._are_exhausted():
            self.has_given_up = True
            logger.error("the models could not be loaded in %d attempts: %s", failures, backend.message)
            self._on_give_up()
            return False
        pause_s = min(MAX_PAUSE_S, FIRST_PAUSE_S * 2 ** min(failures - 1, 16))
        logger.error("models could not be loaded: %s (tried again in %g s)", backend.message, pause_s)
        return not self._stopping.wait(pause_s)

    def stop(self) -> None:
        """End the pauses."""
        self._stopping.set()

    def _are_exhausted(self) -> bool:
        return bool(self._attempts) and all(self._failures[id(one)] >= self._attempts for one in self._backends)
