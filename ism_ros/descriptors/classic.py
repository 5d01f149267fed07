"""A descriptor made by hand from colour and gradient statistics. It needs no weights.

Chroma is taken relative to brightness, so that shading and exposure change little; histograms are compared by the
Bhattacharyya coefficient, which is the cosine of their square roots.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from ism_ros.descriptors import Descriptors, concatenated

CHROMA_BINS = 7
LIGHTNESS_BINS = 5
COLOUR_BINS = CHROMA_BINS * CHROMA_BINS * LIGHTNESS_BINS
ORIENTATION_BINS = 8


@dataclass(frozen=True)
class BlockWeights:
    """How much each part counts in the cosine of two class tokens (the first five) or patch tokens (the last three).

    Each of the two sets sums to 1.
    """

    colour: float = 0.25
    rings: float = 0.10
    layout: float = 0.40
    texture: float = 0.05
    shape: float = 0.20
    patch_colour: float = 0.65
    patch_texture: float = 0.05
    patch_place: float = 0.30


class ClassicDescriptor:
    """Colour and gradient statistics of a crop, on an 8 x 8 grid of patches and as a whole."""

    name = "classic"
    fingerprint = "classic-8"
    crop_size = 64
    turns_with_camera = False
    view_weight = 0.0
    grid = 8
    min_coverage = 0.2

    def __init__(self, device: str = "cpu", weights: BlockWeights | None = None, chunk: int = 64) -> None:
        self._device = device
        self._weights = weights or BlockWeights()
        self._chunk = chunk

    def describe(self, crops: Tensor, crop_masks: Tensor) -> Descriptors:
        """crops (N, 3, 64, 64) float32 in [0, 1], crop_masks (N, 64, 64) bool -> class and patch tokens."""
        return concatenated(
            [
                self._describe_chunk(crop.to(self._device), mask.to(self._device))
                for crop, mask in zip(crops.split(self._chunk), crop_masks.split(self._chunk), strict=True)
            ]
        )

    def describe_templates(self, crops: Tensor, crop_masks: Tensor) -> Descriptors:
        """The same: templates are looked at as proposals are."""
        return self.describe(crops, crop_masks)

    def _describe_chunk(self, crops: Tensor, masks: Tensor) -> Descriptors:
        weights, grid = self._weights, self.grid
        opponent, lightness = chroma(crops)
        colour = colour_histograms(opponent, lightness, masks, grid)
        # every second pixel is enough for texture and layout
        coarse = masks[:, ::2, ::2]
        orientation = orientation_histograms(crops[:, :, ::2, ::2], coarse, grid)
        layout = upright_layout(opponent[:, :, ::2, ::2], lightness[:, ::2, ::2], coarse)
        coverage = avg_pool2d(masks[:, None].float(), self.crop_size // grid)[:, 0].flatten(1)
        inner = ring_weights(masks, grid)

        whole_colour = colour.sum(dim=1)
        inner_colour = (colour * inner[:, :, None]).sum(dim=1)
        rings = torch.cat([inner_colour, whole_colour - inner_colour], dim=1).clamp(min=0)
        class_tokens = torch.cat(
            [
                weighted(root(whole_colour), weights.colour),
                weighted(root(rings), weights.rings),
                weighted(layout, weights.layout),
                weighted(texture(orientation.sum(dim=1), coarse.flatten(1).sum(dim=1)), weights.texture),
                weighted(coverage - coverage.mean(dim=1, keepdim=True), weights.shape),
            ],
            dim=1,
        )

        place = patch_places(masks, grid)
        pixels = coverage * (self.crop_size // (2 * grid)) ** 2
        patch_tokens = torch.cat(
            [
                weighted(root(colour), weights.patch_colour),
                weighted(texture(orientation, pixels), weights.patch_texture),
                weighted(place, weights.patch_place),
            ],
            dim=2,
        )
        valid = coverage > self.min_coverage
        return Descriptors(unit(class_tokens), unit(patch_tokens) * valid[:, :, None])


def weighted(block: Tensor, weight: float) -> Tensor:
    """A block scaled so that it gives `weight` times its own cosine to the cosine of the concatenation."""
    return unit(block) * weight**0.5


def unit(rows: Tensor) -> Tensor:
    """Rows of length 1; zero rows stay zero. (On the CPU many times faster than torch's own normalize.)"""
    return rows * (rows * rows).sum(dim=-1, keepdim=True).clamp(min=1e-12).rsqrt()


def root(histogram: Tensor) -> Tensor:
    """Square root of histograms, whose cosine is the Bhattacharyya coefficient. (torch's is slow for zeros.)"""
    return histogram * histogram.clamp(min=1e-12).rsqrt()


def blur_bins(histogram: Tensor) -> Tensor:
    """Spreads bins over their neighbours, so that a slight change of tint costs little.

    (..., LIGHTNESS_BINS, CHROMA_BINS * CHROMA_BINS), chroma and lightness apart because that is many times cheaper.
    """
    chroma_blur = neighbour_blur(CHROMA_BINS, 0.13, histogram.device)
    lightness_blur = neighbour_blur(LIGHTNESS_BINS, 0.07, histogram.device)
    return lightness_blur @ (histogram @ torch.kron(chroma_blur, chroma_blur))


def neighbour_blur(bins: int, shared: float, device: torch.device) -> Tensor:
    """(bins, bins) symmetric: every bin gives the share `shared` to each of its neighbours and keeps the rest."""
    line = torch.arange(bins, device=device)
    distance = (line[:, None] - line[None]).abs()
    return torch.where(distance == 0, 1.0 - 2 * shared, torch.where(distance == 1, shared, 0.0))


def chroma(crops: Tensor) -> tuple[Tensor, Tensor]:
    """Chroma relative to brightness, compressed towards 1, (N, 2, S, S) in (-1, 1), and lightness (N, S, S)."""
    red, green, blue = crops.unbind(dim=1)
    lightness = (red + green + blue) / 3.0
    # the constant keeps the noise of dark pixels from looking like colour
    brightness = lightness * 3.0 + 0.15
    red_green = (red - green) * 1.4
    yellow_blue = (red + green - 2.0 * blue) * 0.8
    compressed = torch.hypot(red_green, yellow_blue) + 0.3 * brightness
    return torch.stack([red_green / compressed, yellow_blue / compressed], dim=1), lightness


def colour_histograms(opponent: Tensor, lightness: Tensor, masks: Tensor, grid: int) -> Tensor:
    """Pixels a colour bin, blurred over neighbouring bins, in every patch: (N, grid * grid, COLOUR_BINS).

    opponent, lightness: of `chroma`. masks: (N, S, S) bool.
    """
    count = len(masks)
    column = ((opponent + 1.0) * (CHROMA_BINS / 2)).int().clamp_(0, CHROMA_BINS - 1)
    level = (lightness * LIGHTNESS_BINS).int().clamp_(0, LIGHTNESS_BINS - 1)
    cell = patch_of_crop(count, masks.shape[-1], grid, masks.device)
    bin_ = ((cell * LIGHTNESS_BINS + level) * CHROMA_BINS + column[:, 0]) * CHROMA_BINS + column[:, 1]
    # what lies outside the mask goes into one bin more
    last = count * grid * grid * COLOUR_BINS
    histogram = torch.bincount(torch.where(masks, bin_, last).flatten(), minlength=last + 1)[:last]
    histogram = histogram.float().view(count, grid * grid, LIGHTNESS_BINS, CHROMA_BINS * CHROMA_BINS)
    return blur_bins(histogram).flatten(2)


def orientation_histograms(crops: Tensor, masks: Tensor, grid: int) -> Tensor:
    """Gradient magnitude an orientation (180 degrees), in every patch: (N, grid * grid, ORIENTATION_BINS).

    Only pixels whose neighbours lie inside the mask count, so that the outline is not taken for texture.
    """
    luminance = torch.log(crops.mean(dim=1) + 0.1)
    count, size = len(crops), crops.shape[-1]
    gradient_x, gradient_y = torch.zeros_like(luminance), torch.zeros_like(luminance)
    gradient_x[:, :, 1:-1] = luminance[:, :, 2:] - luminance[:, :, :-2]
    gradient_y[:, 1:-1] = luminance[:, 2:] - luminance[:, :-2]
    interior = torch.zeros_like(masks)
    interior[:, 1:-1, 1:-1] = masks[:, 2:, 1:-1] & masks[:, :-2, 1:-1] & masks[:, 1:-1, 2:] & masks[:, 1:-1, :-2]
    magnitude = torch.hypot(gradient_x, gradient_y) * interior
    angle = torch.atan2(gradient_y, gradient_x) * (ORIENTATION_BINS / torch.pi)
    # opposite directions are one orientation
    orientation = angle.floor().long() % ORIENTATION_BINS
    cell = patch_of_crop(count, size, grid, crops.device)
    histogram = torch.bincount(
        (cell * ORIENTATION_BINS + orientation).flatten(),
        magnitude.flatten(),
        minlength=count * grid * grid * ORIENTATION_BINS,
    )
    return histogram.view(count, grid * grid, ORIENTATION_BINS)


def texture(orientation: Tensor, pixels: Tensor) -> Tensor:
    """How much texture there is and how directed: (..., ORIENTATION_BINS), (...) -> (..., 6).

    The magnitudes of a Fourier series over orientation do not change when the picture is turned.
    """
    strength = orientation.sum(dim=-1, keepdim=True) / pixels[..., None].clamp(min=1)
    share = orientation / orientation.sum(dim=-1, keepdim=True).clamp(min=1e-6)
    harmonic = torch.arange(1, ORIENTATION_BINS // 2 + 1, device=share.device)
    angle = torch.arange(ORIENTATION_BINS, device=share.device)[:, None] * harmonic * (2 * torch.pi / ORIENTATION_BINS)
    spectrum = torch.hypot(share @ angle.cos(), share @ angle.sin())
    amount = torch.tanh(strength * 4.0)
    return torch.cat([amount, 1.0 - amount, spectrum * amount], dim=-1)


def upright_layout(opponent: Tensor, lightness: Tensor, masks: Tensor) -> Tensor:
    """Coarse colour layout of crops, turned so that the mask's long axis is level: (N, 192).

    opponent, lightness: of `chroma`. masks: (N, S, S) bool.
    Which end comes first is told by the skew of the mask along that axis. Turning the camera about its optical
    axis therefore changes little.
    """
    count = len(masks)
    cell = upright_cells(masks, 8)
    inside = masks.flatten().float()
    index = (cell + torch.arange(count, device=masks.device)[:, None, None] * 64).flatten()

    def collect(values: Tensor) -> Tensor:
        return torch.bincount(index, values, minlength=count * 64).view(count, 8, 8).float()

    area = collect(inside)
    channels = [opponent[:, 0], opponent[:, 1], lightness]
    sums = torch.stack([collect(channel.flatten() * inside) for channel in channels], dim=1)
    mean = sums.sum(dim=(2, 3), keepdim=True) / area.sum(dim=(1, 2))[:, None, None, None].clamp(min=1)
    blur = neighbour_blur(8, 0.15, masks.device)
    return (blur @ (sums - mean * area[:, None]) @ blur).flatten(1)


def upright_cells(masks: Tensor, cells: int) -> Tensor:
    """Number of the cell of a grid laid along the mask's long axis that each pixel falls into, (N, S, S) int64."""
    line = torch.arange(masks.shape[-1], device=masks.device).float()
    along, across = upright_coordinates(masks, line)
    u = (along * (cells / 4.4) + cells / 2).long().clamp_(0, cells - 1)
    v = (across * (cells / 4.4) + cells / 2).long().clamp_(0, cells - 1)
    return v * cells + u


def upright_coordinates(masks: Tensor, line: Tensor) -> tuple[Tensor, Tensor]:
    """Where points of a crop lie along and across the mask's long axis, in standard deviations from its centre.

    masks: (N, S, S) bool. line: (L,) pixel positions, the same for columns and rows. Returns two (N, L, L).
    """
    pixel = torch.arange(masks.shape[-1], device=masks.device).float()
    weight = masks.float()
    area = weight.sum(dim=(1, 2)).clamp(min=1)
    columns, rows = weight.sum(dim=1), weight.sum(dim=2)
    x_centre, y_centre = (columns @ pixel / area)[:, None], (rows @ pixel / area)[:, None]
    dx, dy = pixel - x_centre, pixel - y_centre
    xx, yy = (columns * dx * dx).sum(dim=1) / area, (rows * dy * dy).sum(dim=1) / area
    xy = torch.einsum("nyx,nx,ny->n", weight, dx, dy) / area
    angle = 0.5 * torch.atan2(2 * xy, xx - yy)
    cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
    spread = (0.5 * (xx + yy) + torch.hypot(0.5 * (xx - yy), xy)).sqrt().clamp(min=0.5)
    along = dx[:, None, :] * cos + dy[:, :, None] * sin
    skew = (weight * along.pow(3)).sum(dim=(1, 2))
    scale = (torch.where(skew < 0, -1.0, 1.0) / spread)[:, None, None]
    x, y = (line - x_centre)[:, None, :], (line - y_centre)[:, :, None]
    return (x * cos + y * sin) * scale, (y * cos - x * sin) * scale


def ring_weights(masks: Tensor, grid: int) -> Tensor:
    """1 for patches near the mask's centre, 0 for those at its rim, half of a disc's area each: (N, grid * grid)."""
    share = avg_pool2d(masks[:, None].float(), masks.shape[-1] // grid)[:, 0]
    centre = torch.arange(grid, device=masks.device).float() + 0.5
    area = share.sum(dim=(1, 2)).clamp(min=1e-6)
    x_centre = (share.sum(dim=1) * centre).sum(dim=1) / area
    y_centre = (share.sum(dim=2) * centre).sum(dim=1) / area
    distance = (centre - x_centre[:, None]).square()[:, None, :] + (centre - y_centre[:, None]).square()[:, :, None]
    return torch.sigmoid((area[:, None, None] / torch.pi * 0.5 - distance) * 0.5).flatten(1)


def patch_of_crop(count: int, size: int, grid: int, device: torch.device) -> Tensor:
    """Number of the patch, counted through all crops, that each pixel belongs to: (count, size, size) int32."""
    line = torch.arange(size, dtype=torch.int32, device=device) * grid // size
    first = torch.arange(count, dtype=torch.int32, device=device)[:, None, None] * (grid * grid)
    return first + line[:, None] * grid + line[None]


def patch_places(masks: Tensor, grid: int) -> Tensor:
    """Where each patch is along and across the mask's long axis, as a smooth code: (N, grid * grid, 8)."""
    size = masks.shape[-1]
    centre = (torch.arange(grid, device=masks.device).float() + 0.5) * (size / grid)
    coordinates = upright_coordinates(masks, centre)
    angles = [coordinate * frequency for coordinate in coordinates for frequency in (1.3, 2.6)]
    return torch.stack([wave for angle in angles for wave in (angle.cos(), angle.sin())], dim=-1).flatten(1, 2)
