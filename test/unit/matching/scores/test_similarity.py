"""Semantic scores at their edges: padding, few templates, tokens of any length."""

from __future__ import annotations

import numpy as np
import torch

from ism_ros.descriptors.base import Descriptors
from ism_ros.matching.scores import similarity
from ism_ros.objects.known_object import KnownObject
from ism_ros.objects.library import ObjectLibrary
from ism_ros.rendering.views.surface_samples import SurfaceSamples


def test_padding_templates_never_raise_a_score() -> None:
    templates = torch.nn.functional.normalize(torch.rand(1, 6, 8), dim=-1)
    padded = torch.cat([templates, torch.zeros(1, 30, 8)], dim=1)
    query = torch.rand(5, 8)
    plain, _, _ = similarity.semantic_score(similarity.pairwise_similarity(query, templates))
    with_padding, _, _ = similarity.semantic_score(similarity.pairwise_similarity(query, padded))
    torch.testing.assert_close(plain, with_padding)


def test_fewer_templates_than_top_k_are_all_averaged() -> None:
    pairwise = torch.tensor([[[0.2, 0.4, 0.9]]])
    score, _, best_template = similarity.semantic_score(pairwise, top_k=5)
    assert torch.isclose(score[0], torch.tensor(0.5))
    assert best_template.tolist() == [2]


def test_similarity_does_not_depend_on_length() -> None:
    query, templates = torch.rand(4, 8), torch.rand(2, 3, 8)
    torch.testing.assert_close(
        similarity.pairwise_similarity(query * 7.0, templates * 0.3), similarity.pairwise_similarity(query, templates)
    )


def test_objects_without_colors_are_compared_with_crops_in_gray() -> None:
    tokens, in_gray = torch.nn.functional.normalize(torch.rand(2, 4, 8), dim=-1).unbind(dim=0)
    patches = torch.zeros(4, 1, 8)
    library = ObjectLibrary((known("painted", (0.8, 0.1, 0.1)), known("plain", (0.5, 0.5, 0.5))))
    both = Descriptors(tokens, patches, Descriptors(in_gray, patches))
    found = similarity.library_similarity(both, library)
    in_color, gray = (similarity.pairwise_similarity(of, library.class_tokens) for of in (tokens, in_gray))
    torch.testing.assert_close(found[:, 0], in_color[:, 0])
    torch.testing.assert_close(found[:, 1], gray[:, 1])


def known(name: str, color: tuple[float, float, float]) -> KnownObject:
    """An object of one color, with three templates."""
    seed = torch.Generator().manual_seed(len(name))
    tokens = torch.nn.functional.normalize(torch.rand(3, 8, generator=seed), dim=-1)
    points = np.zeros((2, 3), np.float32)
    surface = SurfaceSamples(
        points,
        points,
        np.tile(np.float32(color), (2, 1)),
        0.01,
        np.zeros(3),
        np.zeros((3, 2), np.int64),
        np.zeros((3, 2), bool),
    )
    return KnownObject(name, 1, tokens, torch.zeros(3, 1, 8), surface=surface)
