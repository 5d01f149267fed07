"""What all errors have in common."""

from __future__ import annotations


def first_line(error: BaseException) -> str:
    """Say an error in one line.

    Args:
        error: Any exception, also one without a text.

    Returns:
        The first line of its text that is not empty, or else the name of its class.
    """
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
