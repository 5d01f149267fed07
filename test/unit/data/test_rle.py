"""RLE of any mask, there and back, and as pycocotools has it."""

from __future__ import annotations

import pytest

pytest.importorskip("hypothesis", reason="hypothesis is not installed: pip install '.[test]'")

import numpy as np
from hypothesis import given
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco_mask

from ism_ros.data.rle import decode_rle, encode_rle

any_mask = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=24))


@given(any_mask)
def test_rle_round_trip(mask: np.ndarray) -> None:
    rle = encode_rle(mask)
    assert rle["size"] == list(mask.shape)
    assert np.array_equal(decode_rle(rle), mask)


@given(any_mask)
def test_rle_is_that_of_pycocotools(mask: np.ndarray) -> None:
    wanted = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    assert encode_rle(mask) == {"size": wanted["size"], "counts": wanted["counts"].decode("ascii")}
