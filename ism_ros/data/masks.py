"""Boxes, crops, filters, non-maximum suppression and RLE of instance masks: pure functions on tensors.

Boxes are (x_first, y_first, x_last, y_last), the first and last column and row of the mask, both inclusive. Areas
and overlaps of boxes are taken between these numbers as they are, which is what the reference does.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from torch import Tensor

MIN_BOX_SIDE = 0.05
"""Side of the smallest square box that counts as a proposal, as a share of the image's side."""
MIN_MASK_AREA = 3e-4
"""Area of the smallest mask that counts as a proposal, as a share of the image's."""
NMS_BLOCK = 1024
"""So many boxes at a time are held against the kept ones in non-maximum suppression."""


def boxes_from_masks(masks: Tensor) -> Tensor:
    """Tight boxes of masks (N, H, W) bool -> (N, 4) int64; an empty mask has the box (0, 0, 0, 0)."""
    count, height, width = masks.shape
    if count == 0 or height == 0 or width == 0:
        return torch.zeros((count, 4), dtype=torch.int64, device=masks.device)
    columns = _any_along(masks, 1)
    rows = _any_along(masks, 2)
    filled = columns.any(dim=1)
    x_first = columns.to(torch.uint8).argmax(dim=1)
    y_first = rows.to(torch.uint8).argmax(dim=1)
    x_last = width - 1 - columns.flip(1).to(torch.uint8).argmax(dim=1)
    y_last = height - 1 - rows.flip(1).to(torch.uint8).argmax(dim=1)
    return torch.stack([x_first, y_first, x_last, y_last], dim=1) * filled[:, None]


def _any_along(masks: Tensor, dim: int) -> Tensor:
    """masks.any(dim), by a maximum over bytes, which the CPU does several times faster than a boolean any."""
    return masks.view(torch.uint8).amax(dim=dim).bool()


def box_area(boxes_xyxy: Tensor) -> Tensor:
    """(N, 4) -> (N,), square pixels."""
    return (boxes_xyxy[..., 2] - boxes_xyxy[..., 0]) * (boxes_xyxy[..., 3] - boxes_xyxy[..., 1])


def box_iou(first_xyxy: Tensor, second_xyxy: Tensor) -> Tensor:
    """Intersection over union of boxes that broadcast, (..., 4) with (..., 4) -> (...) float32; 0 if both are empty."""
    first, second = first_xyxy.float(), second_xyxy.float()
    top_left = torch.maximum(first[..., :2], second[..., :2])
    bottom_right = torch.minimum(first[..., 2:], second[..., 2:])
    intersection = (bottom_right - top_left).clamp(min=0).prod(dim=-1)
    union = box_area(first) + box_area(second) - intersection
    return torch.where(union > 0, intersection / union.clamp(min=1e-9), torch.zeros_like(union))


def crop_resize_pad(image: Tensor, masks: Tensor, boxes_xyxy: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Masked crops, the longer side of the box scaled to `size` (nearest), padded with zeros to a square.

    image: (C, H, W), shared by all masks, or (N, C, H, W), one image a mask. masks: (N, H, W) bool. boxes_xyxy:
    (N, 4) int64. Returns crops (N, C, size, size) of the image's dtype, zero outside the mask, and their masks
    (N, size, size) bool. The last column and row of the box are left out, as in the reference; unlike there every
    crop is exactly `size` x `size`, whatever the box.
    """
    x_source, x_inside = _source_pixels(boxes_xyxy[:, 0], boxes_xyxy[:, 2], boxes_xyxy, size)
    y_source, y_inside = _source_pixels(boxes_xyxy[:, 1], boxes_xyxy[:, 3], boxes_xyxy, size)
    if masks.device.type == "cpu":
        return _crop_one_by_one(image, masks, (x_source, x_inside), (y_source, y_inside))
    return _crop_all_at_once(image, masks, (x_source, x_inside), (y_source, y_inside))


def _crop_one_by_one(
    image: Tensor, masks: Tensor, columns: tuple[Tensor, Tensor], rows: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """On the CPU: every box is masked as it is in the image, and only then enlarged or reduced; a part of the boxes on
    each thread."""
    count, size = columns[0].shape
    crops = torch.empty((count, image.shape[-3], size, size), dtype=image.dtype)
    crop_masks = torch.empty((count, size, size), dtype=torch.bool)
    images, sources, targets, target_masks = image.numpy(), masks.numpy(), crops.numpy(), crop_masks.numpy()
    boxes = list(zip(_inside(*columns), _inside(*rows), strict=True))
    threads = torch.get_num_threads()

    def work(first: int) -> None:
        # all boxes of a thread share its working memory: new memory costs more than what is done in it
        masked = np.empty(image.shape[-3:].numel(), targets.dtype)
        picked = np.empty(size * size, targets.dtype)
        picked_mask = np.empty(size * size, bool)
        for index in range(first, count, threads):
            (x_source, x_target), (y_source, y_target) = boxes[index]
            left, top, right, bottom = x_source[0], y_source[0], x_source[-1] + 1, y_source[-1] + 1
            picture = (images if images.ndim == 3 else images[index])[:, top:bottom, left:right]
            mask = np.ascontiguousarray(sources[index, top:bottom, left:right])
            inside = masked[: picture.size].reshape(picture.shape)
            np.multiply(picture, mask.astype(picture.dtype), out=inside)
            pixels = (y_source - top)[:, None] * (right - left) + (x_source - left)
            for target, source, memory in (
                (targets[index], inside, picked),
                (target_masks[index][None], mask[None], picked_mask),
            ):
                target[:, : y_target.start] = 0
                target[:, y_target.stop :] = 0
                target[:, :, : x_target.start] = 0
                target[:, :, x_target.stop :] = 0
                for plane, plane_target in zip(source, target, strict=True):
                    found = memory[: pixels.size].reshape(pixels.shape)
                    np.take(plane.reshape(-1), pixels, out=found, mode="clip")
                    plane_target[y_target, x_target] = found

    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(work, first) for first in range(min(threads, count))]:
            done.result()
    return crops, crop_masks


def _inside(source: Tensor, inside: Tensor) -> Iterator[tuple[NDArray[np.int64], slice]]:
    """Of each crop (a row of source and inside, (N, size)): the image pixels along one axis, and where they go."""
    first = inside.view(torch.uint8).argmax(dim=1).tolist()
    number = inside.sum(dim=1).tolist()
    for row, start, length in zip(source.numpy(), first, number, strict=True):
        yield row[start : start + length], slice(start, start + length)


def _crop_all_at_once(
    image: Tensor, masks: Tensor, columns: tuple[Tensor, Tensor], rows: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """On a GPU: one gather for all crops."""
    (x_source, x_inside), (y_source, y_inside) = columns, rows
    count, height, width = masks.shape
    pixel = (y_source * width)[:, :, None] + x_source[:, None, :]
    first = torch.arange(count, device=masks.device)[:, None, None] * (height * width)
    crop_masks = masks.flatten().index_select(0, (pixel + first).flatten()).view(pixel.shape)
    crop_masks &= y_inside[:, :, None] & x_inside[:, None, :]
    # pixel by pixel, all channels at once, is several times faster than channel by channel
    if image.ndim == 3:
        pixels = image.flatten(1).T.index_select(0, pixel.flatten())
    else:
        pixels = image.transpose(0, 1).flatten(1).T.index_select(0, (pixel + first).flatten())
    crops = pixels.view(*pixel.shape, image.shape[-3]).permute(0, 3, 1, 2).contiguous()
    return crops * crop_masks[:, None], crop_masks


def _source_pixels(first: Tensor, last: Tensor, boxes_xyxy: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """For each of `size` crop pixels along one axis: the image pixel that it shows and whether that is in the box.

    Both (N, size). The arithmetic is float32 because that decides which neighbour 'nearest' takes in the reference.
    """
    length = (last - first).clamp(min=1)
    longer = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).amax(dim=1).clamp(min=1)
    scale = (torch.tensor(float(size), device=first.device) / longer.float()).double()
    scaled_length = torch.floor(length.double() * scale).long().clamp(1, size)
    # rounding can leave the longer side one pixel short; the reference pads it, but cannot stack a square crop
    square = boxes_xyxy[:, 2] - boxes_xyxy[:, 0] == boxes_xyxy[:, 3] - boxes_xyxy[:, 1]
    scaled_length = torch.where(square, torch.full_like(scaled_length, size), scaled_length)
    padding = (size - scaled_length) // 2
    position = torch.arange(size, device=first.device)[None] - padding[:, None]
    step = (1.0 / scale).float()[:, None]
    offset = torch.floor(position.clamp(min=0).float() * step).long()
    offset = torch.minimum(offset, length[:, None] - 1)
    return first[:, None] + offset, (position >= 0) & (position < scaled_length[:, None])


def large_enough(
    masks: Tensor,
    boxes_xyxy: Tensor,
    min_box_side: float = MIN_BOX_SIDE,
    min_mask_area: float = MIN_MASK_AREA,
    areas: Tensor | None = None,
) -> Tensor:
    """Which proposals are not tiny, (N,) bool: shares as of MIN_BOX_SIDE and MIN_MASK_AREA. areas: mask_areas(masks),
    where that is known already."""
    image_area = masks.shape[1] * masks.shape[2]
    box_share = box_area(boxes_xyxy).float() / image_area
    mask_share = (mask_areas(masks) if areas is None else areas).float() / image_area
    return (box_share > min_box_side**2) & (mask_share > min_mask_area)


def mask_areas(masks: Tensor) -> Tensor:
    """Pixels of each mask: (N, H, W) bool -> (N,) int64."""
    flat = masks.flatten(1)
    if masks.is_cuda:
        return flat.sum(dim=1, dtype=torch.int64)
    # PyTorch widens booleans one by one. Eight of them read as one integer can be added together a hundred times
    # faster, as long as none of the eight bytes overflows: so at most 128 integers at a time.
    if missing := -flat.shape[1] % 1024:
        flat = torch.nn.functional.pad(flat, (0, missing))
    flat = flat.contiguous()
    packed = flat.view(torch.int64).view(len(flat), flat.shape[1] // 1024, 128)
    return packed.sum(dim=2).view(torch.uint8).sum(dim=1, dtype=torch.int64)


def nms(
    boxes_xyxy: Tensor,
    scores: Tensor,
    iou_threshold: float,
    group: Tensor | None = None,
    max_kept: int | None = None,
) -> Tensor:
    """Greedy non-maximum suppression: kept indices (K,) int64, best score first.

    boxes_xyxy: (N, 4). scores: (N,). group: (N,) int64, boxes suppress only boxes of their own group (the object),
    None = one group. A box is dropped when it overlaps a kept better one by more than `iou_threshold`. max_kept: the
    best so many of those kept, None = all. Memory grows with N x NMS_BLOCK, not with N x N.
    """
    order = torch.argsort(scores, descending=True, stable=True)
    kept = order[:0]
    for block in order.split(NMS_BLOCK):
        free = block[~_overlapping(kept, block, boxes_xyxy, iou_threshold, group).any(dim=0)]
        kept = torch.cat([kept, free[_greedy(_overlapping(free, free, boxes_xyxy, iou_threshold, group))]])
        if max_kept is not None and len(kept) >= max_kept:
            return kept[:max_kept]
    return kept


def _overlapping(
    first: Tensor, second: Tensor, boxes_xyxy: Tensor, iou_threshold: float, group: Tensor | None
) -> Tensor:
    """Which boxes of one group overlap too much: indices (A,) and (B,) -> (A, B) bool."""
    overlapping = box_iou(boxes_xyxy[first][:, None], boxes_xyxy[second][None]) > iou_threshold
    if group is not None:
        overlapping &= group[first][:, None] == group[second][None]
    return overlapping


def mask_nms(masks: Tensor, order: Tensor, iou_threshold: float) -> Tensor:
    """Greedy suppression by mask overlap: those of `order` that are kept, (K,) int64.

    masks: (N, H, W) bool. order: (M,) int64, rows of `masks`, best first. A mask is dropped when its IoU with a kept
    better one is above `iou_threshold`. Overlaps are taken on every second to fourth pixel of large images, which is
    enough to tell two instances apart.
    """
    stride = max(1, min(masks.shape[1:]) // 120)
    pixels = _every_so_many(masks, stride)[order].flatten(1)
    intersection = pixels @ pixels.T
    area = pixels.sum(dim=1)
    union = area[:, None] + area[None] - intersection
    return order[_greedy(intersection > iou_threshold * union)]


def _every_so_many(masks: Tensor, stride: int) -> Tensor:
    """Every `stride`-th pixel of masks (N, H, W) bool, float32; on the CPU by NumPy, twice as fast on strides."""
    if masks.is_cuda:
        return masks[:, ::stride, ::stride].float()
    return torch.from_numpy(masks.numpy()[:, ::stride, ::stride].astype(np.float32))


def _greedy(suppresses: Tensor) -> Tensor:
    """Rows left when each of them, from the first on, drops the later ones it suppresses: (N, N) bool -> (K,) int64.

    All rows are decided at once, again and again until nothing changes: after k rounds what hangs on a chain of k
    suppressions is right, and chains are short.
    """
    later = suppresses.triu(1).float()
    alive = later.new_ones(len(later))
    while True:
        decided = ((alive @ later) == 0).float()
        if torch.equal(decided, alive):
            return torch.nonzero(alive)[:, 0]
        alive = decided


def encode_rle(mask: np.ndarray) -> dict[str, Any]:
    """Compressed COCO RLE of one mask (H, W) bool: {"size": [H, W], "counts": text}."""
    mask = np.asarray(mask, dtype=bool)
    height, width = mask.shape
    rle = coco_mask.frPyObjects({"size": [height, width], "counts": _run_lengths(mask)}, height, width)
    return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}


def _run_lengths(mask: np.ndarray) -> list[int]:
    """Pixels, column by column, that are 0, then 1, then 0, ...; looks only into the mask's box."""
    height, width = mask.shape
    left, top, box_width, box_height = mask_box(mask)
    if not box_width:
        return [height * width]
    # one empty pixel below each column of the box ends its last run, one above the first column begins its first
    pixels = np.zeros(1 + box_width * (box_height + 1), dtype=np.uint8)
    columns = pixels[1:].reshape(box_width, box_height + 1)[:, :-1]
    columns[:] = cv2.transpose(mask.view(np.uint8)[top : top + box_height, left : left + box_width])
    changes = np.flatnonzero(pixels[1:] != pixels[:-1])
    column, row = np.divmod(changes, box_height + 1)
    starts, ends = ((left + column) * height + top + row).reshape(-1, 2).T
    # a run that goes on at the top of the next column is one run
    apart = starts[1:] != ends[:-1]
    starts, ends = np.append(starts[:1], starts[1:][apart]), np.append(ends[:-1][apart], ends[-1:])
    lengths = np.diff(np.stack([starts, ends], axis=1).ravel(), prepend=0, append=height * width).tolist()
    return lengths[:-1] if len(lengths) > 1 and lengths[-1] == 0 else lengths


def mask_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, width, height of a mask (H, W) bool, pixels; all 0 where it is empty."""
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    return left, top, width, height


def decode_rle(rle: dict[str, Any]) -> np.ndarray:
    """The mask (H, W) bool of a compressed COCO RLE."""
    counts = rle["counts"]
    encoded = counts.encode("ascii") if isinstance(counts, str) else counts
    return np.asarray(coco_mask.decode({"size": rle["size"], "counts": encoded}), dtype=bool)
