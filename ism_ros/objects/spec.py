"""What an object to look for is, the rules of its id, units and category, and the objects file that lists objects."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ism_ros.cad.colors import Rgb, parse_color
from ism_ros.cad.units import DEFAULT_UNITS, checked_units, known_units
from ism_ros.errors import first_line
from ism_ros.objects.resource_uri import resolve_path

_KEYS = ("id", "cad", "units", "color", "templates", "category_id")


class ObjectsFileError(ValueError):
    """An objects file that cannot be used; the message is one line that names the file and the entry."""


class CategoryIdTakenError(ValueError):
    """A category_id that another object has.

    Attributes:
        category_id: The number in question.
        owner: Id of the object that has it.
    """

    def __init__(self, category_id: int, owner: str) -> None:
        """Make the error for one number.

        Args:
            category_id: The number in question.
            owner: Id of the object that has it.
        """
        super().__init__(f"category_id {category_id} is already that of '{owner}'")
        self.category_id = category_id
        self.owner = owner


@dataclass(frozen=True)
class ObjectSpec:
    """One object to look for: what its user gives.

    Attributes:
        id: Its class_id everywhere.
        cad: CAD file (path or text), or None where there are templates.
        units: Of the CAD file, one of `cad.units.UNITS`.
        templates: Folder of templates to use instead of rendering the CAD file, or None.
        category_id: Its number in BOP and COCO output, from 1.
        color: The one color of the whole object, sRGB 0 to 255; None = as the CAD file says.
        root: Folder outside of which no file that the CAD file names is read (of uploads); None = no limit.
    """

    id: str
    cad: Path | None = None
    units: str = DEFAULT_UNITS
    templates: Path | None = None
    category_id: int = 1
    color: Rgb | None = None
    root: Path | None = None

    def __post_init__(self) -> None:
        """Take paths that are given as text."""
        for name in ("cad", "templates", "root"):
            if isinstance(path := getattr(self, name), str):
                object.__setattr__(self, name, Path(path))


def choose_category_id(object_id: str, requested: int | None, taken: Mapping[int, str]) -> int:
    """Choose the category_id of an object that is added or replaced.

    Args:
        object_id: The object.
        requested: What its user wants; None or 0 = the one it has already, or else the next free one.
        taken: Ids of all objects by their category_id, this one included where it is replaced.

    Returns:
        The requested number, else the object's own, else one above the highest.

    Raises:
        CategoryIdTakenError: The requested one is that of another object.
    """
    own = next((number for number, name in taken.items() if name == object_id), None)
    number = requested or own or max(taken, default=0) + 1
    owner = taken.get(number, object_id)
    if owner != object_id:
        raise CategoryIdTakenError(number, owner)
    return number


def check_unique(spec: ObjectSpec, before: Iterable[ObjectSpec]) -> None:
    """Check that an object of a list shares neither id nor category_id with one above it.

    Args:
        spec: The object.
        before: Those above it in the list.

    Raises:
        ValueError: It does; the message goes on after the name of the object.
    """
    for position, other in enumerate(before, start=1):
        if other.id == spec.id:
            raise ValueError(f"its id is already that of object {position}; ids must differ")
        if other.category_id == spec.category_id:
            raise ValueError(
                f"its category_id {spec.category_id} is already that of '{other.id}'; give each object its own "
                "(left out, it is the position in the list)"
            )


class _IdsAsText(yaml.SafeLoader):
    """A loader that reads an `id` as it is written: 000010 is a name, not an octal number, and `no` is not false."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        for key, value in node.value:
            if key.value == "id" and isinstance(value, yaml.ScalarNode) and value.tag != "tag:yaml.org,2002:null":
                value.tag = "tag:yaml.org,2002:str"
        return super().construct_mapping(node, deep)


def read_objects_file(path: Path) -> tuple[ObjectSpec, ...]:
    """Read the objects that a YAML file lists.

    Args:
        path: The file; paths in it are relative to its folder.

    Returns:
        The objects in the order of the file.

    Raises:
        ObjectsFileError: The file is missing, is not YAML, lists nothing, or has an entry that cannot be used.
    """
    return parse_objects(read_text(path), path)


def read_text(path: Path) -> str:
    """Read the text of an objects file.

    Args:
        path: The file.

    Returns:
        Its text, line ends as they are.

    Raises:
        ObjectsFileError: It is missing, cannot be read, or is not UTF-8.
    """
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
    """Parse the text of an objects file.

    Args:
        text: The YAML.
        path: Its file, which relative paths start from and errors name.
        check_files: Whether the files that it names must exist.
        may_be_empty: Whether an empty list ('objects: []') is accepted.

    Returns:
        The objects in the order of the file.

    Raises:
        ObjectsFileError: It is not YAML, lists nothing, or has an entry that cannot be used.
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
    given = entry.get("units")
    if cad is None:
        return DEFAULT_UNITS if given is None else checked_units(given)
    units = known_units(cad, given)
    if units is None:
        raise ValueError(
            "its units are missing: add 'units: mm' or 'units: m' (or cm, inch), whichever the CAD file is in"
        )
    return units


def _color(entry: dict[str, Any], cad: Path | None) -> Rgb | None:
    color = entry.get("color")
    if color is None:
        return None
    if cad is None:
        raise ValueError("color is for a cad file; templates have their own")
    return parse_color(color)


def _category_id(entry: dict[str, Any], position: int) -> int:
    category_id = entry.get("category_id")
    if category_id is None:
        return position
    if isinstance(category_id, bool) or not isinstance(category_id, int) or category_id < 1:
        raise ValueError(f"category_id must be a whole number above 0, not {category_id!r}")
    return category_id


def _check_keys(mapping: dict[Any, Any], known: tuple[str, ...]) -> None:
    for key in mapping:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known)}"
            raise ValueError(f"'{key}' is unknown; {hint}")


def _one_line(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or first_line(error)
    return f"line {mark.line + 1}: {problem}" if mark is not None else str(problem)
