"""Units of length of CAD files, and sizes in words: the one place that knows them."""

from __future__ import annotations

import math
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path

METRES = {"mm": 0.001, "cm": 0.01, "m": 1.0, "inch": 0.0254}
UNITS = tuple(METRES)
UNITS_TEXT = "mm, cm, m or inch"
UNITS_PATTERN = f"^({'|'.join(UNITS)})$"
_DECLARED = {".glb": "m", ".gltf": "m"}
"""Units that a format prescribes."""
_SAID = {
    ".dae": re.compile(rb"<unit\b[^>]*\bmeter\s*=\s*[\"']([0-9.eE+-]+)[\"']"),
    ".3mf": re.compile(rb"<model\b[^>]*\bunit\s*=\s*[\"'](\w+)[\"']"),
}
"""How a file says its own."""
_UNITS_OF_3MF = {"millimeter": "mm", "centimeter": "cm", "meter": "m", "inch": "inch"}
HEAD_BYTES = 65536
"""Within so many the units stand."""

SMALLEST_M, LARGEST_M = 0.001, 50.0
"""Between these lie the diagonals of what is taken at all; outside, the units must be wrong."""
SEEN_FROM_M, SEEN_TO_M = 0.005, 3.0
"""Between these lie the diagonals of what an RGB-D camera sees whole: 5 mm are 10 pixels at 0.3 m, its shortest range
(600 pixels of focal length); of more than 3 m it sees only a part within the 5 m that it measures well."""


def declared_units(cad: Path) -> str | None:
    """Tell the units that the format of a CAD file prescribes (glTF: metres), or that the file says (COLLADA, 3MF).

    Returns:
        One of UNITS, or None where a file may be in any, or is in some other unit.
    """
    suffix = cad.suffix.lower()
    if suffix in _SAID and cad.is_file():
        return _said_units(cad, suffix)
    return _DECLARED.get(suffix)


def _said_units(cad: Path, suffix: str) -> str | None:
    try:
        if suffix == ".3mf":
            with zipfile.ZipFile(cad) as archive, archive.open("3D/3dmodel.model") as model:
                head = model.read(HEAD_BYTES)
        else:
            with cad.open("rb") as file:
                head = file.read(HEAD_BYTES)
    except (OSError, KeyError, zipfile.BadZipFile):  # its reader says what is wrong with it
        return None
    said = _SAID[suffix].search(head)
    if said is None:
        return "mm" if suffix == ".3mf" else "m"  # what these formats mean by saying nothing
    word = said[1].decode("ascii", "replace")
    if suffix == ".3mf":
        return _UNITS_OF_3MF.get(word)
    return next((name for name, metres in METRES.items() if math.isclose(float(word), metres, rel_tol=1e-3)), None)


def units_of(cad: Path | None, given: str | None) -> str:
    """Choose the units of a CAD file: those given, else those of its format, else mm, as in BOP.

    Raises:
        ValueError: The given ones are unknown.
    """
    if given:
        return checked_units(given)
    return (declared_units(cad) if cad is not None else None) or "mm"


def checked_units(units: object) -> str:
    """Return `units` where they are known.

    Raises:
        ValueError: They are not.
    """
    if units not in METRES:
        raise ValueError(f"units '{units}' are unknown; choose {UNITS_TEXT}")
    return str(units)


def length_text(length_m: float) -> str:
    """A length as a person says it: in mm below one metre, else in m."""
    return f"{length_m * 1000:.3g} mm" if length_m < 0.9995 else f"{length_m:.3g} m"


def size_text(size_m: Sequence[float]) -> str:
    """Three sides of a box as a person says them, such as 80 x 50 x 30 mm."""
    factor, unit = (1000, "mm") if max(size_m) < 1 else (1, "m")
    return " x ".join(f"{round(side * factor, 1):.4g}" if unit == "mm" and side >= 0.01 else f"{side * factor:.3g}"
                      for side in size_m) + f" {unit}"  # fmt: skip


def other_units(diagonal_m: float, units: str) -> str:
    """Which other units would give an object that a camera sees, in words: 'mm (38 mm) or cm (380 mm)'; '' if none."""
    sizes = {name: diagonal_m / METRES[units] * metres for name, metres in METRES.items() if name != units}
    fitting = [f"{name} ({length_text(size)})" for name, size in sizes.items() if SEEN_FROM_M <= size <= SEEN_TO_M]
    return " or ".join([", ".join(fitting[:-1]), fitting[-1]] if len(fitting) > 1 else fitting)


def size_doubt(size_m: Sequence[float], units: str, is_declared: bool = False) -> str | None:
    """Doubt the size of an object that no RGB-D camera sees whole, in half a sentence; None where it is fine.

    Args:
        size_m: Sides of the box around the model, metres.
        units: What its file was read in.
        is_declared: Whether its format prescribes those units.
    """
    diagonal_m = sum(side**2 for side in size_m) ** 0.5
    if SEEN_FROM_M <= diagonal_m <= SEEN_TO_M:
        return None
    what = "too small to be seen" if diagonal_m < SEEN_FROM_M else "too large to be seen whole"
    other = other_units(diagonal_m, units)
    by_standard = ", as its format prescribes" if is_declared else ""
    remedy = f"if its numbers are in {other}, give these units" if other else "check its units and its scale"
    return f"it is {size_text(size_m)} when read in {units}{by_standard}, {what} by an RGB-D camera: {remedy}"
