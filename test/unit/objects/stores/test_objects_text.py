"""An objects file changes where an object comes or goes, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from ism_ros.objects.spec import ObjectsFileError, ObjectSpec, parse_objects
from ism_ros.objects.stores.objects_text import EMPTY, Changes, changed_text, rewritten_text

FILE = Path("/cell/objects.yaml")
TEXT = """# bin 4
objects:
  # the blue one
  - {id: mug, cad: models/mug.ply, units: mm}   # since May
  - id: duck
    cad: duck.glb  # glTF

  # spare
  - id: drill
    cad: drill.ply
    units: m
# the end
"""
CUP = ObjectSpec("cup", Path("/cell/models/cup.ply"), "mm", None, 9)


def changed(text: str, changes: Changes) -> str:
    result = changed_text(text, FILE, changes)
    assert result is not None
    return result


def numbers(text: str) -> dict[str, int]:
    return {spec.id: spec.category_id for spec in parse_objects(text, FILE, check_files=False, may_be_empty=True)}


def test_an_added_object_is_one_more_line_and_nothing_else_changes() -> None:
    line = "  - {id: cup, cad: models/cup.ply, units: mm, category_id: 9}\n"
    assert changed(TEXT, {"cup": CUP}) == TEXT.replace("# the end", line + "# the end")


def test_a_removed_object_takes_only_its_own_lines_along() -> None:
    assert changed(TEXT, {"drill": None}) == TEXT.replace("  - id: drill\n    cad: drill.ply\n    units: m\n", "")


def test_objects_behind_a_removed_one_keep_the_number_they_had_by_position() -> None:
    result = changed(TEXT, {"mug": None})
    assert numbers(result) == {"duck": 2, "drill": 3}
    assert "    cad: duck.glb  # glTF\n    category_id: 2\n" in result


def test_a_replaced_object_stays_in_its_place() -> None:
    result = changed(TEXT, {"duck": ObjectSpec("duck", Path("/elsewhere/d.stl"), "m", Path("/cell/views"), 2)})
    assert list(numbers(result)) == ["mug", "duck", "drill"]
    assert "  - {id: duck, cad: /elsewhere/d.stl, units: m, templates: views, category_id: 2}\n" in result


@pytest.mark.parametrize(
    "text",
    [EMPTY, "objects: []\n", "objects: [{id: mug, cad: m.ply, units: mm}]", "objects:\n- id: mug\n  cad: m.glb"],
)
def test_every_usual_form_of_a_list_takes_another_object_and_gives_it_back(text: str) -> None:
    with_cup = changed(text, {"cup": CUP})
    assert numbers(with_cup)["cup"] == 9
    assert numbers(changed(with_cup, {"cup": None})) == numbers(text)


def test_the_last_object_leaves_an_empty_list() -> None:
    result = changed(TEXT, {"mug": None, "duck": None, "drill": None})
    assert numbers(result) == {}
    assert "# bin 4" in result


@pytest.mark.parametrize("name", ["a: b", "- x", "'", "#1", "ä ö", "5", "yes", '"'])
def test_any_name_is_written_so_that_it_is_read_again(name: str) -> None:
    assert name in numbers(changed(TEXT, {name: ObjectSpec(name, Path("/x/y.ply"), "mm", None, 9)}))


def test_a_number_that_another_object_has_is_refused() -> None:
    with pytest.raises(ObjectsFileError, match="category_id 2 is already that of 'duck'"):
        changed_text(TEXT, FILE, {"cup": ObjectSpec("cup", Path("/x/y.ply"), "mm", None, 2)})


def test_a_text_that_is_cut_short_is_refused() -> None:
    with pytest.raises(ObjectsFileError, match="not YAML"):
        changed_text(TEXT[: TEXT.index("mug.ply")], FILE, {"cup": CUP})


def test_a_form_that_cannot_be_edited_is_not_tried_and_can_be_written_anew() -> None:
    text = "objects: [{id: mug, cad: m.ply, units: mm}, # blue\n {id: duck, cad: d.glb}]\n"
    assert changed_text(text, FILE, {"cup": CUP}) is None
    assert numbers(rewritten_text(text, FILE, {"cup": CUP})) == {"mug": 1, "duck": 2, "cup": 9}
