"""objects.yaml: which objects to look for, and where their CAD models are."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ism_ros.cad.colors import Rgb, parse_colour
from ism_ros.cad.units import checked_units, declared_units
from ism_ros.objects.resource_uri import resolve_path

_KEYS = ("id", "cad", "units", "color", "templates", "category_id")


class ObjectsFileError(ValueError):
    """An objects file that cannot be used; the message is one line that names the file and the entry."""


@dataclass(frozen=True)
class ObjectSpec:
    """One object to look for.

    id: its class_id everywhere. cad: CAD file or None. units: of the CAD file. templates: folder of templates to use
    instead of rendering the CAD file, or None. category_id: for BOP and COCO output. color: the one colour of the whole
    object, sRGB 0 to 255, or None = as the CAD file says. root: the folder within which alone files that the CAD file
    names are read (of uploads), or None.
    """

    id: str
    cad: Path | None = None
    units: str = "mm"
    templates: Path | None = None
    category_id: int = 1
    color: Rgb | None = None
    root: Path | None = None


class _IdsAsText(yaml.SafeLoader):
    """Reads an `id` as it is written: 000010 is a name and no octal number, `no` is none for false."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        for key, value in node.value:
            if key.value == "id" and isinstance(value, yaml.ScalarNode) and value.tag != "tag:yaml.org,2002:null":
                value.tag = "tag:yaml.org,2002:str"
        return super().construct_mapping(node, deep)


def read_objects_file(path: Path) -> tuple[ObjectSpec, ...]:
    """The objects that a YAML file lists; files in it are relative to it.

    Raises ObjectsFileError where the file is missing, is not YAML, lists nothing, or has an entry that cannot be used.
    """
    return parse_objects(read_text(path), path)


def read_text(path: Path) -> str:
    """The text of an objects file as it is. Raises ObjectsFileError where it cannot be read."""
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise ObjectsFileError(f"objects file {path} does not exist") from None
    except OSError as error:
        raise ObjectsFileError(f"objects file {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ObjectsFileError(f"{path} is not YAML: it is not UTF-8 text") from None


def parse_objects(
    text: str, path: Path, *, check_files: bool = True, may_be_empty: bool = False
) -> tuple[ObjectSpec, ...]:
    """The objects that the text of the file `path` lists. check_files: the files it names must be there.

    may_be_empty: an empty list ('objects: []') is fine. Raises ObjectsFileError.
    """
    specs: list[ObjectSpec] = []
    for position, entry in enumerate(_entries(text, path, may_be_empty), start=1):
        try:
            spec = _spec(entry, position, path.parent)
            if check_files:
                _check_files(spec)
            check_unique(spec, specs)
        except ValueError as error:
            name = entry.get("id") if isinstance(entry, dict) else None
            label = f"object {position}" + (f" ('{name}')" if name is not None else "")
            raise ObjectsFileError(f"{path}: {label}: {error}") from None
        specs.append(spec)
    return tuple(specs)


def _entries(text: str, path: Path, may_be_empty: bool) -> list[Any]:
    try:
        content = yaml.load(text, _IdsAsText)  # a SafeLoader
    except yaml.YAMLError as error:
        raise ObjectsFileError(f"{path} is not YAML: {_one_line(error)}") from None
    if content is None:
        raise ObjectsFileError(f"{path} is empty: list at least one object under 'objects:'")
    if not isinstance(content, dict):
        raise ObjectsFileError(f"{path}: it must start with 'objects:' and list the objects under it")
    try:
        _check_keys(content, ("objects",))
    except ValueError as error:
        raise ObjectsFileError(f"{path}: {error}") from None
    entries = content.get("objects")
    if may_be_empty and entries == []:
        return []
    if not entries:
        raise ObjectsFileError(f"{path} has no objects: list at least one under 'objects:'")
    if not isinstance(entries, list):
        raise ObjectsFileError(f"{path}: 'objects:' must be a list, one '- id: ...' for each object")
    return entries


def _spec(entry: Any, position: int, folder: Path) -> ObjectSpec:
    if not isinstance(entry, dict):
        raise ValueError("it must be a mapping such as {id: mug, cad: mug.ply, units: mm}")
    _check_keys(entry, _KEYS)
    object_id = entry.get("id")
    if not isinstance(object_id, str) or not object_id.strip():
        raise ValueError("it needs an id, the name under which it is reported")
    cad, templates = _path(entry, "cad", folder), _path(entry, "templates", folder)
    if cad is None and templates is None:
        raise ValueError("it needs a cad file, a templates folder, or both")
    return ObjectSpec(
        object_id.strip(),
        cad,
        _units(entry, cad),
        templates,
        _category_id(entry, position),
        _color(entry, cad),
    )


def _check_files(spec: ObjectSpec) -> None:
    cad, templates = spec.cad, spec.templates
    if cad is not None and not cad.is_file():
        raise ValueError(f"CAD file {cad} {'is not a file' if cad.exists() else 'does not exist'}")
    if templates is not None and not templates.is_dir():
        raise ValueError(f"template folder {templates} {'is not a folder' if templates.exists() else 'does not exist'}")


def _path(entry: dict[str, Any], key: str, folder: Path) -> Path | None:
    text = entry.get(key)
    if text is None:
        return None
    if not isinstance(text, str) or not text:
        raise ValueError(f"{key} must be a path, not {text!r}")
    return resolve_path(text, folder)


def _units(entry: dict[str, Any], cad: Path | None) -> str:
    units = entry.get("units")
    if units is None:
        declared = declared_units(cad) if cad is not None else "mm"
        if declared is None:
            raise ValueError(
                "its units are missing: add 'units: mm' or 'units: m' (or cm, inch), whichever the CAD file is in"
            )
        return declared
    return checked_units(units)


def _color(entry: dict[str, Any], cad: Path | None) -> Rgb | None:
    color = entry.get("color")
    if color is None:
        return None
    if cad is None:
        raise ValueError("color is for a cad file; templates have their own")
    return parse_colour(color)


def _category_id(entry: dict[str, Any], position: int) -> int:
    category_id = entry.get("category_id")
    if category_id is None:
        return position
    if isinstance(category_id, bool) or not isinstance(category_id, int) or category_id < 1:
        raise ValueError(f"category_id must be a whole number above 0, not {category_id!r}")
    return category_id


def check_unique(spec: ObjectSpec, before: Iterable[ObjectSpec]) -> None:
    """ValueError where id or category_id of `spec` is that of one `before` it."""
    for position, other in enumerate(before, start=1):
        if other.id == spec.id:
            raise ValueError(f"its id is already that of object {position}; ids must differ")
        if other.category_id == spec.category_id:
            raise ValueError(
                f"its category_id {spec.category_id} is already that of '{other.id}'; give each object its own "
                "(left out, it is the position in the list)"
            )


def _check_keys(mapping: dict[Any, Any], known: tuple[str, ...]) -> None:
    for key in mapping:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known)}"
            raise ValueError(f"'{key}' is unknown; {hint}")


def _one_line(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    return f"line {mark.line + 1}: {problem}" if mark is not None else str(problem)
