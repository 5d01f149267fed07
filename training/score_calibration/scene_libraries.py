"""The library of a training scene: some of what is in it, what is not, and a thing that is there in another size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.training_scenes.random_scenes import PlacedObject

Rng = np.random.Generator

SAME_SIZE = 0.06
"""Relative difference in size below which the same shape is the same object."""
WRONG_SIZES = 0.7, 0.8, 1.25, 1.4
"""Sizes, relative to the one in the scene, of an object that is known in another size."""
SCALES = 0.75, 1.3
"""Least and largest scale of an absent object, as of those in scenes."""
LONE_PROBABILITY = 0.35
"""Probability that a single object is known, as where a user looks for one thing."""
ABSENT_FACTOR = 1.9
"""Factor of the size of an absent object where one of its shape and size is in the scene: larger than any."""


@dataclass(frozen=True)
class LibraryEntry:
    """An object of the library.

    Attributes:
        index: Its number in the bank of the scene.
        scale: Factor of its size.
    """

    index: int
    scale: float

    def is_like(self, other: LibraryEntry | PlacedObject) -> bool:
        """Tell whether another object is the same one.

        Args:
            other: Another entry, or an object of the scene.

        Returns:
            Whether shape and size agree.
        """
        return self.index == other.index and abs(other.scale / self.scale - 1) < SAME_SIZE


def choose_library(
    placed: Sequence[PlacedObject], bank_size: int, rng: Rng, with_other_size: bool = True
) -> list[LibraryEntry]:
    """Choose the library of a scene.

    Args:
        placed: What is in the scene.
        bank_size: Number of objects that may be in it.
        rng: Source of randomness.
        with_other_size: Whether one of the placed objects is known in another size too, which depth alone can tell.

    Returns:
        Two to four of the placed objects, one that is absent, and one of the placed ones in another size, each once; or
        one of all these alone.
    """
    chosen = rng.permutation(len(placed))[: int(rng.integers(2, 5))]
    entries = [LibraryEntry(placed[k].index, placed[k].scale) for k in chosen]
    absent = LibraryEntry(int(rng.integers(bank_size)), float(rng.uniform(*SCALES)))
    if any(absent.is_like(one) for one in placed):
        absent = LibraryEntry(absent.index, absent.scale * ABSENT_FACTOR)
    entries.append(absent)
    factor = float(rng.choice(WRONG_SIZES))
    if len(chosen) and with_other_size:
        other = LibraryEntry(entries[0].index, entries[0].scale * factor)
        entries += [] if any(other.is_like(one) for one in placed) else [other]
    entries = [entry for k, entry in enumerate(entries) if not any(entry.is_like(one) for one in entries[:k])]
    return [entries[int(rng.integers(len(entries)))]] if rng.random() < LONE_PROBABILITY else entries
