"""The transformers library, which has the architectures: check of its version, import without torchvision."""

from __future__ import annotations

import sys

from ism_ros.errors import first_line

NEEDED = "transformers>=5.20,<6"
"""Requirement for pip, as in pyproject.toml."""
FIRST, BEYOND = (5, 20), (6,)
"""First version that is supported, and first that is not."""


class TransformersError(ValueError):
    """The library is missing or of a version that is not supported; the message is one line that says what to do."""


def prepare_transformers() -> None:
    """Check the library; to be called before anything is imported from it.

    Raises:
        TransformersError: It is missing or of a version that is not supported.
    """
    try:
        without_torchvision()
        import transformers
    except ImportError as error:
        raise TransformersError(
            f"neural models need the package transformers ({first_line(error)}): pip install '{NEEDED}'"
        ) from None
    if not FIRST <= leading_numbers(transformers.__version__) < BEYOND:
        raise TransformersError(
            f"neural models do not work with transformers {transformers.__version__}: pip install '{NEEDED}'"
        )


def without_torchvision() -> None:
    """Import the library and make it believe that there is no torchvision.

    Nothing is done where this process has imported one already.

    The library imports it where it finds it, for what is not used here; one that was made for another PyTorch, as there
    is on many machines, would break that import.
    """
    if "torchvision" in sys.modules:
        return
    sys.modules["torchvision"] = None  # type: ignore[assignment]
    try:
        from transformers.utils import is_torchvision_available

        is_torchvision_available()  # the library keeps this answer
    finally:
        del sys.modules["torchvision"]


def leading_numbers(version: str) -> tuple[int, ...]:
    """Parse the numbers that a version begins with.

    Args:
        version: Such as 2.13.0+cpu.

    Returns:
        Such as (2, 13, 0).
    """
    numbers = []
    for part in version.split("+")[0].split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)
