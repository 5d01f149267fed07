"""Square crops of masked proposals, as descriptors take them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def crop_resize_pad(image: Tensor, masks: Tensor, boxes_xyxy: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Cut masked crops out of images, scale them to one size and pad them to squares.

    The longer side of the box is scaled to `size` (nearest neighbour); the rest is padded with zeros. The last column
    and row of the box are left out, as in the reference (SAM-6D); unlike there every crop is exactly `size` x `size`,
    whatever the box.

    Args:
        image: (C, H, W), shared by all masks, or (N, C, H, W), one image a mask.
        masks: (N, H, W) bool.
        boxes_xyxy: (N, 4) int64, inclusive pixels.
        size: Side of a crop, pixels.

    Returns:
        Crops (N, C, size, size) of the image's dtype, zero outside the mask, and their masks (N, size, size) bool.
    """
    x_source, x_inside = source_pixels(boxes_xyxy[:, 0], boxes_xyxy[:, 2], boxes_xyxy, size)
    y_source, y_inside = source_pixels(boxes_xyxy[:, 1], boxes_xyxy[:, 3], boxes_xyxy, size)
    crop = crop_in_threads if masks.device.type == "cpu" else crop_by_gather
    return crop(image, masks, (x_source, x_inside), (y_source, y_inside))


def crop_in_threads(
    image: Tensor, masks: Tensor, columns: tuple[Tensor, Tensor], rows: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Make crops one by one on the CPU, a part of them on each thread; `crop_by_gather` is shorter to read.

    Every box is masked as it is in the image, and only then enlarged or reduced.

    Args:
        image: (C, H, W) or (N, C, H, W).
        masks: (N, H, W) bool.
        columns: As of `source_pixels`, along x.
        rows: As of `source_pixels`, along y.

    Returns:
        Crops and their masks as of `crop_resize_pad`.
    """
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
    """Yield the image pixels along one axis and their places in the crop, for each row of both (N, size)."""
    first = inside.view(torch.uint8).argmax(dim=1).tolist()
    number = inside.sum(dim=1).tolist()
    for row, start, length in zip(source.numpy(), first, number, strict=True):
        yield row[start : start + length], slice(start, start + length)


def crop_by_gather(
    image: Tensor, masks: Tensor, columns: tuple[Tensor, Tensor], rows: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Make all crops by one gather, on any device; the fast way on a GPU.

    Args:
        image: (C, H, W) or (N, C, H, W).
        masks: (N, H, W) bool.
        columns: As of `source_pixels`, along x.
        rows: As of `source_pixels`, along y.

    Returns:
        Crops and their masks as of `crop_resize_pad`.
    """
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


def source_pixels(first: Tensor, last: Tensor, boxes_xyxy: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Find for each crop pixel along one axis the image pixel that it shows.

    The arithmetic is float32 because that decides which neighbour 'nearest' takes in the reference.

    Args:
        first: (N,) int64, first column or row of each box.
        last: (N,) int64, last column or row.
        boxes_xyxy: (N, 4) int64, the boxes, whose longer side decides the scale.
        size: Side of a crop, pixels.

    Returns:
        (N, size) int64 image pixels, and (N, size) bool, False where the crop is padded.
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
