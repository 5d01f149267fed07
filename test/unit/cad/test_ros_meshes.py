"""The mesh formats of ROS packages and of 3D printing: COLLADA and 3MF, with the units and colors that they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trimesh

from ism_ros.cad.mesh_loading import CadError, read_cad
from ism_ros.cad.surfaces import surface_of
from ism_ros.cad.units import declared_units, resolve_units


def box_file(folder: Path, name: str) -> Path:
    """A box of 80 x 50 x 30 units, of one color."""
    box = trimesh.creation.box((80, 50, 30))
    box.visual = trimesh.visual.TextureVisuals(
        material=trimesh.visual.material.PBRMaterial(baseColorFactor=[200, 100, 50, 255])
    )
    file = folder / name
    box.export(file)
    return file


@pytest.mark.parametrize(
    ("meter", "units"),
    [("0.001", "mm"), ("0.01", "cm"), ("1", "m"), ("1.0", "m"), ("0.0254", "inch"), ("0.3048", None)],
)
def test_the_units_of_a_collada_file_are_those_it_says(tmp_path: Path, meter: str, units: str | None) -> None:
    file = tmp_path / "box.dae"
    file.write_text(f'<COLLADA><asset><unit name="any" meter="{meter}"/></asset></COLLADA>')
    assert declared_units(file) == units


def test_a_collada_file_that_says_no_units_is_in_metres(tmp_path: Path) -> None:
    file = tmp_path / "box.dae"
    file.write_text("<COLLADA><asset/></COLLADA>")
    assert declared_units(file) == "m"


@pytest.mark.parametrize("name", ["box.dae", "box.3mf"])
def test_a_box_has_its_size_whatever_the_format(tmp_path: Path, name: str) -> None:
    file = box_file(tmp_path, name)
    units = resolve_units(file, None)
    assert units == {"box.dae": "m", "box.3mf": "mm"}[name]
    mesh = read_cad(file, "mm").mesh
    np.testing.assert_allclose(sorted(mesh.extents), [0.03, 0.05, 0.08], rtol=1e-4)


def test_a_collada_material_keeps_its_color(tmp_path: Path) -> None:
    surface = surface_of(read_cad(box_file(tmp_path, "box.dae"), "mm").mesh)
    assert surface.texture is None
    np.testing.assert_allclose(surface.colors.reshape(-1, 3), np.tile([200, 100, 50], (36, 1)), atol=2)


@pytest.mark.parametrize(("name", "why"), [("part.step", "holds solids"), ("scene.blend", "file of a program")])
def test_files_of_cad_programs_are_told_from_meshes(tmp_path: Path, name: str, why: str) -> None:
    (tmp_path / name).write_text("ISO-10303-21;")
    with pytest.raises(CadError, match=f"{why}.*export it from"):
        read_cad(tmp_path / name, "mm")
