"""The library of known objects never changes; a change makes a new one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from scipy.spatial.transform import Rotation

from ism_ros.objects.known_object import KnownObject
from ism_ros.objects.library import ObjectLibrary


def known(name: str, templates: int = 4, *, rotations: bool = True) -> KnownObject:
    return KnownObject(
        id=name,
        category_id=len(name),
        class_tokens=torch.rand(templates, 8),
        patch_tokens=torch.rand(templates, 6, 5),
        rotations=torch.eye(3).expand(templates, 3, 3) if rotations else None,
        points_m=torch.rand(10, 3),
    )


def test_adding_replacing_and_removing_make_new_libraries() -> None:
    empty = ObjectLibrary()
    one = empty.with_object(known("mug"))
    two = one.with_object(known("duck"))
    replaced = two.with_object(known("mug", templates=6))
    without = replaced.without("duck")
    assert [library.ids for library in (empty, one, two, replaced, without)] == [
        (), ("mug",), ("mug", "duck"), ("mug", "duck"), ("mug",)
    ]  # fmt: skip
    assert [library.version for library in (empty, one, two, replaced, without)] == [0, 1, 2, 3, 4]
    assert without.objects[0].template_count == 6


def test_objects_with_fewer_templates_are_padded_with_zero_rows() -> None:
    library = ObjectLibrary((known("mug", 3), known("duck", 5)))
    assert library.class_tokens.shape == (2, 5, 8)
    assert library.class_tokens[0, 3:].abs().sum() == 0


def test_patch_tokens_of_the_chosen_templates_are_gathered() -> None:
    library = ObjectLibrary((known("mug", 3), known("duck", 5)))
    gathered = library.patch_tokens_of(torch.tensor([1, 0, 1]), torch.tensor([4, 2, 0]))
    for row, (index, template) in enumerate([(1, 4), (0, 2), (1, 0)]):
        assert torch.equal(gathered[row], library.objects[index].patch_tokens[template])


def test_templates_without_poses_have_no_rotation() -> None:
    library = ObjectLibrary((known("mug"), known("duck", rotations=False)))
    rotations = library.rotations_of(torch.tensor([0, 1]), torch.tensor([0, 0]))
    assert torch.equal(rotations[0], torch.eye(3))
    assert torch.isnan(rotations[1]).all()


def test_the_nearest_template_shows_an_object_from_where_the_camera_sees_it() -> None:
    turns = Rotation.from_euler("yz", [[0, 0], [90, 0], [180, 0], [90, 90]], degrees=True)
    views = torch.from_numpy(turns.as_matrix()).float()
    posed = replace(known("mug"), rotations=views)
    library = ObjectLibrary((replace(known("cup", 2), rotations=views[:2]), posed, known("duck", rotations=False)))
    # a turn about the viewing direction shows the same side
    seen = torch.from_numpy(
        (Rotation.from_euler("z", [[40], [-120], [0]], degrees=True) * turns[[2, 1, 0]]).as_matrix()
    )
    nearest = library.nearest_templates(torch.tensor([1, 0, 2]), seen.float())
    assert nearest.tolist() == [2, 1, -1]


def test_ids_must_differ() -> None:
    with pytest.raises(ValueError, match="must differ"):
        ObjectLibrary((known("mug"), known("mug")))


@pytest.mark.parametrize("act", [lambda library: library.without("cup"), lambda library: library.subset(["cup"])])
def test_an_unknown_id_is_told_with_those_there_are(act: object) -> None:
    with pytest.raises(KeyError, match="mug"):
        act(ObjectLibrary((known("mug"),)))  # type: ignore[operator]


def test_a_subset_keeps_only_what_is_asked_for() -> None:
    library = ObjectLibrary((known("mug"), known("duck"), known("gear")))
    assert library.subset(["gear", "mug"]).ids == ("mug", "gear")


def test_a_subset_compares_with_the_same_numbers_and_copies_no_patch_tokens() -> None:
    library = ObjectLibrary((known("mug", 3), known("duck", 5), known("gear", rotations=False)))
    subset = library.subset(["gear", "mug"])
    assert torch.equal(subset.class_tokens, library.class_tokens[[0, 2]])
    assert [one is other for one, other in zip(subset.objects, library.objects[::2], strict=True)] == [True, True]
    chosen = torch.tensor([1, 0]), torch.tensor([2, 1])
    whole = torch.tensor([2, 0]), torch.tensor([2, 1])
    torch.testing.assert_close(subset.rotations_of(*chosen), library.rotations_of(*whole), equal_nan=True)
    assert torch.equal(subset.patch_tokens_of(*chosen), library.patch_tokens_of(*whole))


def test_a_subset_of_a_subset_and_a_change_of_one() -> None:
    library = ObjectLibrary((known("mug"), known("duck"), known("gear")))
    inner = library.subset(["gear", "duck"]).subset(["gear"])
    assert torch.equal(inner.class_tokens[0], library.class_tokens[2])
    grown = inner.with_object(known("cup"))
    assert grown.class_tokens.shape == (2, 4, 8)


def test_all_of_a_library_is_the_library_itself() -> None:
    library = ObjectLibrary((known("mug"), known("duck")))
    assert library.subset(["duck", "mug", "duck"]) is library


def test_class_tokens_are_made_unit_rows_once() -> None:
    torch.testing.assert_close(ObjectLibrary((known("mug"),)).class_tokens.norm(dim=2), torch.ones(1, 4))
