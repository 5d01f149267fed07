"""Similarity of patch tokens: the appearance score and visible ratio of SAM-6D (Lin et al., CVPR 2024, section 3.1).

N proposals, P patches a crop. All results are float32 on the device of the input.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

VISIBLE_SIMILARITY = 0.5
"""Least similarity of a template patch to some patch of the proposal at which it counts as visible."""

PROPOSALS_PER_TASK = 4
"""Proposals that a thread compares with their common template at once, on the CPU."""


def patch_scores(query_patches: Tensor, template_patches: Tensor, chunk: int = 128) -> tuple[Tensor, Tensor]:
    """Compare each proposal with its own best template.

    Args:
        query_patches: (N, P, C) unit rows, all zero where the patch lies outside the mask.
        template_patches: (N, P, C), likewise, of each proposal's template.
        chunk: Proposals compared at once, which bounds the memory at chunk * P * P floats.

    Returns:
        Appearance score (N,), the best cosine of each valid patch of the proposal, averaged over them; and visible
        ratio (N,), the fraction of valid template patches whose best cosine is above VISIBLE_SIMILARITY. Both are 0
        where no patch is valid.
    """
    appearance, visible = [query_patches.new_zeros(0)], [query_patches.new_zeros(0)]
    for query, template in zip(query_patches.split(chunk), template_patches.split(chunk), strict=True):
        similarity = query @ template.transpose(1, 2)
        query_valid = query.abs().sum(dim=2) > 0
        template_valid = template.abs().sum(dim=2) > 0
        best_of_query = similarity.amax(dim=2) * query_valid
        appearance.append((best_of_query.sum(dim=1) / query_valid.sum(dim=1).clamp(min=1)).clamp(0.0, 1.0))
        matched = (similarity.amax(dim=1) > VISIBLE_SIMILARITY) & template_valid
        visible.append(matched.sum(dim=1) / template_valid.sum(dim=1).clamp(min=1))
    return torch.cat(appearance), torch.cat(visible)


def patch_scores_by_template(
    query_patches: Tensor, selected: Tensor, templates: Iterable[tuple[Tensor, Tensor]], chunk: int = 128
) -> tuple[Tensor, Tensor]:
    """Compute the scores of `patch_scores` template by template, without copies of all patch tokens.

    On the CPU only valid patches are multiplied: those outside the masks are most of the pairs.

    Args:
        query_patches: (N, P, C) unit rows, all zero where the patch lies outside the mask.
        selected: (M,) int64, rows of `query_patches` that are scored.
        templates: Pairs of a template's patch tokens (P, C) and the int64 indices into `selected` that are compared
            with them; each index of 0..M-1 occurs once.
        chunk: Proposals compared at once on a GPU.

    Returns:
        Appearance score and visible ratio, (M,) each.
    """
    if query_patches.is_cuda:
        return _patch_scores_in_batches(query_patches, selected, templates, chunk)
    queries, query_rows = query_patches.numpy(), selected.numpy()
    appearance, visible = np.zeros((2, len(selected)), np.float32)
    tasks, lock = _tasks(templates), threading.Lock()

    def work() -> None:
        # working memory of one thread: new memory for each product costs as much as the product
        own = np.empty(queries.shape[1:], queries.dtype)
        products = np.empty(queries.shape[1] ** 2, queries.dtype)
        while True:
            with lock:
                task = next(tasks, None)
            if task is None:
                return
            template, least, rows = task
            for row in rows:
                query = queries[query_rows[row]]
                valid = _valid_rows(query)
                if not len(valid):
                    continue
                np.take(query, valid, axis=0, out=own[: len(valid)], mode="clip")
                similarity = products[: len(valid) * len(template)].reshape(len(valid), len(template))
                np.matmul(own[: len(valid)], template.T, out=similarity)
                best = np.maximum(similarity.max(axis=1), least)
                appearance[row] = min(max(best.mean(), 0.0), 1.0)
                visible[row] = (similarity.max(axis=0) > VISIBLE_SIMILARITY).mean()

    # a thread for each product is faster than all threads in one: products are small, and most of the time is memory's
    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        for done in [threads.submit(work) for _ in range(torch.get_num_threads())]:
            done.result()
    return torch.from_numpy(appearance), torch.from_numpy(visible)


def _tasks(
    templates: Iterable[tuple[Tensor, Tensor]],
) -> Iterator[tuple[NDArray[np.float32], float, NDArray[np.int64]]]:
    """Yield valid patches of a template (V, C), a lower bound of the similarities, and the rows compared with it."""
    for template, rows in templates:
        patches = template.numpy()
        valid = _valid_rows(patches)
        if not len(valid):
            continue
        # an invalid patch of the template is a row of zeros, to which every patch has similarity 0
        least = -1.0 if len(valid) == len(patches) else 0.0
        kept = patches[valid]
        for some in rows.split(PROPOSALS_PER_TASK):
            yield kept, least, some.numpy()


def _valid_rows(patches: NDArray[np.float32]) -> NDArray[np.int64]:
    """Find the rows of (P, C) that are not all zero."""
    return np.flatnonzero(np.einsum("pc,pc->p", patches, patches))


def _patch_scores_in_batches(
    query_patches: Tensor, selected: Tensor, templates: Iterable[tuple[Tensor, Tensor]], chunk: int
) -> tuple[Tensor, Tensor]:
    appearance, visible = query_patches.new_zeros((2, len(selected)))
    for rows, batch in _batches(templates, chunk):
        appearance[rows], visible[rows] = patch_scores(query_patches[selected[rows]], batch, chunk)
    return appearance, visible


def _batches(templates: Iterable[tuple[Tensor, Tensor]], size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield rows (n,) and the template of each (n, P, C), about `size` of them at a time."""
    rows: list[Tensor] = []
    batch: list[Tensor] = []
    for template, of_template in templates:
        for some in of_template.split(size):
            if batch and sum(map(len, rows)) + len(some) > size:
                yield torch.cat(rows), torch.cat(batch)
                rows, batch = [], []
            rows.append(some)
            batch.append(template.expand(len(some), -1, -1))
    if batch:
        yield torch.cat(rows), torch.cat(batch)
