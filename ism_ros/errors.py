"""Errors that several layers raise, and what all errors have in common."""

from __future__ import annotations


def first_line(error: BaseException) -> str:
    """Reduce an error to one line.

    Args:
        error: Any exception, also one without a text.

    Returns:
        The first line of its text that is not empty, or else the name of its class.
    """
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


class FrameError(ValueError):
    """A frame that cannot be used; the message says what is wrong and what to do about it.

    Attributes:
        reason: Short stable word for counting (`size_mismatch`, `bad_intrinsics`, ...).
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class CheckpointError(ValueError):
    """A checkpoint that is missing, damaged or of another network.

    The message is one line that says which checkpoint, what is wrong and what to do.
    """


class ExportError(ValueError):
    """A network that cannot be exported; the message is one line that says which, why, and what to do."""
