"""Conversions between encodings."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from .encodings import NUMPY_NAMES, Encoding, parse

Image = np.ndarray[Any, Any]

# In ROS a Bayer pattern is named by the first two pixels of the first two rows, in OpenCV by the
# second two pixels of the second and third: RGGB here is BG there.
_BAYER_IN_OPENCV = {"bayer_rggb": "BayerBG", "bayer_bggr": "BayerRG", "bayer_gbrg": "BayerGR", "bayer_grbg": "BayerGB"}
_COLORS = {"mono": "GRAY", "rgb": "RGB", "bgr": "BGR", "rgba": "RGBA", "bgra": "BGRA"}
_YUV = {"uyvy": "UYVY", "yuyv": "YUY2", "nv12": "NV12", "nv21": "NV21"}


def conversion_code(source: str, target: str) -> int | None:
    """OpenCV's code from one color layout to another, or None where it has none."""
    if source in _YUV:
        if source in ("nv12", "nv21") and target == "mono":
            name = "YUV2GRAY_420"
        else:
            name = f"YUV2{_COLORS.get(target)}_{_YUV[source]}"
    elif source in _BAYER_IN_OPENCV and target in ("mono", "rgb", "bgr"):
        name = f"{_BAYER_IN_OPENCV[source]}2{_COLORS[target]}"
    else:
        name = f"{_COLORS.get(source)}2{_COLORS.get(target)}"
    code = getattr(cv2, f"COLOR_{name}", None)
    return None if code is None else int(code)


def convert_depth(image: Image, source: Encoding, target: Encoding) -> Image:
    """Change the type of the numbers; the full range of 8 bit becomes that of 16 bit and back."""
    dtype = np.dtype(NUMPY_NAMES[target.depth])
    if image.dtype == dtype:
        return image
    if source.depth[:-1] == "8" and target.depth[:-1] == "16":
        scale = 65535.0 / 255.0
    elif source.depth[:-1] == "16" and target.depth[:-1] == "8":
        scale = 255.0 / 65535.0
    else:
        scale = 1.0
    if dtype.kind == "f":
        return image.astype(dtype) * dtype.type(scale)
    limits = np.iinfo(dtype)
    with np.errstate(invalid="ignore"):
        return np.clip(np.rint(image * np.float64(scale)), limits.min, limits.max).astype(dtype)


def cvtColor2(image: Image, encoding_in: str, encoding_out: str) -> Image:  # noqa: N802
    """A copy of an image in another encoding; RuntimeError where that makes no sense.

    Between color layouts the colors are converted. To or from an encoding without colors (8UC3, 32FC1)
    only the type of the numbers changes, and the number of channels must be the same.
    """
    if encoding_out in ("", encoding_in):
        return image.copy()
    source, target = parse(encoding_in), parse(encoding_out)
    if source.layout is None and target.layout is not None:
        raise RuntimeError(f"[{encoding_in}] has no colors, so it cannot become [{encoding_out}]")
    if source.layout is None or target.layout is None or source.layout == target.layout:
        if source.channels != target.channels:
            raise RuntimeError(f"[{encoding_in}] and [{encoding_out}] differ in their number of channels")
        converted = convert_depth(image, source, target)
        return converted.copy() if converted is image else converted
    code = conversion_code(source.layout, target.layout)
    if code is None:
        raise RuntimeError(f"Unsupported conversion from [{encoding_in}] to [{encoding_out}]")
    return convert_depth(cv2.cvtColor(image, code), source, target)


def label_colors(labels: Image) -> Image:
    """A bright color (BGR) for every label, far from those of the labels next to it."""
    hue = (np.mod(labels.astype(np.int64) * 137.508, 360.0) / 2.0).astype(np.uint8)
    full = np.full_like(hue, 255)
    return cv2.cvtColor(np.dstack([hue, full, full]), cv2.COLOR_HSV2BGR)


def scaled_for_display(image: Image, lowest: float, highest: float, colormap: int) -> tuple[Image, str]:
    """An image with its values between two limits spread over 8 bit, and its encoding."""
    with np.errstate(invalid="ignore"):
        spread = np.clip(np.rint((image.astype(np.float64) - lowest) * (255.0 / (highest - lowest))), 0, 255)
    gray = np.nan_to_num(spread).astype(np.uint8)
    if colormap == -1:
        return gray, "mono8"
    colored = cv2.applyColorMap(gray, colormap)
    if image.dtype.kind == "f":
        colored[np.isnan(image)] = 0
    return colored, "bgr8"


def cvtColorForDisplay(  # noqa: N802
    source: Image,
    encoding_in: str,
    encoding_out: str,
    do_dynamic_scaling: bool = False,
    min_image_value: float = 0.0,
    max_image_value: float = 0.0,
    colormap: int = -1,
) -> Image:
    """An 8 bit image of anything, for people to look at.

    Labels (32SC1) get a color each, background (-1) black. Other values are spread between the two
    limits, between those found in the image (`do_dynamic_scaling`), or converted as cvtColor2 does when
    the limits are equal.
    """
    wanted = encoding_out or "bgr8"
    target = parse(wanted)
    if target.depth != "8U" or target.layout not in _COLORS:
        raise RuntimeError(f"cvtColorForDisplay needs an 8 bit color or gray output, not [{encoding_out}]")
    if encoding_in == "32SC1" and wanted == "bgr8":
        colors = label_colors(source)
        colors[source == -1] = 0
        return colors
    if do_dynamic_scaling:
        finite = source[np.isfinite(source)]
        min_image_value, max_image_value = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
        if min_image_value == max_image_value:
            shape = source.shape[:2] if target.channels == 1 else (*source.shape[:2], target.channels)
            return np.full(shape, 127, np.uint8)
    if min_image_value != max_image_value:
        if parse(encoding_in).channels != 1:
            raise RuntimeError("cvtColorForDisplay scales images of one channel only")
        shown, encoding = scaled_for_display(source, min_image_value, max_image_value, colormap)
        return cvtColor2(shown, encoding, wanted)
    guesses = {"8UC1": "mono8", "16UC1": "mono16", "8UC3": "bgr8", "8UC4": "bgra8", "16UC3": "bgr16", "16UC4": "bgra16"}
    return cvtColor2(source, guesses.get(encoding_in, encoding_in), wanted)
