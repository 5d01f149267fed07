"""The scores of SAM-6D's Instance Segmentation Model (Lin et al., CVPR 2024, section 3.1): pure functions of tensors.

N proposals, O objects, T templates an object, P patches a crop, K points a CAD model. All results are float32 on
the device of the input.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ism_ros.masks import box_iou, boxes_from_masks

VISIBLE_SIMILARITY = 0.5
"""A template patch counts as visible when some patch of the proposal is more similar to it than this."""


LONG_AXIS = 0.15
"""A shape has a long axis when the variances along its axes differ by more than this share of their sum."""


def pairwise_similarity(query: Tensor, templates: Tensor) -> Tensor:
    """Cosines of class tokens, clamped to [0, 1].

    query: (N, D), templates: (O, T, D), of any length -> (N, O, T). A zero row (a template that is only padding)
    has similarity 0.
    """
    query = torch.nn.functional.normalize(query, dim=-1)
    templates = torch.nn.functional.normalize(templates, dim=-1)
    objects, views, size = templates.shape
    return (query @ templates.reshape(objects * views, size).T).reshape(-1, objects, views).clamp(0.0, 1.0)


def semantic_score(pairwise: Tensor, top_k: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    """Which object each proposal looks most like.

    pairwise: (N, O, T) -> semantic score (N,): the mean of the `top_k` best templates of the best object;
    object_index (N,) int64; best_template (N,) int64: the arg-max template of that object. O must be above 0.
    """
    per_object = pairwise.topk(min(top_k, pairwise.shape[2]), dim=2).values.mean(dim=2)
    score, object_index = per_object.max(dim=1)
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


def mean_position_m(masks: Tensor, depth_m: Tensor, intrinsics: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of the back-projected depth inside each mask.

    masks: (N, H, W) bool. depth_m: (H, W) metres, 0 = no reading. intrinsics: (3, 3). Returns the positions (N, 3)
    in the camera frame, NaN where no pixel of the mask has depth, and the number of such pixels (N,) int64.
    """
    height, width = depth_m.shape
    x = (torch.arange(width, device=depth_m.device) - intrinsics[0, 2]) / intrinsics[0, 0] * depth_m
    y = (torch.arange(height, device=depth_m.device)[:, None] - intrinsics[1, 2]) / intrinsics[1, 1] * depth_m
    valid = depth_m > 0
    summands = torch.stack([x, y, depth_m, torch.ones_like(depth_m)], dim=2) * valid[:, :, None]
    if masks.is_cuda:
        total = (masks.flatten(1).float() @ summands.flatten(0, 1)).double()
    else:
        # only the pixels of its box can be in a mask: many times fewer than one product over the image reads
        total = torch.zeros((len(masks), 4), dtype=torch.float64)
        for row, (left, top, right, bottom) in enumerate(boxes_from_masks(masks).tolist()):
            inside = masks[row, top : bottom + 1, left : right + 1]
            total[row] = summands[top : bottom + 1, left : right + 1][inside].sum(dim=0, dtype=torch.float64)
    number = total[:, 3]
    return (total[:, :3] / number[:, None]).float(), number.long()


def project(
    points_m: Tensor, rotation: Tensor, translation_m: Tensor, intrinsics: Tensor, size: tuple[int, int]
) -> Tensor:
    """Pixels of posed points, truncated and clamped to the image.

    points_m: (N, K, 3) object frame, metres. rotation: (N, 3, 3) and translation_m: (N, 3), object-to-camera.
    intrinsics: (3, 3). size: (height, width). Returns uv (N, K, 2) int64, column then row.
    """
    camera = points_m @ rotation.transpose(1, 2) + translation_m[:, None]
    homogeneous = camera @ intrinsics.T
    uv = (homogeneous[..., :2] / homogeneous[..., 2:].clamp(min=1e-6)).nan_to_num(0.0, 0.0, 0.0)
    limit = uv.new_tensor([size[1] - 1, size[0] - 1])
    return torch.minimum(uv.trunc().clamp(min=0), limit).long()


def turn_in_plane(
    rotation: Tensor, masks: Tensor, points_m: Tensor, translation_m: Tensor, intrinsics: Tensor
) -> Tensor:
    """Rotations turned about the optical axis until the long axis of the projected points lies along the mask's.

    rotation: (N, 3, 3) and translation_m: (N, 3), object-to-camera. masks: (N, H, W) bool. points_m: (N, K, 3).
    Returns (N, 3, 3), unchanged where mask or object has no long axis. A turn of 180 degrees cannot be told this
    way and is left as it was. For descriptors that do not see the turn themselves (the reference has no such step).
    """
    camera = points_m @ rotation.transpose(1, 2) + translation_m[:, None]
    homogeneous = camera @ intrinsics.T
    uv = homogeneous[..., :2] / homogeneous[..., 2:].clamp(min=1e-6)
    object_axis, object_length = _long_axis(*_covariance(uv[..., 0], uv[..., 1]))
    mask_axis, mask_length = _long_axis(*_mask_covariance(masks))
    turn = torch.where((object_length > LONG_AXIS) & (mask_length > LONG_AXIS), mask_axis - object_axis, 0.0)
    turn = torch.remainder(turn + torch.pi / 2, torch.pi) - torch.pi / 2
    cos, sin, zero, one = turn.cos(), turn.sin(), torch.zeros_like(turn), torch.ones_like(turn)
    about_z = torch.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one], dim=1).view(-1, 3, 3)
    return about_z @ rotation


def _long_axis(xx: Tensor, xy: Tensor, yy: Tensor) -> tuple[Tensor, Tensor]:
    """Angle of the larger axis of covariances and how much longer it is, 0 (round) to 1 (a line)."""
    return 0.5 * torch.atan2(2 * xy, xx - yy), torch.hypot(xx - yy, 2 * xy) / (xx + yy).clamp(min=1e-9)


def _covariance(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    dx, dy = x - x.mean(dim=1, keepdim=True), y - y.mean(dim=1, keepdim=True)
    return (dx * dx).mean(dim=1), (dx * dy).mean(dim=1), (dy * dy).mean(dim=1)


def _mask_covariance(masks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Second moments of the pixels of each mask, at a stride that keeps the cost down."""
    stride = max(1, min(masks.shape[1:]) // 160)
    weight = masks[:, ::stride, ::stride].float()
    area = weight.sum(dim=(1, 2)).clamp(min=1)
    rows, columns = weight.sum(dim=2), weight.sum(dim=1)
    y = torch.arange(weight.shape[1], device=masks.device).float()
    x = torch.arange(weight.shape[2], device=masks.device).float()
    dy, dx = y - (rows @ y / area)[:, None], x - (columns @ x / area)[:, None]
    xy = ((weight @ dx[:, :, None])[:, :, 0] * dy).sum(dim=1)
    return (columns * dx * dx).sum(dim=1) / area, xy / area, (rows * dy * dy).sum(dim=1) / area


def geometric_score(uv: Tensor, boxes_xyxy: Tensor) -> Tensor:
    """IoU of each proposal's box with the box of its projected CAD points.

    uv: (N, K, 2) int64. boxes_xyxy: (N, 4) int64 -> (N,). One disjoint pair leaves the others as they are.
    """
    return box_iou(torch.cat([uv.amin(dim=1), uv.amax(dim=1)], dim=1), boxes_xyxy)


def final_score(semantic: Tensor, appearance: Tensor, geometric: Tensor, visible_ratio: Tensor) -> Tensor:
    """(semantic + appearance + geometric * visible) / (2 + visible), all (N,).

    With a visible ratio of 0 (no depth, or templates without poses) it is (semantic + appearance) / 2.
    """
    return (semantic + appearance + geometric * visible_ratio) / (2.0 + visible_ratio)
