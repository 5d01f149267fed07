"""Units of length of CAD files, and sizes in words: the one place that knows them."""

from __future__ import annotations

import math
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path

METRES = {"mm": 0.001, "cm": 0.01, "m": 1.0, "inch": 0.0254}
"""Length of each unit in metres."""
UNITS = tuple(METRES)
"""Names of the units that users may choose."""
UNITS_TEXT = "mm, cm, m or inch"
"""The units as help and error texts list them."""
UNITS_PATTERN = f"^({'|'.join(UNITS)})$"
"""Regular expression that exactly the names of units match."""
DEFAULT_UNITS = "mm"
"""Units of a CAD file that neither its user nor its format names, as in BOP."""
DEFAULT_UNITS_TEXT = "glTF m, others mm"
"""What `resolve_units` takes where no units are given, as help texts say it."""

_UNITS_OF_FORMATS = {".glb": "m", ".gltf": "m"}
"""Units that a format prescribes."""
_UNITS_PATTERNS = {
    ".dae": re.compile(rb"<unit\b[^>]*\bmeter\s*=\s*[\"']([0-9.eE+-]+)[\"']"),
    ".3mf": re.compile(rb"<model\b[^>]*\bunit\s*=\s*[\"'](\w+)[\"']"),
}
"""Where a file of these formats names its own units."""
_UNITS_OF_3MF = {"millimeter": "mm", "centimeter": "cm", "meter": "m", "inch": "inch"}
HEAD_BYTES = 65536
"""Bytes at the start of a file within which its units stand."""

MIN_DIAGONAL_M, MAX_DIAGONAL_M = 0.001, 50.0
"""Diagonals of models that are accepted at all; outside, the units must be wrong."""
MIN_VISIBLE_M, MAX_VISIBLE_M = 0.005, 3.0
"""Diagonals of what an RGB-D camera sees whole: 5 mm are 10 pixels at 0.3 m, its shortest range (600 pixels of focal
length); of more than 3 m it sees only a part within the 5 m that it measures well."""


def declared_units(cad: Path) -> str | None:
    """Read the units that the format of a CAD file prescribes (glTF: metres), or that the file says (COLLADA, 3MF).

    Args:
        cad: The file; only its suffix counts where it does not exist.

    Returns:
        One of UNITS, or None where a file may be in any, or is in some other unit.
    """
    suffix = cad.suffix.lower()
    if suffix in _UNITS_PATTERNS and cad.is_file():
        return _units_in_file(cad, suffix)
    return _UNITS_OF_FORMATS.get(suffix)


def _units_in_file(cad: Path, suffix: str) -> str | None:
    try:
        if suffix == ".3mf":
            with zipfile.ZipFile(cad) as archive, archive.open("3D/3dmodel.model") as model:
                head = model.read(HEAD_BYTES)
        else:
            with cad.open("rb") as file:
                head = file.read(HEAD_BYTES)
    except (OSError, KeyError, zipfile.BadZipFile):  # its reader says what is wrong with it
        return None
    found = _UNITS_PATTERNS[suffix].search(head)
    if found is None:
        return "mm" if suffix == ".3mf" else "m"  # the defaults of these two formats
    word = found[1].decode("ascii", "replace")
    if suffix == ".3mf":
        return _UNITS_OF_3MF.get(word)
    return next((name for name, metres in METRES.items() if math.isclose(float(word), metres, rel_tol=1e-3)), None)


def known_units(cad: Path, given: object = None) -> str | None:
    """Choose the units of a CAD file without guessing: those given, else those that it declares.

    Args:
        cad: The file.
        given: What its user says, or None.

    Returns:
        One of UNITS, or None where nobody says.

    Raises:
        ValueError: The given ones are unknown.
    """
    return declared_units(cad) if given is None else checked_units(given)


def resolve_units(cad: Path | None, given: str | None) -> str:
    """Choose the units of a CAD file: those given, else those that it declares, else DEFAULT_UNITS.

    Args:
        cad: The file; None where an object has templates only.
        given: What its user says; None or empty where nothing.

    Returns:
        One of UNITS.

    Raises:
        ValueError: The given ones are unknown.
    """
    if given:
        return checked_units(given)
    return (declared_units(cad) if cad is not None else None) or DEFAULT_UNITS


def checked_units(units: object) -> str:
    """Return `units` where they are known.

    Args:
        units: Anything.

    Returns:
        The same, one of UNITS.

    Raises:
        ValueError: They are not.
    """
    if units not in METRES:
        raise ValueError(f"units '{units}' are unknown; choose {UNITS_TEXT}")
    return str(units)


def length_text(length_m: float) -> str:
    """Write a length for people: in mm below one metre, else in m.

    Args:
        length_m: The length, metres.

    Returns:
        Three digits and the unit, such as '80 mm'.
    """
    return f"{length_m * 1000:.3g} mm" if length_m < 0.9995 else f"{length_m:.3g} m"


def size_text(size_m: Sequence[float]) -> str:
    """Write the sides of a box for people.

    Args:
        size_m: Three sides, metres.

    Returns:
        Such as '80 x 50 x 30 mm'; in metres where a side is at least one.
    """
    factor, unit = (1000, "mm") if max(size_m) < 1 else (1, "m")
    return " x ".join(f"{round(side * factor, 1):.4g}" if unit == "mm" and side >= 0.01 else f"{side * factor:.3g}"
                      for side in size_m) + f" {unit}"  # fmt: skip


def other_units(diagonal_m: float, units: str) -> str:
    """List the other units in which an object would be of a size that a camera sees.

    Args:
        diagonal_m: Of the model as read in `units`, metres.
        units: One of UNITS.

    Returns:
        In words: 'mm (38 mm) or cm (380 mm)'; '' if there are none.
    """
    sizes = {name: diagonal_m / METRES[units] * metres for name, metres in METRES.items() if name != units}
    visible = {name: size for name, size in sizes.items() if MIN_VISIBLE_M <= size <= MAX_VISIBLE_M}
    fitting = [f"{name} ({length_text(size)})" for name, size in visible.items()]
    return " or ".join([", ".join(fitting[:-1]), fitting[-1]] if len(fitting) > 1 else fitting)


def size_warning(size_m: Sequence[float], units: str, is_declared: bool = False) -> str | None:
    """Warn of an object that no RGB-D camera sees whole.

    Args:
        size_m: Sides of the box around the model, metres.
        units: What its file was read in.
        is_declared: Whether its format prescribes those units.

    Returns:
        A sentence that goes on after 'object NAME: '; None where the size is fine.
    """
    diagonal_m = sum(side**2 for side in size_m) ** 0.5
    if MIN_VISIBLE_M <= diagonal_m <= MAX_VISIBLE_M:
        return None
    what = "too small to be seen" if diagonal_m < MIN_VISIBLE_M else "too large to be seen whole"
    other = other_units(diagonal_m, units)
    by_standard = ", as its format prescribes" if is_declared else ""
    remedy = f"if its numbers are in {other}, give these units" if other else "check its units and its scale"
    return f"it is {size_text(size_m)} when read in {units}{by_standard}, {what} by an RGB-D camera: {remedy}"
