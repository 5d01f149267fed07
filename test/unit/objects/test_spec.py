"""objects.yaml: what it may say, and what is said when it says something else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ism_ros.objects.spec import (
    CategoryIdTakenError,
    ObjectsFileError,
    ObjectSpec,
    choose_category_id,
    read_objects_file,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("mug.ply", "duck.ply", "drill.glb"):
        (tmp_path / name).write_bytes(b"ply")
    (tmp_path / "views").mkdir()
    return tmp_path


def write(folder: Path, text: str) -> Path:
    file = folder / "objects.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def message(folder: Path, text: str) -> str:
    with pytest.raises(ObjectsFileError) as caught:
        read_objects_file(write(folder, text))
    line = str(caught.value)
    assert "\n" not in line
    assert str(folder / "objects.yaml") in line
    return line


def test_every_field_is_read_and_paths_are_relative_to_the_file(folder: Path) -> None:
    file = write(
        folder, "objects:\n- {id: mug, cad: mug.ply, units: mm}\n- {id: d, templates: views, category_id: 7}\n"
    )
    assert read_objects_file(file) == (
        ObjectSpec("mug", folder / "mug.ply", "mm", None, 1),
        ObjectSpec("d", None, "mm", folder / "views", 7),
    )


def test_an_absolute_path_stays_as_it_is(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("cad") / "mug.ply"
    elsewhere.write_bytes(b"ply")
    (spec,) = read_objects_file(write(folder, f"objects: [{{id: mug, cad: '{elsewhere}', units: m}}]"))
    assert spec.cad == elsewhere


def test_category_is_the_position_from_1_by_default(folder: Path) -> None:
    file = write(folder, "objects:\n- {id: a, cad: mug.ply, units: m}\n- {id: b, cad: duck.ply, units: m}\n")
    assert [spec.category_id for spec in read_objects_file(file)] == [1, 2]


def test_gltf_is_in_metres_without_saying_so(folder: Path) -> None:
    (spec,) = read_objects_file(write(folder, "objects: [{id: drill, cad: drill.glb}]"))
    assert spec.units == "m"


def test_a_number_may_be_an_id(folder: Path) -> None:
    (spec,) = read_objects_file(write(folder, "objects: [{id: 5, cad: mug.ply, units: mm}]"))
    assert spec.id == "5"


def test_the_file_may_not_be_missing(tmp_path: Path) -> None:
    with pytest.raises(ObjectsFileError, match=r"nowhere\.yaml does not exist"):
        read_objects_file(tmp_path / "nowhere.yaml")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ObjectsFileError, match="cannot be read"):
        read_objects_file(tmp_path)


def test_bytes_that_are_no_text(folder: Path) -> None:
    (folder / "objects.yaml").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(ObjectsFileError, match="is not YAML"):
        read_objects_file(folder / "objects.yaml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("# nothing but a comment\n", "is empty"),
        ("objects:\n", "has no objects"),
        ("objects: []\n", "has no objects"),
        ("objects: [{id: mug\n", r"is not YAML: line \d"),
        ("- id: mug\n", "must start with 'objects:'"),
        ("objects: mug\n", "must be a list"),
        ("object: []\n", "'object' is unknown; did you mean 'objects'"),
        ("objects: [mug]\n", "object 1: it must be a mapping"),
        ("objects: [{cad: mug.ply, units: mm}]\n", "object 1: it needs an id"),
        ("objects: [{id: '', cad: mug.ply, units: mm}]\n", "object 1.*needs an id"),
        ("objects: [{id: mug}]\n", r"object 1 \('mug'\): it needs a cad file, a templates folder"),
        ("objects: [{id: mug, cad: cup.ply, units: mm}]\n", r"'mug'\): CAD file .*cup\.ply does not exist"),
        ("objects: [{id: mug, cad: views, units: mm}]\n", "CAD file .*views is not a file"),
        ("objects: [{id: mug, templates: gone}]\n", "template folder .*gone does not exist"),
        ("objects: [{id: mug, cad: mug.ply}]\n", "units are missing: add 'units: mm' or 'units: m'"),
        ("objects: [{id: mug, cad: mug.ply, units: feet}]\n", "units 'feet' are unknown; choose mm, cm, m or inch"),
        ("objects: [{id: mug, cad: mug.ply, unit: mm}]\n", "'unit' is unknown; did you mean 'units'"),
        ("objects: [{id: mug, cad: mug.ply, units: mm, colour: red}]\n", "'colour' is unknown; did you mean 'color'"),
        ("objects: [{id: mug, cad: 3, units: mm}]\n", "cad must be a path, not 3"),
        ("objects: [{id: mug, cad: mug.ply, units: mm, category_id: one}]\n", "category_id must be a whole number"),
        ("objects: [{id: mug, cad: mug.ply, units: mm, category_id: 0}]\n", "category_id must be a whole number"),
        ("objects: [{id: mug, cad: mug.ply, units: mm, category_id: true}]\n", "category_id must be a whole number"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(folder: Path, text: str, said: str) -> None:
    assert re.search(said, message(folder, text))


def test_ids_must_differ(folder: Path) -> None:
    text = "objects:\n- {id: mug, cad: mug.ply, units: mm}\n- {id: mug, cad: duck.ply, units: mm}\n"
    assert "object 2 ('mug'): its id is already that of object 1" in message(folder, text)


def test_category_ids_must_differ_also_from_positions(folder: Path) -> None:
    text = "objects:\n- {id: a, cad: mug.ply, units: mm, category_id: 2}\n- {id: b, cad: duck.ply, units: mm}\n"
    assert "object 2 ('b'): its category_id 2 is already that of 'a'" in message(folder, text)


def test_the_example_file_is_right_but_for_the_cad_model_that_is_the_users(tmp_path: Path) -> None:
    example = (Path(__file__).parents[3] / "config" / "objects.yaml").read_text(encoding="utf-8")
    (tmp_path / "watering_can.ply").write_bytes(b"ply")
    (spec,) = read_objects_file(write(tmp_path, example))
    assert (spec.id, spec.units) == ("watering_can", "mm")


@pytest.mark.parametrize("written", ["000010", "007", "1e3", "1.0", "no", "2024-01-01", "0x1f"])
def test_an_id_is_the_text_that_is_written(folder: Path, written: str) -> None:
    (spec,) = read_objects_file(write(folder, f"objects:\n- {{id: {written}, cad: mug.ply, units: mm}}\n"))
    assert spec.id == written


TAKEN = {1: "mug", 4: "cup"}


@pytest.mark.parametrize(
    ("object_id", "requested", "chosen"),
    [("plate", None, 5), ("plate", 0, 5), ("plate", 2, 2), ("cup", None, 4), ("cup", 7, 7), ("cup", 4, 4)],
)
def test_a_category_is_the_requested_one_or_its_own_or_the_next(
    object_id: str, requested: int | None, chosen: int
) -> None:
    assert choose_category_id(object_id, requested, TAKEN) == chosen


def test_the_category_of_another_object_is_refused() -> None:
    with pytest.raises(CategoryIdTakenError, match="category_id 1 is already that of 'mug'"):
        choose_category_id("plate", 1, TAKEN)


def test_the_first_object_is_of_category_one() -> None:
    assert choose_category_id("mug", None, {}) == 1
