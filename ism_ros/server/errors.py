"""What goes wrong with a request: what a client is told, and the death of a process that was asked."""

from __future__ import annotations


class RequestError(Exception):
    """A request that is answered with `status` and one sentence that a person can act on.

    retry_after_s: when it is worth trying again, or None.
    """

    def __init__(self, status: int, message: str, retry_after_s: int | None = None) -> None:
        super().__init__(status, message, retry_after_s)  # all of them, as pickle makes it anew of these
        self.status = status
        self.message = message
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return self.message


class WorkerDiedError(RuntimeError):
    """A process ended in the middle of what it was asked."""
