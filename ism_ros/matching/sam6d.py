"""The matcher of SAM-6D's Instance Segmentation Model (Lin et al., CVPR 2024, section 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor

from ism_ros.matching.base import MatcherSpec, Matches, MatchInputs
from ism_ros.matching.scores.patch_scores import patch_scores_by_template
from ism_ros.matching.scores.similarity import semantic_score
from ism_ros.objects.library import ObjectLibrary


class Sam6dMatcher:
    """Choice of the object by class tokens alone; patch tokens are compared with its best template."""

    def match(self, inputs: MatchInputs) -> Matches:
        """Choose the object whose templates are most similar, for proposals above the confidence threshold.

        Args:
            inputs: At least one proposal and one object.

        Returns:
            The matches.
        """
        return match_sam6d(
            inputs.similarity, inputs.descriptors.patch_tokens, inputs.library, inputs.confidence_threshold
        )

    def final_score(self, matches: Matches, geometric: Tensor, visible_ratio: Tensor, confidence: Tensor) -> Tensor:
        """Average the three scores; the segmentor's confidence is no part of it.

        Args:
            matches: M matches of this matcher.
            geometric: (M,) geometric score in [0, 1].
            visible_ratio: (M,) in [0, 1].
            confidence: Not used.

        Returns:
            (M,) final score in [0, 1].
        """
        return final_score(matches.semantic, matches.appearance, geometric, visible_ratio)


def match_sam6d(
    similarity: Tensor, patch_tokens: Tensor, library: ObjectLibrary, confidence_threshold: float
) -> Matches:
    """Match proposals with objects by class tokens.

    Args:
        similarity: (N, O, T) with `library`'s class tokens.
        patch_tokens: (N, P, C) of the proposals.
        library: The objects.
        confidence_threshold: Semantic scores above it are kept.

    Returns:
        The matches.
    """
    semantic, object_index, template_index = semantic_score(similarity)
    rows = semantic > confidence_threshold
    object_index, template_index = object_index[rows], template_index[rows]
    appearance, visible_ratio = patch_scores_by_template(
        patch_tokens, torch.nonzero(rows)[:, 0], library.chosen_patch_tokens(object_index, template_index)
    )
    return Matches(rows, object_index, template_index, semantic[rows], appearance, visible_ratio)


def final_score(semantic: Tensor, appearance: Tensor, geometric: Tensor, visible_ratio: Tensor) -> Tensor:
    """Combine the scores of SAM-6D (Lin et al., CVPR 2024, section 3.1).

        (semantic + appearance + geometric * visible) / (2 + visible)

    With a visible ratio of 0 (no depth, or templates without poses) it is (semantic + appearance) / 2.

    Args:
        semantic: (N,) in [0, 1].
        appearance: (N,) in [0, 1].
        geometric: (N,) in [0, 1].
        visible_ratio: (N,) in [0, 1].

    Returns:
        (N,) in [0, 1].
    """
    return (semantic + appearance + geometric * visible_ratio) / (2.0 + visible_ratio)


SAM6D = MatcherSpec(Sam6dMatcher())
"""Registry entry `sam6d`."""
