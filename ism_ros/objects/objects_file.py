"""objects.yaml: which objects to find, and where their CAD models and templates are."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

UNITS = ("mm", "m")
KEYS = ("id", "cad", "units", "templates", "category_id")


class ObjectsFileError(ValueError):
    """An objects file that cannot be used; one line that names the file and the entry at fault."""


@dataclass(frozen=True)
class ObjectSpec:
    """One entry of an objects file, paths absolute.

    id: the class_id everywhere. cad: CAD file, or None. units: of the CAD file, "mm" or "m". templates: template
    folder, or None. category_id: for BOP and COCO output.
    """

    id: str
    cad: Path | None
    units: str
    templates: Path | None
    category_id: int


def read_objects_file(path: Path) -> tuple[ObjectSpec, ...]:
    """The objects listed in `path`, relative paths taken from the file's own folder.

    Raises ObjectsFileError with one line that says what is wrong and what to do.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ObjectsFileError(
            f"objects file {path} does not exist; give objects_file the path of a YAML list"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ObjectsFileError(f"objects file {path} cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise ObjectsFileError(f"objects file {path} is not YAML: {' '.join(str(error).split())}") from None
    entries = content.get("objects") if isinstance(content, dict) else None
    if not isinstance(entries, list) or not entries:
        raise ObjectsFileError(
            f"objects file {path} lists no objects; write 'objects:' and below it '- id: mug' entries"
        )
    specs = tuple(_read_entry(path, position, entry) for position, entry in enumerate(entries, start=1))
    _refuse_twice(path, "id", [spec.id for spec in specs])
    _refuse_twice(path, "category_id", [str(spec.category_id) for spec in specs])
    return specs


def _read_entry(path: Path, position: int, entry: Any) -> ObjectSpec:
    where = f"objects file {path}, object {position}"
    if not isinstance(entry, dict):
        raise ObjectsFileError(f"{where}: expected 'id: …' and 'cad: …', found {entry!r}")
    for key in entry:
        if key not in KEYS:
            near = difflib.get_close_matches(str(key), KEYS, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(KEYS)}"
            raise ObjectsFileError(f"{where}: '{key}' is unknown; {hint}")
    name = entry.get("id")
    if name is None or str(name).strip() == "":
        raise ObjectsFileError(f"{where} has no id; add 'id: a-name'")
    where = f"{where} ('{name}')"
    units = entry.get("units", "mm" if entry.get("cad") is None else None)
    if units is None:
        raise ObjectsFileError(f"{where} does not say the units of its CAD file; add 'units: mm' or 'units: m'")
    if units not in UNITS:
        raise ObjectsFileError(f"{where}: units '{units}' are unknown; write mm or m")
    category_id = entry.get("category_id", position)
    if not isinstance(category_id, int) or isinstance(category_id, bool) or category_id < 1:
        raise ObjectsFileError(f"{where}: category_id must be a whole number from 1, not {category_id!r}")
    cad, templates = _path(path, where, entry, "cad"), _path(path, where, entry, "templates")
    if cad is None and templates is None:
        raise ObjectsFileError(f"{where} has neither cad nor templates; add 'cad: file.ply'")
    if cad is not None and not cad.is_file():
        raise ObjectsFileError(f"{where}: CAD file {cad} does not exist")
    if templates is not None and not templates.is_dir():
        raise ObjectsFileError(f"{where}: template folder {templates} does not exist")
    return ObjectSpec(str(name), cad, units, templates, category_id)


def _path(path: Path, where: str, entry: dict[str, Any], key: str) -> Path | None:
    value = entry.get(key)
    if value is None:
        return None
    if not isinstance(value, str) or not value:
        raise ObjectsFileError(f"{where}: {key} must be a path, not {value!r}")
    return (path.parent / Path(value).expanduser()).resolve()


def _refuse_twice(path: Path, key: str, values: list[str]) -> None:
    for value in values:
        if values.count(value) > 1:
            raise ObjectsFileError(
                f"objects file {path}: {key} '{value}' is there {values.count(value)} times; make them differ"
            )
