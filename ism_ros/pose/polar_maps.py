"""Views of an object as maps in metres, and how well those of one object fit what is seen under many masks.

A map has rings and angles about the middle of the visible surface: how much of each cell is covered, how deep it lies,
and its colour. Turning the camera about its optical axis shifts such a map along the angles, so that all turns of all
views are compared at once by Fourier transforms along the angles: a matrix product a frequency. Views are transformed
once, and kept so for as long as they are in use.

N masks, P places looked at under each, V views of an object, R rings, A angles, F frequencies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property, lru_cache
from math import pi

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ism_ros.data.frame import Frame

RINGS, ANGLES = 8, 36
CELLS = RINGS * ANGLES
FREQUENCIES = ANGLES // 2 + 1
PLACES_A_SIDE = 32
"""Places looked at under a mask, along each side of its box."""
RELIEF_WEIGHT = 20.0
COLOUR_WEIGHT = 0.3
"""Of the mean squared differences of depth (in units of the object's diameter, 1.6 reaches) and of colour, beside
1 - IoU."""
LEAST_PIXELS = 10
"""With depth, below which nothing is said of a mask."""


SPECTRA_KEPT = 64
"""Objects whose views are kept ready to be compared, 1.4 MB each."""


@dataclass(frozen=True, eq=False)
class Views:
    """The views of one object.

    maps: (V, 5, R, A) float16: share of the cell that is covered; depth relative to the mean, metres; red, green and
    blue relative to the view's brightness. surface_m: (V, 3), the mean of the visible surface in the object frame.
    reach_m: radius of the outermost ring. rotations: (V, 3, 3) object-to-camera. template_count: T, how many views,
    from the first on, are the templates themselves. centre_m: (3,), the middle of the model's box in the object frame,
    about which it is uncertain how the object is turned.
    """

    maps: NDArray[np.float16]
    surface_m: NDArray[np.float64]
    reach_m: float
    rotations: NDArray[np.float64]
    template_count: int
    centre_m: NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))

    @cached_property
    def template(self) -> NDArray[np.int64]:
        """(V,) int64, the template that looks along an axis nearest to that of each view; the first where two are as
        near."""
        axes = self.rotations[:, 2]
        return (axes @ axes[: self.template_count].T).round(5).argmax(axis=1)

    def from_templates(self, of_templates: Tensor) -> Tensor:
        """What each view has from its template: (N, T), or longer rows, -> (N, V)."""
        return of_templates[:, torch.from_numpy(self.template).to(of_templates.device)]


@dataclass(frozen=True)
class Seen:
    """What the camera saw at P places under each of N masks.

    points_m: (N, 3, P) float32 in the camera frame. colours: (N, 3, P) float32 in [0, 1]. pixels: (N, P) float32, how
    many pixels a place stands for, 0 where the mask or the depth has a hole. median_m: (N, 3), of these points.
    pixel_m: how wide a pixel is at a distance of one metre (the geometric mean of both axes).
    """

    points_m: Tensor
    colours: Tensor
    pixels: Tensor
    median_m: Tensor
    pixel_m: float

    def __getitem__(self, rows: Tensor) -> Seen:
        return Seen(self.points_m[rows], self.colours[rows], self.pixels[rows], self.median_m[rows], self.pixel_m)


@dataclass(frozen=True)
class Spectra:
    """The maps of V views, transformed along the angles.

    waves: (F, 7, 2, R, V), of each of seven terms the cosine and the sine part; the terms are, all by coverage: the
    squared colours, red, green, blue, 1, depth, its square. area_m2: (V,), covered.
    """

    waves: Tensor
    area_m2: Tensor

    @property
    def of_colours(self) -> Tensor:
        return self.waves[:, :5]

    @property
    def of_ones(self) -> Tensor:
        return self.waves[:, 4:5]

    @property
    def of_depths(self) -> Tensor:
        return self.waves[:, 4:6]

    @property
    def of_squared_depths(self) -> Tensor:
        return self.waves[:, 4:]


@dataclass(frozen=True)
class Fit:
    """Each view in each turn beside what is seen under each mask, all (N, V, A) float32.

    cost: what speaks against it; inf where too little was seen. iou: share of the outlines that is common. shift_m: how
    much nearer the view's surface must come to lie where it is seen. relief_m: the difference in depth that remains.
    middle_m: (N, 3), the middle of what was seen, in the camera frame. along_ray: (N, 3, 3), the turn from the optical
    axis to the ray through it, along which views are held against it.
    """

    cost: Tensor
    iou: Tensor
    shift_m: Tensor
    relief_m: Tensor
    middle_m: Tensor
    along_ray: Tensor

    def __getitem__(self, rows: Tensor) -> Fit:
        return Fit(*(getattr(self, field.name)[rows] for field in fields(self)))

    def preferring(self, preference: Tensor) -> Fit:
        """The same with what else speaks for each view, (N, V), taken from its cost; 1 makes up for an outline of which
        nothing fits."""
        return replace(self, cost=self.cost - preference[:, :, None])

    def best(self, preference: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The view that is best in the turn that is best for it, as `preferring` has it: what it costs without that,
        how much relief remains in metres, and which it is, all (N,)."""
        index = self.preferring(preference).cost.flatten(1).argmin(dim=1, keepdim=True)
        cost, relief_m = (of_all.flatten(1).gather(1, index)[:, 0] for of_all in (self.cost, self.relief_m))
        return cost, relief_m, index[:, 0] // ANGLES


@dataclass(frozen=True)
class ViewFits:
    """Fits of the views of several objects under the masks of one frame.

    by_object: of each object's index, under which masks, (K,) int64 ascending, and the Fit of those.
    """

    by_object: Mapping[int, tuple[Tensor, Fit]]

    def under(self, masks: Tensor, index: int) -> Fit:
        """Of one object under some of those masks, (M,) int64."""
        there, fit = self.by_object[index]
        return fit[torch.searchsorted(there, masks)]


def joined(fits: Sequence[Fit]) -> Fit:
    """All rows of `fits`, of which there is at least one."""
    return fits[0] if len(fits) == 1 else Fit(*(torch.cat([getattr(f, x.name) for f in fits]) for x in fields(Fit)))


def views_of(
    rgb: Sequence[NDArray[np.uint8]],
    masks: Sequence[NDArray[np.bool_]],
    xyz_m: Sequence[NDArray[np.floating]],
    rotations: NDArray[np.floating],
    template_count: int | None = None,
    centre_m: NDArray[np.float64] | None = None,
) -> Views:
    """Views from pictures of any sizes: rgb (H, W, 3), masks (H, W), xyz_m (H, W, 3) in the object frame, of each;
    rotations (V, 3, 3). template_count: as in Views; all where it isn't said.
    centre_m: as in Views; the origin where it isn't said."""
    seen = [xyz[mask].astype(np.float64) for xyz, mask in zip(xyz_m, masks, strict=True)]
    surface_m = np.array([points.mean(axis=0) for points in seen])
    centred = [(points - middle) @ turn.T for points, middle, turn in zip(seen, surface_m, rotations, strict=True)]
    reach_m = max(float(max(np.hypot(*points[:, :2].T).max() for points in centred)) * 1.05, 1e-6)
    maps = []
    for points, picture, mask in zip(centred, rgb, masks, strict=True):
        area_m2 = np.full(len(points), _pixel_area_m2(points, mask))
        points_m, colours = torch.from_numpy(points).float(), torch.from_numpy(picture[mask]).float() / 255.0
        maps.append(polar_maps(points_m.T[None], colours.T[None], torch.from_numpy(area_m2).float()[None], reach_m)[0])
    return Views(
        torch.stack(maps).half().numpy(),
        surface_m,
        reach_m,
        np.asarray(rotations, np.float64),
        len(rotations) if template_count is None else template_count,
        np.zeros(3) if centre_m is None else np.asarray(centre_m, np.float64),
    )


def look_under(masks: Tensor, boxes_xyxy: Tensor, frame: Frame) -> Seen:
    """What `frame`, which must have depth, shows under masks (N, H, W) bool with tight boxes (N, 4), last pixel
    included; at places of an even grid in each box."""
    assert frame.depth_m is not None
    device = masks.device
    depth_m, rgb = (torch.from_numpy(picture).to(device) for picture in (frame.depth_m, frame.rgb))
    share = (torch.arange(PLACES_A_SIDE, device=device) + 0.5) / PLACES_A_SIDE
    first, size = boxes_xyxy[:, :2], boxes_xyxy[:, 2:] - boxes_xyxy[:, :2] + 1
    columns, rows = ((first[:, axis, None] + (share * size[:, axis, None]).long()) for axis in (0, 1))
    pixel = (rows[:, :, None] * masks.shape[2] + columns[:, None, :]).flatten(1)
    z = depth_m.flatten()[pixel]
    inside = masks.flatten(1).gather(1, pixel) & (z > 0)
    camera = frame.camera
    points_m = camera.back_project(columns[:, None, :], rows[:, :, None], z.unflatten(1, (PLACES_A_SIDE, -1)))
    points_m = points_m.flatten(1, 2).transpose(1, 2).contiguous()
    colours = rgb.flatten(0, 1)[pixel].transpose(1, 2).float() / 255.0
    pixels = inside * (size.prod(dim=1) / PLACES_A_SIDE**2)[:, None]
    median_m = points_m.where(inside[:, None], torch.nan).nanmedian(dim=2).values
    return Seen(points_m, colours, pixels, median_m, (camera.fx * camera.fy) ** -0.5)


def fit_views(seen: Seen, views: Views) -> Fit:
    """Every view of one object in every turn beside what is seen under each mask."""
    points_m = seen.points_m
    # what lies further away than the object reaches is the ground beside it, or a reading between the two
    near = (points_m - seen.median_m[:, :, None]).square().sum(dim=1) < views.reach_m**2
    pixels = seen.pixels * near
    enough = pixels.sum(dim=1) >= LEAST_PIXELS
    area_m2 = pixels * (seen.pixel_m * points_m[:, 2]).square()
    total_m2 = area_m2.sum(dim=1, keepdim=True).clamp(min=1e-12)
    middle_m = (points_m * area_m2[:, None]).sum(dim=2) / total_m2
    along_ray = _turn_from_optical_axis(middle_m.where(enough[:, None], middle_m.new_tensor([0.0, 0.0, 1.0])))
    # views are seen along the optical axis: look at the object along the ray to it
    maps = polar_maps(along_ray.mT @ (points_m - middle_m[:, :, None]), seen.colours, area_m2, views.reach_m)
    return replace(
        compare(maps, _kept_spectra(views, maps.device), views.reach_m, ~enough),
        middle_m=middle_m,
        along_ray=along_ray,
    )


@lru_cache(SPECTRA_KEPT)
def _kept_spectra(views: Views, device: torch.device) -> Spectra:
    return spectra_of(torch.from_numpy(views.maps).to(device).float(), views.reach_m)


def polar_maps(points_m: Tensor, colours: Tensor, area_m2: Tensor, reach_m: float) -> Tensor:
    """(N, 5, R, A), as in Views. points_m: (N, 3, P) about their middle, z along the optical axis. colours: (N, 3, P)
    in [0, 1]. area_m2: (N, P), of each point across the optical axis, 0 = no point."""
    x, y, depth = points_m.unbind(dim=1)
    ring = (torch.hypot(x, y) * (RINGS / reach_m)).clamp(max=RINGS - 1).long()
    angle = ((torch.atan2(y, x) / (2 * pi) + 1) * ANGLES).long() % ANGLES
    cell = (ring * ANGLES + angle)[:, None].expand(-1, 5, -1)
    values = torch.cat([area_m2[:, None], (depth * area_m2)[:, None], colours * area_m2[:, None]], dim=1)
    sums = values.new_zeros(len(values), 5, CELLS).scatter_add_(2, cell, values)
    total, *summed = sums.unflatten(2, (RINGS, ANGLES)).unbind(dim=1)
    weighted = torch.stack(summed[1:]).sum(dim=(0, 2, 3)) / 3
    brightness = (weighted / total.sum(dim=(1, 2)).clamp(min=1e-12)).clamp(min=1e-3)[:, None, None]
    depth, *coloured = (value / total.clamp(min=1e-12) for value in summed)
    covered = (total / cell_areas_m2(reach_m, total)).clamp(max=1.0)
    return torch.stack([covered, depth, *(colour / brightness for colour in coloured)], dim=1)


def spectra_of(maps: Tensor, reach_m: float) -> Spectra:
    """Of the maps (V, 5, R, A) of an object."""
    covered = maps[:, 0]
    area_m2 = (covered * cell_areas_m2(reach_m, maps)).sum(dim=(1, 2))
    return Spectra(_waves(_terms(maps, covered)).permute(4, 0, 3, 2, 1).contiguous(), area_m2)


def compare(ours: Tensor, theirs: Spectra, reach_m: float, unseen: Tensor | None = None) -> Fit:
    """ours: (N, 5, R, A) beside V views, each turned by every number of cells. unseen: (N,) bool, of which nothing is
    known. What the Fit says of places is left at 0."""
    weight = ours[:, 0] * cell_areas_m2(reach_m, ours)
    squared, red, green, blue, ones, deep, deep_squared = _waves(_terms(ours, weight)).unbind(dim=0)

    common = _correlated([ones], theirs.of_ones)
    share = common.clamp(min=1e-12)
    outlines = weight.sum(dim=(1, 2))[:, None] + theirs.area_m2
    iou = (common / (outlines[:, :, None] - common).clamp(min=1e-12)).clamp(0.0, 1.0)
    # means over the common cells: of (ours - theirs), of its square, and of the square of the difference of colours
    shift = _correlated([deep, -ones], theirs.of_depths) / share
    relief = _correlated([deep_squared, -2 * deep, ones], theirs.of_squared_depths) / share - shift**2
    difference = _correlated([ones, -2 * red, -2 * green, -2 * blue, squared], theirs.of_colours) / share
    relief = relief.clamp(min=0.0)
    cost = 1 - iou + RELIEF_WEIGHT * relative(relief, reach_m) + COLOUR_WEIGHT * difference.clamp(min=0.0)
    if unseen is not None:
        cost = cost.masked_fill(unseen[:, None, None], torch.inf)
    nowhere = ours.new_zeros(len(ours), 3)
    return Fit(cost, iou, shift, relief.sqrt(), nowhere, nowhere[:, :, None].expand(-1, -1, 3))


def relative(relief_m2: Tensor, reach_m: float) -> Tensor:
    """A mean squared difference of depth in units of the object's diameter."""
    return relief_m2 / (1.6 * reach_m) ** 2


def _terms(maps: Tensor, weight: Tensor) -> Tensor:
    """(7, N, R, A), the terms of Spectra by weight; maps: (N, 5, R, A), weight: (N, R, A)."""
    depth, colours = maps[:, 1], maps[:, 2:]
    coloured = (weight[:, None] * colours).unbind(dim=1)
    return torch.stack([weight * (colours**2).sum(dim=1), *coloured, weight, weight * depth, weight * depth**2])


def _waves(maps: Tensor) -> Tensor:
    """Fourier transforms along the angles: (..., A) -> (..., 2, F), cosine and sine parts."""
    return (maps @ _there_and_back(maps.device, maps.dtype)[0]).unflatten(-1, (2, FREQUENCIES))


def _correlated(ours: list[Tensor], theirs: Tensor) -> Tensor:
    """Sums over all cells of the products of maps, theirs turned by each angle, summed over K pairs: (N, V, A).

    ours: K of (N, R, 2, F). theirs: (F, K, 2, R, V). By products of matrices: for so few angles they are faster than
    fast transforms, and all sums are one product.
    """
    count, views = len(ours[0]), theirs.shape[-1]
    cosine, sine = torch.stack(ours).unbind(dim=3)
    # of the product of our spectrum with the conjugate of theirs: the real part, and minus the imaginary part
    parts = torch.stack([cosine, sine, sine, -cosine]).unflatten(0, (2, 2))
    left = parts.permute(5, 0, 3, 2, 1, 4).reshape(FREQUENCIES, 2 * count, -1)
    products = left @ theirs.flatten(1, 3)
    back = _there_and_back(theirs.device, theirs.dtype)[1]
    return (products.view(-1, count * views).mT @ back).view(count, views, ANGLES)


@lru_cache
def _there_and_back(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Fourier transforms as matrices: to cosine and sine parts (A, 2F), and from both of each frequency (2F, A)."""
    angle = torch.arange(ANGLES, device=device, dtype=dtype) * (2 * pi / ANGLES)
    phase = angle[:, None] * torch.arange(FREQUENCIES, device=device, dtype=dtype)
    waves = torch.stack([phase.cos(), phase.sin()], dim=1)
    twice = torch.full((FREQUENCIES,), 2.0, device=device, dtype=dtype)
    twice[0] = twice[-1] = 1.0
    return waves.flatten(1), (waves * twice / ANGLES).permute(2, 1, 0).flatten(0, 1)


def cell_areas_m2(reach_m: float, like: Tensor) -> Tensor:
    """(R, 1), of one cell of each ring."""
    number = torch.arange(RINGS, device=like.device, dtype=like.dtype)[:, None]
    return pi * reach_m**2 / RINGS**2 / ANGLES * (2 * number + 1)


def _turn_from_optical_axis(towards: Tensor) -> Tensor:
    """The smallest rotations that take the z axis to each direction (N, 3), which must point forward: (N, 3, 3)."""
    x, y, z = torch.nn.functional.normalize(towards, dim=1).unbind(dim=1)
    s = 1 / (1 + z)
    rows = [1 - s * x * x, -s * x * y, x, -s * x * y, 1 - s * y * y, y, -x, -y, z]
    return torch.stack(rows, dim=1).view(-1, 3, 3)


def _pixel_area_m2(points_m: NDArray[np.float64], mask: NDArray[np.bool_]) -> float:
    """Of one pixel, from how x and y of the points grow with columns and rows: no camera need be known."""
    sides = []
    for pixels, values in zip(np.nonzero(mask)[::-1], points_m[:, :2].T, strict=True):
        offset = pixels - pixels.mean()
        sides.append(abs(float(offset @ values)) / max(float(offset @ offset), 1e-12))
    return sides[0] * sides[1]
