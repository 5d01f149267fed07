"""Check of `--params-file` arguments that have nothing for this node, which ROS ignores silently."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

PARAMETERS = "ros__parameters"
"""Key of a node's parameters in a parameter file."""


def unmatched_params_files(arguments: Sequence[str], node_name: str) -> list[str]:
    """Find `--params-file` arguments whose files hold parameters for other nodes only.

    Args:
        arguments: Command line of the process.
        node_name: Fully qualified, such as `/left/ism`.

    Returns:
        One sentence for each such file, with the names that are in it and those that would do.
    """
    return [
        f"the parameters in {file} are for {', '.join(sorted(names))} and have no effect on {node_name}: "
        f"head them with '{node_name}:' or '/**:'"
        for file in _files(arguments)
        if (names := set(_node_names(file))) and not any(_matches(name, node_name) for name in names)
    ]


def _files(arguments: Sequence[str]) -> Iterator[Path]:
    for position, argument in enumerate(arguments[:-1]):
        if argument == "--params-file":
            yield Path(arguments[position + 1])


def _node_names(file: Path) -> Iterator[str]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return  # rcl has refused it already
    yield from _names_below(content, "")


def _names_below(content: Any, prefix: str) -> Iterator[str]:
    """Yield the names of the nodes; namespaces may be keys of their own, above the names of their nodes."""
    for key, value in content.items() if isinstance(content, dict) else ():
        name = f"{prefix}/{str(key).strip('/')}"
        if isinstance(value, dict) and PARAMETERS in value:
            yield name
        else:
            yield from _names_below(value, name)


def _matches(pattern: str, node_name: str) -> bool:
    """Match as rcl does: `*` stands for one part of a name, `**` for any number of them."""
    return _parts_match(pattern.strip("/").split("/"), node_name.strip("/").split("/"))


def _parts_match(pattern: Sequence[str], parts: Sequence[str]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_parts_match(pattern[1:], parts[start:]) for start in range(len(parts) + 1))
    return bool(parts) and pattern[0] in ("*", parts[0]) and _parts_match(pattern[1:], parts[1:])
