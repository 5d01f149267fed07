"""Similarity of class tokens: the semantic score of SAM-6D (Lin et al., CVPR 2024, section 3.1).

N proposals, O objects, T templates an object. All results are float32 on the device of the input.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ism_ros.descriptors.base import Descriptors
from ism_ros.objects.library import ObjectLibrary

TOP_TEMPLATES = 5
"""Number of an object's best templates that are averaged in the semantic score."""


def pairwise_similarity(query: Tensor, templates: Tensor, *, unit_rows: bool = False) -> Tensor:
    """Compute cosines of class tokens.

    Args:
        query: (N, D) class tokens, of any length.
        templates: (O, T, D), of any length; a zero row (padding) has similarity 0.
        unit_rows: The rows of `templates` have length 1 or 0 already, which for a thousand objects saves as much time
            as the comparison takes.

    Returns:
        (N, O, T) in [0, 1]; negative cosines are 0.
    """
    query = torch.nn.functional.normalize(query, dim=-1)
    if not unit_rows:
        templates = torch.nn.functional.normalize(templates, dim=-1)
    objects, views, size = templates.shape
    return (query @ templates.reshape(objects * views, size).T).reshape(-1, objects, views).clamp_(0.0, 1.0)


def library_similarity(descriptors: Descriptors, library: ObjectLibrary) -> Tensor:
    """Compute cosines of the class tokens of crops and templates, in gray for objects without colors.

    Args:
        descriptors: Of N crops.
        library: O objects.

    Returns:
        (N, O, T), as `pairwise_similarity`.
    """
    templates = library.class_tokens
    similarity = pairwise_similarity(descriptors.class_tokens, templates, unit_rows=True)
    if descriptors.in_gray is not None:
        columns = torch.nonzero(library.is_colorless)[:, 0]
        in_gray = descriptors.in_gray.class_tokens
        similarity[:, columns] = pairwise_similarity(in_gray, templates[columns], unit_rows=True)
    return similarity


def semantic_scores(pairwise: Tensor, top_k: int = TOP_TEMPLATES) -> Tensor:
    """Average the similarities of the best templates of each object.

    Args:
        pairwise: (N, O, T) cosines of class tokens.
        top_k: Number of templates that are averaged.

    Returns:
        (N, O).
    """
    return pairwise.topk(min(top_k, pairwise.shape[2]), dim=2).values.mean(dim=2)


def semantic_score(pairwise: Tensor, top_k: int = TOP_TEMPLATES) -> tuple[Tensor, Tensor, Tensor]:
    """Find the object that each proposal is most similar to.

    Args:
        pairwise: (N, O, T), O > 0.
        top_k: Templates that are averaged.

    Returns:
        Semantic score (N,), the mean of the `top_k` best templates of the best object; its index (N,) int64; and its
        best template (N,) int64.
    """
    score, object_index = semantic_scores(pairwise, top_k).max(dim=1)
    of_best_object = pairwise[torch.arange(len(pairwise), device=pairwise.device), object_index]
    return score, object_index, of_best_object.argmax(dim=1)
