"""Masks as compressed COCO RLE (run lengths), and back."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from ism_ros.data.boxes import mask_to_xywh


def encode_rle(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """Encode one mask as pycocotools does, many times faster for masks that are small in their image.

    Args:
        mask: (H, W) bool.

    Returns:
        {"size": [H, W], "counts": text}, a compressed COCO RLE.
    """
    mask = np.asarray(mask, dtype=bool)
    height, width = mask.shape
    rle = coco_mask.frPyObjects({"size": [height, width], "counts": _run_lengths(mask)}, height, width)
    return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}


def _run_lengths(mask: NDArray[np.bool_]) -> list[int]:
    """Count pixels, column by column, that are 0, then 1, then 0, ...; looks only into the mask's box."""
    height, width = mask.shape
    left, top, box_width, box_height = mask_to_xywh(mask)
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


def decode_rle(rle: dict[str, Any]) -> NDArray[np.bool_]:
    """Decode a compressed COCO RLE.

    Args:
        rle: {"size": [H, W], "counts": text or bytes}.

    Returns:
        (H, W) bool.
    """
    counts = rle["counts"]
    encoded = counts.encode("ascii") if isinstance(counts, str) else counts
    return np.asarray(coco_mask.decode({"size": rle["size"], "counts": encoded}), dtype=bool)
