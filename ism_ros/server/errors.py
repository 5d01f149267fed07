"""Errors of requests, and the death of a process that was to answer one."""

from __future__ import annotations

CLIENT_DISCONNECTED = 499
"""HTTP status of requests whose client hung up, as nginx has it; only the log and the metrics show it."""


class RequestError(Exception):
    """A request that cannot be served, with what the client gets to know.

    Attributes:
        status: HTTP status of the response.
        message: One sentence that a person can act on.
        retry_after_s: Seconds after which it is worth trying again, or None.
    """

    def __init__(self, status: int, message: str, retry_after_s: int | None = None) -> None:
        super().__init__(status, message, retry_after_s)  # all of them, as pickle rebuilds it from these
        self.status = status
        self.message = message
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return self.message


class BackendDiedError(RuntimeError):
    """A process with a model ended in the middle of what it was given."""


class BodyAbortedError(Exception):
    """The reading of a request's body was ended: it is too large, or does not arrive."""
