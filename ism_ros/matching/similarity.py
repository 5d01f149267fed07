"""The scores of SAM-6D's Instance Segmentation Model (Lin et al., CVPR 2024, section 3.1): pure functions of tensors.

N proposals, O objects, T templates an object, P patches a crop, K points a CAD model. All results are float32 on
the device of the input.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ism_ros.data.boxes import box_iou, boxes_from_masks
from ism_ros.data.camera import Camera
from ism_ros.pose.polar_maps import ViewFits

VISIBLE_SIMILARITY = 0.5
"""A template patch counts as visible when some patch of the proposal is more similar to it than this."""

PROPOSALS_A_PIECE = 4
"""So many proposals at once does a thread hold against their common template on the CPU."""

PIXELS_AT_ONCE = 2**24
"""So many pixels of masks are made float32 at once on a GPU."""

OUTLINE_DIRECTIONS = 72
"""In how many directions, over the full circle, outlines are compared."""

TURN_PRICE = 0.02
"""What half a turn must at least gain in the mean squared difference of outlines: round things are not turned."""


@dataclass(frozen=True)
class Matches:
    """The M of N proposals that are scored further, each with its object.

    rows: (N,) bool, which proposals. object_index, template_index: (M,) int64, the object and its best template.
    semantic, appearance, visible_ratio: (M,) float32 in [0, 1]. fit: (M,) float32 in [0, 1], 0 where there is none, and
    view: (M,) int64, the template that fits best; fits: of all the objects that were held against the depth under each
    of the N proposals; None where nobody asked (scoring_metric.py).
    """

    rows: Tensor
    object_index: Tensor
    template_index: Tensor
    semantic: Tensor
    appearance: Tensor
    visible_ratio: Tensor
    fit: Tensor | None = None
    view: Tensor | None = None
    fits: ViewFits | None = None


def pairwise_similarity(query: Tensor, templates: Tensor, *, unit_rows: bool = False) -> Tensor:
    """Cosines of class tokens, clamped to [0, 1].

    query: (N, D), templates: (O, T, D), of any length -> (N, O, T). A zero row (a template that is only padding)
    has similarity 0. unit_rows: the rows of `templates` have length 1 or 0 already, which for a thousand objects
    saves as much time as the comparison takes.
    """
    query = torch.nn.functional.normalize(query, dim=-1)
    if not unit_rows:
        templates = torch.nn.functional.normalize(templates, dim=-1)
    objects, views, size = templates.shape
    return (query @ templates.reshape(objects * views, size).T).reshape(-1, objects, views).clamp_(0.0, 1.0)


def semantic_scores(pairwise: Tensor, top_k: int = 5) -> Tensor:
    """How much each proposal looks like each object: (N, O, T) -> (N, O), the mean of the `top_k` best templates."""
    return pairwise.topk(min(top_k, pairwise.shape[2]), dim=2).values.mean(dim=2)


def semantic_score(pairwise: Tensor, top_k: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    """Which object each proposal looks most like.

    pairwise: (N, O, T) -> semantic score (N,): the mean of the `top_k` best templates of the best object;
    object_index (N,) int64; best_template (N,) int64: the arg-max template of that object. O must be above 0.
    """
    score, object_index = semantic_scores(pairwise, top_k).max(dim=1)
    of_best_object = pairwise[torch.arange(len(pairwise), device=pairwise.device), object_index]
    return score, object_index, of_best_object.argmax(dim=1)


def patch_scores(query_patches: Tensor, template_patches: Tensor, chunk: int = 128) -> tuple[Tensor, Tensor]:
    """Appearance score and visible ratio, each proposal against its own best template.

    query_patches, template_patches: (N, P, C) unit rows, all zero where the patch lies outside the mask.
    Appearance (N,): the best cosine of each valid proposal patch, averaged over them. Visible ratio (N,): the share
    of valid template patches whose best cosine is above VISIBLE_SIMILARITY. Both are 0 where nothing is valid.
    `chunk` proposals are compared at once, which bounds the memory at chunk * P * P floats.
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
    """The same scores, template by template and without copies of all patch tokens.

    query_patches: (N, P, C). selected: (M,) int64, the rows of it to be scored. templates: pairs of patch tokens (P, C)
    and those of 0..M-1, int64, that are held against them; each of 0..M-1 once. Returns appearance and visible ratio,
    (M,) each.

    On the CPU only valid patches are multiplied: those outside the masks are most of the pairs.
    """
    if query_patches.is_cuda:
        return _patch_scores_in_batches(query_patches, selected, templates, chunk)
    queries, query_rows = query_patches.numpy(), selected.numpy()
    appearance, visible = np.zeros((2, len(selected)), np.float32)
    pieces, turn = _pieces(templates), threading.Lock()

    def work() -> None:
        # working memory of one thread: new memory for each product costs as much as the product
        own = np.empty(queries.shape[1:], queries.dtype)
        products = np.empty(queries.shape[1] ** 2, queries.dtype)
        while True:
            with turn:
                piece = next(pieces, None)
            if piece is None:
                return
            template, least, rows = piece
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


def _pieces(
    templates: Iterable[tuple[Tensor, Tensor]],
) -> Iterator[tuple[NDArray[np.float32], float, NDArray[np.int64]]]:
    """Valid patches of a template (V, C), the least similarity to all of its patches, and the rows held against it."""
    for template, rows in templates:
        patches = template.numpy()
        valid = _valid_rows(patches)
        if not len(valid):
            continue
        # an invalid patch of the template is a row of zeros, to which every patch has similarity 0
        least = -1.0 if len(valid) == len(patches) else 0.0
        kept = patches[valid]
        for some in rows.split(PROPOSALS_A_PIECE):
            yield kept, least, some.numpy()


def _valid_rows(patches: NDArray[np.float32]) -> NDArray[np.int64]:
    """Which rows of (P, C) are not all zero."""
    return np.flatnonzero(np.einsum("pc,pc->p", patches, patches))


def _patch_scores_in_batches(
    query_patches: Tensor, selected: Tensor, templates: Iterable[tuple[Tensor, Tensor]], chunk: int
) -> tuple[Tensor, Tensor]:
    appearance, visible = query_patches.new_zeros((2, len(selected)))
    for rows, batch in _batches(templates, chunk):
        appearance[rows], visible[rows] = patch_scores(query_patches[selected[rows]], batch, chunk)
    return appearance, visible


def _batches(templates: Iterable[tuple[Tensor, Tensor]], size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows (n,) and the template of each (n, P, C), about `size` of them at a time."""
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


def mean_position_m(
    masks: Tensor, depth_m: Tensor, camera: Camera, boxes_xyxy: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Mean of the back-projected depth inside each mask.

    masks: (N, H, W) bool. depth_m: (H, W) metres, 0 = no reading, of `camera`. boxes_xyxy: (N, 4) int64, the masks'
    tight boxes where they are known. Returns the positions (N, 3) in the camera frame, NaN where no pixel of
    the mask has depth, and the number of such pixels (N,) int64.
    """
    rows, columns = (torch.arange(side, device=depth_m.device) for side in depth_m.shape)
    valid = depth_m > 0
    positions = camera.back_project(columns, rows[:, None], depth_m)
    if masks.is_cuda:
        return _mean_by_products(masks, torch.cat([positions, valid[:, :, None]], dim=2).flatten(0, 1))
    boxes = boxes_from_masks(masks) if boxes_xyxy is None else boxes_xyxy
    return _mean_inside(masks, valid, positions, boxes)


def _mean_by_products(masks: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Means of the first three of `values` (H * W, 4) by the sum of the last, and that sum; a product of some masks at
    a time, as they are four times as large in float32."""
    at_once = max(1, PIXELS_AT_ONCE // len(values))
    sums = torch.cat([some.flatten(1).float() @ values for some in masks.split(at_once)])
    return sums[:, :3] / sums[:, 3:], sums[:, 3].long()


def _mean_inside(masks: Tensor, valid: Tensor, values: Tensor, boxes_xyxy: Tensor) -> tuple[Tensor, Tensor]:
    """Means of `values` (H, W, 3) over the valid pixels of each mask, and their number; on the CPU, where looking only
    into each mask's box is many times faster than one product over the whole image."""
    mean = np.full((len(masks), 3), np.nan)
    number = np.zeros(len(masks), np.int64)
    inside, readings, images = masks.numpy().view(np.uint8), valid.numpy().view(np.uint8), values.numpy()
    for row, (left, top, right, bottom) in enumerate(boxes_xyxy.tolist()):
        box = slice(top, bottom + 1), slice(left, right + 1)
        pixels = cv2.bitwise_and(inside[row][box], readings[box])
        number[row] = cv2.countNonZero(pixels)
        if number[row]:
            mean[row] = cv2.mean(images[box], pixels)[:3]
    return torch.from_numpy(mean).float(), torch.from_numpy(number)


def projected_boxes(
    points_m: Tensor, rotation: Tensor, translation_m: Tensor, intrinsics: Tensor, size: tuple[int, int]
) -> Tensor:
    """Boxes around the pixels of posed points, which are truncated and clamped to the image: (N, 4) int64.

    points_m: (K, 3), shared by all poses, or (N, K, 3); object frame, metres. rotation: (N, 3, 3) and translation_m:
    (N, 3), object-to-camera. intrinsics: (3, 3). size: (height, width).
    """
    homogeneous = intrinsics @ (rotation @ points_m.transpose(-1, -2) + translation_m[:, :, None])
    uv = (homogeneous[:, :2] / homogeneous[:, 2:].clamp(min=1e-6)).nan_to_num(0.0, 0.0, 0.0)
    limit = uv.new_tensor([size[1] - 1, size[0] - 1])
    # truncating and clamping keep the order of numbers, so only the outermost need it
    ends = [torch.minimum(end.trunc().clamp(min=0), limit) for end in uv.aminmax(dim=2)]
    return torch.cat(ends, dim=1).long()


def outlines(masks: Tensor) -> Tensor:
    """How far each mask reaches in OUTLINE_DIRECTIONS directions from its centroid, relative to the mean: (N, D).

    masks: (N, h, w) bool at any scale and place, crops included.
    """
    return _relative(_reach_of_masks(masks, _directions(masks.device)))


def turn_in_plane(
    rotation: Tensor, outlines: Tensor, points_m: Tensor, translation_m: Tensor, intrinsics: Tensor
) -> Tensor:
    """Rotations turned about the optical axis until the outline of the projected points fits the mask's best.

    rotation: (N, 3, 3) and translation_m: (N, 3), object-to-camera. outlines: (N, D), of the masks. points_m: (K, 3),
    those on the convex hull are enough. Returns (N, 3, 3).

    Turning an outline is shifting its numbers. For descriptors that do not see the turn themselves (the reference has
    no such step).
    """
    step = 2 * torch.pi / OUTLINE_DIRECTIONS
    number = torch.arange(OUTLINE_DIRECTIONS, device=rotation.device)
    # one product for all, coordinate by coordinate: many times faster than point by point
    x, y, z = (intrinsics @ rotation @ points_m.T + intrinsics @ translation_m[:, :, None]).unbind(dim=1)
    middle = translation_m @ intrinsics.T
    middle = middle / middle[:, 2:].clamp(min=1e-6)
    u, v = x / z.clamp(min=1e-6) - middle[:, :1], y / z.clamp(min=1e-6) - middle[:, 1:2]
    ours = _relative(_reach(u, v, _directions(rotation.device)))
    turned = ours[:, (number[None] - number[:, None]) % OUTLINE_DIRECTIONS]
    difference = (turned - outlines[:, None]).square().mean(dim=2)
    angle = torch.minimum(number, OUTLINE_DIRECTIONS - number) * step
    turn = (difference + TURN_PRICE * angle / torch.pi).argmin(dim=1) * step
    cos, sin, zero, one = turn.cos(), turn.sin(), torch.zeros_like(turn), torch.ones_like(turn)
    about_z = torch.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one], dim=1).view(-1, 3, 3)
    return about_z @ rotation


def _directions(device: torch.device) -> Tensor:
    """(2, D): x and y of each direction, over the full circle."""
    angle = torch.arange(OUTLINE_DIRECTIONS, device=device) * (2 * torch.pi / OUTLINE_DIRECTIONS)
    return torch.stack([angle.cos(), angle.sin()])


def _reach(u: Tensor, v: Tensor, directions: Tensor) -> Tensor:
    """How far points (u, v), (N, K) each, reach in each of the `directions` (2, D): (N, D)."""
    return (directions[0][:, None] * u[:, None] + directions[1][:, None] * v[:, None]).amax(dim=2)


def _reach_of_masks(masks: Tensor, directions: Tensor) -> Tensor:
    """The same for masks (N, h, w), from their centroids: of every row the first and the last pixel are looked at."""
    height, width = masks.shape[1:]
    x = torch.arange(width, device=masks.device).float()
    y = torch.arange(height, device=masks.device).float()
    weight = masks.float()
    columns, rows = weight.sum(dim=1), weight.sum(dim=2)
    area = rows.sum(dim=1, keepdim=True).clamp(min=1)
    x_centre, y_centre = (columns @ x)[:, None] / area, (rows @ y)[:, None] / area
    bytes_ = masks.view(torch.uint8)
    first, last = bytes_.argmax(dim=2), width - 1 - bytes_.flip(2).argmax(dim=2)
    # a row without pixels has its ends at the centre, where they reach nowhere
    filled = rows > 0
    ends = [torch.where(filled, end - x_centre + side, 0.0) for end, side in ((first, -0.5), (last, 0.5))]
    across = torch.where(filled, y - y_centre, 0.0)
    return _reach(torch.cat(ends, dim=1), torch.cat([across, across], dim=1), directions)


def _relative(rows: Tensor) -> Tensor:
    return rows / rows.mean(dim=1, keepdim=True).clamp(min=1e-6)


def geometric_score(projected_xyxy: Tensor, boxes_xyxy: Tensor) -> Tensor:
    """IoU of each proposal's box with the box around its projected CAD points.

    projected_xyxy, boxes_xyxy: (N, 4) int64 -> (N,). One disjoint pair leaves the others as they are.
    """
    return box_iou(projected_xyxy, boxes_xyxy)


def final_score(semantic: Tensor, appearance: Tensor, geometric: Tensor, visible_ratio: Tensor) -> Tensor:
    """(semantic + appearance + geometric * visible) / (2 + visible), all (N,).

    With a visible ratio of 0 (no depth, or templates without poses) it is (semantic + appearance) / 2.
    """
    return (semantic + appearance + geometric * visible_ratio) / (2.0 + visible_ratio)
