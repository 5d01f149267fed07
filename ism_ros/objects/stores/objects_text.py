"""Changes to the text of an objects file: entries come and go, everything else stays as somebody wrote it.

The text is edited where PyYAML's marks say that an entry stands, and never written from a parsed document: ruamel.yaml
keeps comments, but not indents and spaces, and loses the comments behind the last entry together with that entry.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ism_ros.cad.units import declared_units
from ism_ros.objects.spec import ObjectsFileError, ObjectSpec, check_unique, parse_objects

Changes = Mapping[str, ObjectSpec | None]
"""By id: the object that is added or takes the place of the one of that id, or None where it is removed."""

EMPTY = "# Written by the node `ism` (save_objects); config/objects.yaml of ism_ros shows the form.\nobjects: []\n"
_INDENT = 2


def changed_text(text: str, path: Path, changes: Changes) -> str | None:
    """Edit the text of an objects file.

    Comments, order and form of all other entries stay; where an entry has no category_id and would get another one
    from its new position, the one it had is written down.

    Args:
        text: Of the file.
        path: The file, which paths are relative to.
        changes: What to change.

    Returns:
        The new text, or None where that cannot be done without losing comments.

    Raises:
        ObjectsFileError: The text, or what it would become, is no objects file.
    """
    before = parse_objects(text, path, check_files=False, may_be_empty=True)
    wanted = _merged(before, path, changes)
    try:
        result = _edited(text, path.parent, before, wanted, changes)
        if parse_objects(result, path, check_files=False, may_be_empty=True) == wanted:
            return result
    except (ObjectsFileError, LookupError):  # a form of YAML that `_edited` does not know
        pass
    return None


def rewritten_text(text: str, path: Path, changes: Changes) -> str:
    """Write an objects file with changes from scratch, without its comments.

    Args:
        text: Of the file as it is.
        path: The file, which paths are relative to.
        changes: What to change.

    Returns:
        The new text.

    Raises:
        ObjectsFileError: The text, or what it would become, is no objects file.
    """
    wanted = _merged(parse_objects(text, path, check_files=False, may_be_empty=True), path, changes)
    lines = [f"{' ' * _INDENT}- {_line(spec, path.parent)}\n" for spec in wanted]
    return "objects:\n" + "".join(lines) if lines else "objects: []\n"


def _merged(before: Sequence[ObjectSpec], path: Path, changes: Changes) -> tuple[ObjectSpec, ...]:
    """Apply changes to parsed objects; raise ObjectsFileError where two would share an id or category_id."""
    after: dict[str, ObjectSpec] = {spec.id: spec for spec in before}
    for object_id, spec in changes.items():
        if spec is None:
            after.pop(object_id, None)
        else:
            after[object_id] = _as_read(spec, path.parent)
    specs: list[ObjectSpec] = []
    for spec in after.values():
        try:
            check_unique(spec, specs)
        except ValueError as error:
            raise ObjectsFileError(f"{path}: '{spec.id}': {error}") from None
        specs.append(spec)
    return tuple(specs)


def _edited(
    text: str, folder: Path, before: Sequence[ObjectSpec], wanted: Sequence[ObjectSpec], changes: Changes
) -> str:
    """Apply changes to the text; raise LookupError where its form is not known here."""
    key, sequence = _objects_of(yaml.compose(text, Loader=yaml.SafeLoader))
    nodes = sequence.value
    if sequence.flow_style:
        text = _in_lines(text, key, sequence)
        nodes = _objects_of(yaml.compose(text, Loader=yaml.SafeLoader))[1].value if nodes else []
    positions = {spec.id: position for position, spec in enumerate(wanted, start=1)}
    edits: list[tuple[int, int, str]] = []
    indent = _INDENT
    end = _line_end(text, key.end_mark.index)
    for node, spec in zip(nodes, before, strict=True):
        first, end = _span(text, node)
        indent = _dash(text, node) - _line_start(text, _dash(text, node))
        if spec.id in changes:
            new = changes[spec.id]
            edits.append((first, end, "" if new is None else f"{' ' * indent}- {_line(new, folder)}\n"))
        elif _has_no_category(node) and positions[spec.id] != spec.category_id:
            edits.append(_category_edit(text, node, spec.category_id))
    known = {spec.id for spec in before}
    added = [f"{' ' * indent}- {_line(spec, folder)}\n" for name, spec in changes.items() if spec and name not in known]
    if added:
        before_it = "" if text[:end].endswith("\n") else "\n"
        edits.append((end, end, before_it + "".join(added)))
    if not wanted:
        edits.append((key.end_mark.index + 1, key.end_mark.index + 1, " []"))
    for first, last, replacement in sorted(edits, key=lambda edit: edit[0], reverse=True):
        text = text[:first] + replacement + text[last:]
    return text


def _objects_of(root: Any) -> tuple[Any, Any]:
    for key, value in root.value:
        if key.value == "objects" and isinstance(value, yaml.SequenceNode):
            return key, value
    raise LookupError("objects")


def _in_lines(text: str, key: Any, sequence: Any) -> str:
    """Give each entry of `objects: [{...}, {...}]` a line of its own."""
    first, last = sequence.start_mark.index, sequence.end_mark.index
    if "#" in text[first:last] or text[key.end_mark.index] != ":":
        raise LookupError("a comment within brackets")
    entries = [text[node.start_mark.index : node.end_mark.index] for node in sequence.value]
    lines = "".join(f"\n{' ' * _INDENT}- {entry}" for entry in entries)
    return text[:first].rstrip(" ") + lines + text[last:]


def _span(text: str, node: Any) -> tuple[int, int]:
    """Return first and last index of the lines of an entry, trailing comment and line break included."""
    return _line_start(text, _dash(text, node)), _line_end(text, _end(node))


def _dash(text: str, node: Any) -> int:
    index = text.rindex("-", 0, node.start_mark.index)
    if text[index + 1 : node.start_mark.index].strip():
        raise LookupError("a comment between dash and entry")
    return index


def _end(node: Any) -> int:
    """Return where the last word of a node ends; PyYAML's end mark of a block is where the next thing begins."""
    if isinstance(node, yaml.ScalarNode) or node.flow_style:
        return int(node.end_mark.index)
    return _end(node.value[-1][1])


def _line_start(text: str, index: int) -> int:
    return text.rfind("\n", 0, index) + 1


def _line_end(text: str, index: int) -> int:
    return text.find("\n", index) + 1 or len(text)


def _has_no_category(node: Any) -> bool:
    return all(key.value != "category_id" for key, _ in node.value)


def _category_edit(text: str, node: Any, category_id: int) -> tuple[int, int, str]:
    if node.flow_style:
        index = _end(node) - 1
        return index, index, f", category_id: {category_id}"
    index = _line_end(text, _end(node))
    break_before = "" if text[:index].endswith("\n") else "\n"
    return index, index, f"{break_before}{' ' * node.value[0][0].start_mark.column}category_id: {category_id}\n"


def _as_read(spec: ObjectSpec, folder: Path) -> ObjectSpec:
    """Return `spec` as it will be when it is read from a file in `folder`."""

    def path(place: Path | None) -> Path | None:
        return None if place is None else folder / _relative_path(place, folder)

    return ObjectSpec(spec.id, path(spec.cad), spec.units, path(spec.templates), spec.category_id, spec.color)


def _relative_path(place: Path, folder: Path) -> str:
    """Make a path relative where it lies below the objects file, so that both can be moved together."""
    absolute, base = os.path.abspath(place), os.path.abspath(folder)
    return os.path.relpath(absolute, base) if Path(absolute).is_relative_to(base) else absolute


def _line(spec: ObjectSpec, folder: Path) -> str:
    entry: dict[str, Any] = {"id": spec.id}
    if spec.cad is not None:
        entry["cad"] = _relative_path(spec.cad, folder)
    if spec.cad is None or declared_units(spec.cad) is None or declared_units(spec.cad) != spec.units:
        entry["units"] = spec.units
    if spec.color is not None:
        entry["color"] = list(spec.color)
    if spec.templates is not None:
        entry["templates"] = _relative_path(spec.templates, folder)
    entry["category_id"] = spec.category_id
    return yaml.safe_dump(
        entry, default_flow_style=True, sort_keys=False, allow_unicode=True, width=float("inf")
    ).strip()
