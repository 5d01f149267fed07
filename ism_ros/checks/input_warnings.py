"""What is odd about an input and makes its result doubtful, in words that every interface passes on alike."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class InputWarning:
    """One doubt about a frame or an object that stops nothing.

    Attributes:
        reason: short stable word for counting and throttling (`depth_unit`, `object_size`, `texture_missing`, ...).
        text: one sentence: what is wrong, where, and what to do about it.
    """

    reason: str
    text: str


def unique_warnings(warnings: tuple[InputWarning, ...]) -> tuple[InputWarning, ...]:
    """Keep the first of equal warnings, in order."""
    return tuple(dict.fromkeys(warnings))
