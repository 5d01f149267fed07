"""Units of CAD files: those given, those of the file, or millimetres."""

from __future__ import annotations

from pathlib import Path

import pytest

from ism_ros.cad.units import known_units, resolve_units


@pytest.mark.parametrize(
    ("name", "given", "units"),
    [
        ("a.ply", None, "mm"),
        ("a.ply", "", "mm"),
        ("a.ply", "cm", "cm"),
        ("a.glb", None, "m"),
        ("a.GLTF", None, "m"),
        ("a.glb", "mm", "mm"),
    ],
)
def test_units_that_are_not_given_are_those_of_the_format(name: str, given: str | None, units: str) -> None:
    assert resolve_units(Path(name), given) == units


def test_templates_without_a_cad_file_are_in_millimetres() -> None:
    assert resolve_units(None, None) == "mm"


@pytest.mark.parametrize(
    ("name", "given", "units"), [("a.ply", None, None), ("a.ply", "inch", "inch"), ("a.glb", None, "m")]
)
def test_units_that_nobody_says_are_not_known(name: str, given: str | None, units: str | None) -> None:
    assert known_units(Path(name), given) == units


def test_other_units_are_refused() -> None:
    for choose in (resolve_units, known_units):
        with pytest.raises(ValueError, match="units 'yard' are unknown; choose mm, cm, m or inch"):
            choose(Path("a.ply"), "yard")
