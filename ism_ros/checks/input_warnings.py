"""Warnings about an input that make its result doubtful, in words that every interface passes on alike."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class InputWarning:
    """One doubt about a frame or an object that stops nothing.

    Attributes:
        reason: Short stable word for counting and throttling (`depth_unit`, `object_size`, `texture_missing`, ...).
        text: One sentence: what is wrong, where, and what to do about it.
    """

    reason: str
    text: str


def unique_warnings(warnings: tuple[InputWarning, ...]) -> tuple[InputWarning, ...]:
    """Remove repeated warnings.

    Args:
        warnings: In any order.

    Returns:
        The first of equal ones each, in the same order.
    """
    return tuple(dict.fromkeys(warnings))
