"""Pixels come out as they are stored, whatever the file says of the way the camera was held."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ism_ros.io.image_decoding import decode_color, decode_unchanged

ORIENTATION = 274
COLORS = np.zeros((40, 60, 3), np.uint8)
COLORS[:20, :30] = (250, 0, 0)
COLORS[20:, 30:] = (0, 250, 0)
DEPTH = (np.arange(40 * 60).reshape(40, 60) + 300).astype(np.uint16)


def stored(image: NDArray[np.generic], kind: str, orientation: int, **options: object) -> NDArray[np.uint8]:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind, exif=exif, **options)
    return np.frombuffer(file.getvalue(), np.uint8)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("kind", "options"), [("JPEG", {"quality": 95}), ("PNG", {}), ("TIFF", {}), ("WEBP", {})])
def test_an_orientation_turns_no_color_image(kind: str, options: dict[str, object], orientation: int) -> None:
    image = decode_color(stored(COLORS, kind, orientation, **options))
    assert image is not None
    assert image.shape == COLORS.shape
    assert np.abs(image[8:16, 8:24].astype(int) - (250, 0, 0)).max() < 40


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("depth", [DEPTH, DEPTH.astype(np.float32)], ids=["uint16", "float32"])
@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_an_orientation_turns_no_depth_in_a_tiff(
    depth: NDArray[np.generic], compression: str | None, orientation: int
) -> None:
    options = {} if compression is None else {"compression": compression}
    image = decode_unchanged(stored(depth, "TIFF", orientation, **options))
    assert image is not None
    np.testing.assert_array_equal(image, depth)


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_an_orientation_turns_no_depth_in_a_png(orientation: int) -> None:
    np.testing.assert_array_equal(decode_unchanged(stored(DEPTH, "PNG", orientation)), DEPTH)


@pytest.mark.parametrize(
    "content", [b"", b"II", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff" + bytes(40), b"II+\0" + b"\xff" * 30]
)
def test_what_is_no_image_gives_none(content: bytes) -> None:
    assert decode_color(np.frombuffer(content, np.uint8)) is None
    assert decode_unchanged(np.frombuffer(content, np.uint8)) is None
