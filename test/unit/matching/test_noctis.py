"""NOCTIS: each score compared with its formula in loops, with known results, and with the public program."""

from __future__ import annotations

import pytest

pytest.importorskip("hypothesis", reason="hypothesis is not installed: pip install '.[test]'")

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from ism_ros.matching import noctis
from ism_ros.matching.scores import patch_scores, similarity

PUBLIC = Path(__file__).parents[2] / "data" / "noctis" / "public.npz"


def unit(rows: Tensor) -> Tensor:
    return torch.nn.functional.normalize(rows, dim=-1)


def crops(seed: int, count: int, side: int, size: int, valid_share: float = 0.7) -> Tensor:
    """Random patch tokens (count, side * side, size), unit, some of them outside the mask."""
    generator = torch.Generator().manual_seed(seed)
    tokens = unit(torch.randn(count, side * side, size, generator=generator) + 0.5)
    return tokens * (torch.rand(count, side * side, 1, generator=generator) < valid_share)


def appearance_by_formula(query: NDArray, template: NDArray, side: int) -> float:
    """Of one proposal's patches (P, C) and one template's (P, C)."""
    cosines = [[float(a @ b) for b in template] for a in query]
    total, valid = 0.0, 0
    for i, row in enumerate(cosines):
        valid += bool(np.any(query[i] != 0))
        there = int(np.argmax(row))
        back = int(np.argmax([other[there] for other in cosines]))
        distance = np.hypot(i // side - back // side, i % side - back % side)
        if row[there] > 0 and distance <= 5 / 16 * side:
            total += row[there]
    return total / valid if valid else 0.0


def semantic_by_formula(similarities: NDArray) -> float:
    """Of one proposal and the templates (T,) of one object."""
    best = sorted((c if c >= 0.2 else 0.0 for c in similarities), reverse=True)[:5]
    return sum(best) / len(best)


class TestAgainstTheFormula:
    @pytest.mark.parametrize("side", [4, 8, 16])
    def test_appearance(self, side: int) -> None:
        query, templates = crops(1, 3, side, 6), crops(2, 4, side, 6, valid_share=0.4)
        expected = [[appearance_by_formula(q, t, side) for t in templates.numpy()] for q in query.numpy()]
        found = noctis.template_appearance(query, templates)
        assert 0.1 < found.mean() < 0.9
        np.testing.assert_allclose(found, expected, atol=1e-5)

    def test_cyclic_distance(self) -> None:
        generator = torch.Generator().manual_seed(3)
        places = torch.stack([torch.randperm(25, generator=generator)[:9].sort().values for _ in range(2)])
        back = torch.randint(0, 9, (2, 3, 9), generator=generator)
        found = noctis.cyclic_distance_squared(back, places, 5)
        for n, t, i in np.ndindex(2, 3, 9):
            start, end = int(places[n, i]), int(places[n, back[n, t, i]])
            assert found[n, t, i] == (start // 5 - end // 5) ** 2 + (start % 5 - end % 5) ** 2

    def test_semantic(self) -> None:
        pairwise = torch.rand(6, 3, 9, generator=torch.Generator().manual_seed(4)) ** 2
        expected = [[semantic_by_formula(o) for o in p] for p in pairwise.numpy()]
        np.testing.assert_allclose(noctis.semantic_scores(pairwise), expected, atol=1e-6)

    def test_final_score(self) -> None:
        semantic, appearance, confidence = torch.rand(3, 50, generator=torch.Generator().manual_seed(5))
        expected = [
            min(1.0, (s + 2 * a) / 2 * c) for s, a, c in zip(semantic, appearance, confidence, strict=True)
        ]  # fmt: skip
        torch.testing.assert_close(
            noctis.final_score(semantic, appearance, confidence), torch.tensor(expected)
        )  # fmt: skip


class TestPublicProgram:
    """test/data/noctis/README.md says how these numbers were made."""

    @pytest.fixture
    def public(self) -> dict[str, Tensor]:
        with np.load(PUBLIC) as stored:
            return {name: torch.from_numpy(stored[name]).float() for name in stored.files}

    def test_semantic_scores(self, public: dict[str, Tensor]) -> None:
        pairwise = similarity.pairwise_similarity(public["query_class"], public["reference_class"])
        torch.testing.assert_close(
            noctis.semantic_scores(pairwise), public["semantic"], atol=1e-5, rtol=0
        )  # fmt: skip

    def test_appearance_of_every_template(self, public: dict[str, Tensor]) -> None:
        query, reference = unit(public["query_patches"]), unit(public["reference_patches"])
        found = noctis.template_appearance(query, reference.flatten(0, 1))
        torch.testing.assert_close(found, public["appearance"].flatten(1), atol=1e-5, rtol=0)
        without_filter = public["appearance_without_cycle"].flatten(1)
        assert (without_filter - found).mean() > 0.05, "the cyclic threshold must matter in these numbers"

    def test_objects_and_final_scores(self, public: dict[str, Tensor]) -> None:
        pairwise = similarity.pairwise_similarity(public["query_class"], public["reference_class"])
        semantic = noctis.semantic_scores(pairwise)
        objects = public["reference_class"].shape[:2]
        appearance, _ = noctis.candidate_appearance(
            unit(public["query_patches"]),
            torch.ones(semantic.shape, dtype=torch.bool),
            [objects[1]] * objects[0],
            gather(unit(public["reference_patches"])),
        )
        score = noctis.match_score(semantic, appearance)
        assert torch.equal(score.argmax(dim=1), public["object_index"].long())
        best = score.argmax(dim=1, keepdim=True)
        final = noctis.final_score(
            semantic.gather(1, best)[:, 0], appearance.gather(1, best)[:, 0], public["confidence"]
        )
        torch.testing.assert_close(final, public["score"], atol=1e-5, rtol=0)


class TestCyclicThreshold:
    def test_a_crop_compared_with_itself_keeps_all_its_patches(self) -> None:
        tokens = crops(6, 2, 16, 32)
        found = noctis.template_appearance(tokens, tokens)
        torch.testing.assert_close(found.diagonal(), torch.ones(2))

    def test_patches_in_other_positions_still_lead_back(self) -> None:
        tokens = crops(7, 1, 16, 32, valid_share=1.0)
        shuffled = tokens[:, torch.randperm(256, generator=torch.Generator().manual_seed(8))]
        torch.testing.assert_close(noctis.template_appearance(tokens, shuffled), torch.ones(1, 1))

    def test_one_patch_everywhere_counts_only_near_the_first(self) -> None:
        """All come back to the upper left corner: kept is a quarter of a disc of radius 5."""
        same = torch.zeros(1, 256, 3)
        same[..., 0] = 1.0
        near = sum(row * row + column * column <= 25 for row in range(16) for column in range(16))
        found = noctis.template_appearance(same, same)
        torch.testing.assert_close(found, torch.tensor([[near / 256]]))
        appearance, _ = patch_scores.patch_scores(same, same)
        assert appearance.tolist() == [1.0]

    @pytest.mark.parametrize(
        ("row", "column", "kept"), [(0, 5, True), (3, 4, True), (5, 0, True), (0, 6, False), (4, 4, False)]
    )
    def test_five_patches_away_counts_and_farther_does_not(self, row: int, column: int, kept: bool) -> None:
        query = torch.zeros(1, 256, 2)
        query[0, 0] = torch.tensor([1.0, 0.0])
        query[0, 16 * row + column] = torch.tensor([0.8, 0.6])
        template = torch.zeros(1, 256, 2)
        template[0, 100] = torch.tensor([1.0, 0.0])
        expected = (1.0 + (0.8 if kept else 0.0)) / 2
        assert noctis.template_appearance(query, template).item() == pytest.approx(expected)

    def test_the_distance_grows_with_the_grid(self) -> None:
        query, template = torch.zeros(1, 64, 2), torch.zeros(1, 64, 2)
        query[0, [0, 2]] = torch.tensor([[1.0, 0.0], [0.8, 0.6]])
        template[0, 0, 0] = 1.0
        assert noctis.template_appearance(query, template).item() == pytest.approx(0.9)
        query[0, [2, 3]] = query[0, [3, 2]]
        assert noctis.template_appearance(query, template).item() == pytest.approx(0.5)

    def test_a_grid_that_is_not_square_is_refused(self) -> None:
        with pytest.raises(ValueError, match="there are 12"):
            noctis.template_appearance(torch.rand(1, 12, 3), torch.rand(1, 12, 3))


def gather(patches: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """What ObjectLibrary.patch_tokens_of does, for objects with patches (O, T, P, C)."""
    return lambda object_index, template_index: patches[object_index, template_index]


class TestCandidates:
    def test_every_object_has_its_best_template(self) -> None:
        query, objects = crops(9, 5, 8, 6), crops(10, 12, 8, 6).unflatten(0, (3, 4))
        everyone = torch.ones(5, 3, dtype=torch.bool)
        appearance, template = noctis.candidate_appearance(query, everyone, [4, 4, 4], gather(objects))
        expected = noctis.template_appearance(query, objects.flatten(0, 1)).unflatten(1, (3, 4)).max(dim=2)
        torch.testing.assert_close(appearance, expected.values)
        assert torch.equal(template, expected.indices)

    def test_an_object_that_is_no_candidate_costs_nothing_and_has_no_appearance(self) -> None:
        query, objects = crops(9, 2, 8, 6), crops(10, 8, 8, 6).unflatten(0, (2, 4))
        asked: list[int] = []

        def tokens_of(object_index: Tensor, template_index: Tensor) -> Tensor:
            asked.extend(object_index.tolist())
            return objects[object_index, template_index]

        candidates = torch.tensor([[True, False], [False, False]])
        appearance, _ = noctis.candidate_appearance(query, candidates, [4, 4], tokens_of)
        assert set(asked) == {0}
        assert torch.equal(appearance > 0, candidates)

    def test_objects_may_have_few_templates(self) -> None:
        query, objects = crops(9, 4, 8, 6), crops(10, 8, 8, 6).unflatten(0, (2, 4))
        everyone = torch.ones(4, 2, dtype=torch.bool)
        _, template = noctis.candidate_appearance(query, everyone, [1, 2], gather(objects))
        assert template.amax(dim=0).tolist() <= [0, 1]

    @pytest.mark.parametrize("at_once", [1, 4 * 64 * 64, 3 * 4 * 64 * 64])
    def test_how_many_are_compared_at_once_changes_nothing(self, at_once: int) -> None:
        query, objects = crops(11, 7, 8, 6), crops(12, 8, 8, 6).unflatten(0, (2, 4))
        everyone = torch.ones(7, 2, dtype=torch.bool)
        whole = noctis.candidate_appearance(query, everyone, [4, 4], gather(objects))
        parts = noctis.candidate_appearance(query, everyone, [4, 4], gather(objects), at_once)
        torch.testing.assert_close(parts[0], whole[0])
        assert torch.equal(parts[1], whole[1])

    def test_no_proposals_give_no_scores(self) -> None:
        nobody = torch.zeros(0, 2, dtype=torch.bool)
        appearance, template = noctis.candidate_appearance(
            torch.zeros(0, 64, 6), nobody, [4, 4], gather(crops(12, 8, 8, 6).unflatten(0, (2, 4)))
        )
        assert appearance.shape == template.shape == (0, 2)
        assert noctis.semantic_scores(torch.zeros(0, 2, 4)).shape == (0, 2)


@pytest.mark.parametrize(("query_valid", "template_valid"), [(0.0, 0.0), (0.0, 1.0), (1.0, 0.0)])
def test_nothing_valid_is_zero(query_valid: float, template_valid: float) -> None:
    found = noctis.template_appearance(crops(1, 2, 4, 3, query_valid), crops(2, 3, 4, 3, template_valid))
    assert torch.equal(found, torch.zeros(2, 3))


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**31), valid=st.floats(0.0, 1.0), side=st.integers(1, 6))
def test_scores_are_between_0_and_1_and_at_most_those_without_the_filter(seed: int, valid: float, side: int) -> None:
    query, template = crops(seed, 3, side, 4, valid), crops(seed + 1, 3, side, 4)
    found = noctis.template_appearance(query, template)
    assert ((found >= 0) & (found <= 1)).all()
    best = torch.einsum("npc,trc->ntpr", query, template).amax(dim=3).clamp(min=0)
    without_filter = best.sum(dim=2) / (query.abs().sum(dim=2) > 0).sum(dim=1, keepdim=True).clamp(min=1)
    assert (found <= without_filter + 1e-5).all()
    final = noctis.final_score(torch.rand(3), found.diagonal(), torch.rand(3))
    assert ((final >= 0) & (final <= 1)).all()


def test_half_precision_changes_little() -> None:
    query, templates = crops(1, 3, 16, 64), crops(2, 4, 16, 64)
    exact = noctis.template_appearance(query, query)
    half = noctis.template_appearance(query.bfloat16(), query.bfloat16())
    assert half.dtype == torch.float32
    torch.testing.assert_close(half.diagonal(), exact.diagonal(), atol=0.01, rtol=0)
    assert noctis.template_appearance(query, templates.half()).dtype == torch.float32
