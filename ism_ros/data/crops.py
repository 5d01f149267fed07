"""Square crops of masked proposals, as descriptors take them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ism_ros.runtime.compilation import compiled, is_compiled_for
from ism_ros.runtime.threads import map_on_shares

MEDIAN_STRIDE = 4
"""Stride of the pixels whose median is the distance of a crop."""
NEAR = 0.6
"""Distance to the median, in sides of the crop, within which readings count for the mean."""


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
    # both axes in one go
    first, last = boxes_xyxy[:, :2].T.flatten(), boxes_xyxy[:, 2:].T.flatten()
    source, inside = (part.chunk(2) for part in source_pixels(first, last, boxes_xyxy.repeat(2, 1), size))
    crop = crop_by_loops if is_compiled_for(masks) else crop_by_gather
    return crop(image, masks, (source[0], inside[0]), (source[1], inside[1]))


def crop_scales(boxes_xyxy: Tensor, size: int) -> Tensor:
    """Compute how many pixels of its crop a pixel of the image becomes.

    Args:
        boxes_xyxy: (N, 4) int64, inclusive pixels.
        size: Side of a crop, pixels.

    Returns:
        (N,) float32.
    """
    longer = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).amax(dim=1).clamp(min=1)
    return torch.tensor(float(size), device=boxes_xyxy.device) / longer.float()


def relative_depth_px(depth_m: Tensor, crop_masks: Tensor, focal_px: Tensor) -> Tensor:
    """Compute how far what crops show lies behind its mean, in pixels of the crop.

    A metre is as many pixels as it covers at the median distance, so that neither the distance nor the size of a thing
    matters. Masks may hold some of what is far behind: the mean is that of what is near the median.

    Args:
        depth_m: (N, S, S) float32 depth of the crops, metres, 0 = no reading.
        crop_masks: (N, S, S) bool.
        focal_px: (N,) focal length in pixels of the crop.

    Returns:
        (N, S, S) float32 pixels; NaN without a reading and outside the mask.
    """
    readings = torch.where(crop_masks & (depth_m > 0), depth_m, torch.nan)
    distance_m = _median_of_readings(readings)
    return _behind_mean(readings, distance_m, focal_px / distance_m)


def centred_depth_px(depth: Tensor, scale: Tensor) -> Tensor:
    """Compute how far depth lies behind its mean, as `relative_depth_px` does, where it is in pixels already.

    Args:
        depth: (N, S, S) float32 pixels up to a constant, NaN without a reading.
        scale: (N,) pixels of the crop each of them becomes.

    Returns:
        (N, S, S) float32 pixels of the crop, NaN without a reading.
    """
    return _behind_mean(depth, _median_of_readings(depth), scale)


def _median_of_readings(readings: Tensor) -> Tensor:
    """Median of each crop (N,), at every fourth pixel of every fourth row; the mean where those have no reading."""
    some = readings[:, ::MEDIAN_STRIDE, ::MEDIAN_STRIDE].flatten(1).nanmedian(dim=1).values
    return torch.where(some.isnan(), readings.flatten(1).nanmean(dim=1), some)


def _behind_mean(readings: Tensor, median: Tensor, scale: Tensor) -> Tensor:
    """How far readings lie behind the mean of those near their median; `scale` (N,) are pixels a unit of theirs."""
    behind = (readings - median[:, None, None]) * scale[:, None, None]
    near = torch.where(behind.abs() < NEAR * readings.shape[-1], behind, torch.nan)
    return behind - near.flatten(1).nanmean(dim=1)[:, None, None]


def crop_by_loops(
    image: Tensor, masks: Tensor, columns: tuple[Tensor, Tensor], rows: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Make crops on the CPU, some of them on each thread of the caller.

    Args:
        image: (C, H, W) or (N, C, H, W).
        masks: (N, H, W) bool.
        columns: As of `source_pixels`, along x.
        rows: As of `source_pixels`, along y.

    Returns:
        Crops and their masks as of `crop_resize_pad`.
    """
    count, size = columns[0].shape
    crops = torch.zeros((count, image.shape[-3], size, size), dtype=image.dtype)
    crop_masks = torch.zeros((count, size, size), dtype=torch.bool)
    images = image.contiguous().view(-1, *image.shape[-3:]).numpy()
    arrays = [part.contiguous().numpy() for part in (masks, *columns, *rows, crops, crop_masks)]

    def fill(first: int, last: int) -> None:
        _fill_crops(images if len(images) == 1 else images[first:last], *(array[first:last] for array in arrays))

    map_on_shares(fill, torch.get_num_threads(), count)
    return crops, crop_masks


@compiled
def _fill_crops(
    images: NDArray[Any],
    masks: NDArray[np.bool_],
    x_source: NDArray[np.int64],
    x_inside: NDArray[np.bool_],
    y_source: NDArray[np.int64],
    y_inside: NDArray[np.bool_],
    crops: NDArray[Any],
    crop_masks: NDArray[np.bool_],
) -> None:
    """Fill crops and their masks, which are 0 everywhere; of one image, or an image each."""
    size = crops.shape[2]
    for n in range(len(crops)):
        image = images[n % len(images)]
        for y in range(size):
            if y_inside[n, y]:
                row = y_source[n, y]
                for x in range(size):
                    crop_masks[n, y, x] = x_inside[n, x] and masks[n, row, x_source[n, x]]
                for c in range(crops.shape[1]):
                    for x in range(size):
                        if crop_masks[n, y, x]:
                            crops[n, c, y, x] = image[c, row, x_source[n, x]]


def compile_loops() -> None:
    """Have all that is compiled for the CPU ready, so that no frame waits for it: at the first start some seconds."""
    boxes_xyxy = torch.zeros((1, 4), dtype=torch.int64)
    crop_resize_pad(torch.zeros(3, 2, 2), torch.ones((1, 2, 2), dtype=torch.bool), boxes_xyxy, 2)


def crop_by_gather(
    image: Tensor, masks: Tensor, columns: tuple[Tensor, Tensor], rows: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Make all crops by one gather, on any device; the fast way on a GPU, and on a CPU without Numba.

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
    scale = crop_scales(boxes_xyxy, size).double()
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
