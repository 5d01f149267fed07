"""Keys of official checkpoints under the names that the transformers library has for them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from ism_ros.checkpoints.catalog import CHECKPOINTS
from ism_ros.checkpoints.reading import StateDict
from ism_ros.errors import CheckpointError


def require_keys(state: StateDict, keys: Iterable[str], what: str, path: Path) -> None:
    """Check for the keys by which a checkpoint is recognised.

    Args:
        state: Tensors of a checkpoint.
        keys: Those that must be there.
        what: The model in words, for the message.
        path: The checkpoint, for the message.

    Raises:
        CheckpointError: One of them is missing.
    """
    missing = [key for key in keys if key not in state]
    if missing:
        found = ", ".join(list(state)[:3]) or "nothing"
        raise CheckpointError(
            f"checkpoint {path} is not {what}: expected the key '{missing[0]}', found {len(state)} keys such as {found}"
        )


def require_size(family: str, found: str | None, path: Path) -> None:
    """Check that a file with an official name holds the size of model that its name says.

    Args:
        family: Family of checkpoints, such as sam.
        found: Published size that the tensors are of; None = of none.
        path: The checkpoint.

    Raises:
        CheckpointError: The file has the official name of another size.
    """
    for checkpoint in CHECKPOINTS.values():
        if checkpoint.family == family and checkpoint.file_name == path.name and found not in (None, checkpoint.model):
            raise CheckpointError(
                f"checkpoint {path} is of another size than its name says: expected {checkpoint.name}, found "
                f"{family}/{found}; put the official file there (`ism weights verify` says how)"
            )


def count_blocks(state: StateDict, prefix: str) -> int:
    """Count numbered blocks.

    Args:
        state: Tensors of a checkpoint.
        prefix: What the keys begin with, before the number and a dot.

    Returns:
        The highest number plus 1; 0 where there is none.
    """
    pattern = re.compile(re.escape(prefix) + r"(\d+)\.")
    return 1 + max((int(match[1]) for key in state if (match := pattern.match(key))), default=-1)


def rename_keys(state: StateDict, rules: Sequence[tuple[str, str]]) -> StateDict:
    """Rewrite keys by regular expressions.

    Args:
        state: Tensors of a checkpoint.
        rules: (pattern, replacement), each applied in order to every key.

    Returns:
        The tensors under their new keys. Keys that no rule matches stay as they are: what is wrong with them shows when
        they are loaded.
    """
    compiled = [(re.compile(pattern), replacement) for pattern, replacement in rules]
    result: StateDict = {}
    for key, value in state.items():
        name = key
        for pattern, replacement in compiled:
            name = pattern.sub(replacement, name)
        result[name] = value
    return result


def split_qkv(state: StateDict, fused: str, parts: tuple[str, str, str]) -> StateDict:
    """Split stacked projections into those of queries, keys and values, as the library keeps them.

    Args:
        state: Tensors of a checkpoint.
        fused: Last name of the module in which they are stacked.
        parts: The three names in its place.

    Returns:
        The tensors with these split.
    """
    result: StateDict = {}
    for key, value in state.items():
        head, dot, tail = key.rpartition(f"{fused}.")
        if dot and (head == "" or head.endswith(".")):
            for part, piece in zip(parts, value.chunk(3), strict=True):
                result[f"{head}{part}.{tail}"] = piece
        else:
            result[key] = value
    return result
