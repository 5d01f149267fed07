"""One onboarded object: its descriptors, its templates' poses and its geometry, on the device."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import torch
from scipy.spatial import ConvexHull, QhullError
from torch import Tensor

from ism_ros.cad.units import size_text
from ism_ros.checks.input_warnings import InputWarning
from ism_ros.objects.stores.patch_tokens import PatchFile
from ism_ros.rendering.views.polar_maps import FourierMaps, ViewMaps, fourier_maps
from ism_ros.rendering.views.surface_samples import SurfaceSamples


class GrayscaleVariant(Protocol):
    """An object as a camera without colors sees it; `grayscale.LazyVariant` builds it at the first call."""

    @property
    def built(self) -> KnownObject | None:
        """The variant where it has been built, or None."""
        ...

    def __call__(self) -> KnownObject:
        """Return the variant, building it where it is the first call."""
        ...


@dataclass(frozen=True)
class KnownObject:
    """One onboarded object.

    Attributes:
        id: Its class_id everywhere.
        category_id: Its number in BOP and COCO output.
        class_tokens: (T, D) unit rows.
        patch_tokens: (T, P, C) unit rows, zero where invalid, float32 or float16, on the device, on the CPU, or in a
            file.
        rotations: (T, 3, 3) object-to-camera; None when the templates have no poses.
        points_m: (K, 3) surface points relative to `centre_m`, metres; None without geometry.
        source: The file or folder it came from.
        views: Polar maps that coarse poses are found by, or None.
        warnings: Doubts about its files, found at onboarding.
        grayscale: Gives what frames without colors are compared with; None where there is nothing else.
        bounds_m: (2, 3) float64, lowest and highest corner of the model in the object frame, metres, on the CPU; None =
            those of the points, which are relative to the origin then.
        surface: Samples of its surface that poses are refined and judged by, or None.
    """

    id: str
    category_id: int
    class_tokens: Tensor
    patch_tokens: Tensor | PatchFile
    rotations: Tensor | None = None
    points_m: Tensor | None = None
    source: str = ""
    views: ViewMaps | None = None
    warnings: tuple[InputWarning, ...] = ()
    grayscale: GrayscaleVariant | None = field(default=None, repr=False, compare=False)
    bounds_m: Tensor | None = None
    surface: SurfaceSamples | None = None

    @property
    def template_count(self) -> int:
        """Number of templates, T."""
        return int(self.class_tokens.shape[0])

    @property
    def is_colorless(self) -> bool:
        """Whether its model is known to have no colors."""
        return self.surface is not None and self.surface.is_colorless

    @cached_property
    def corners_m(self) -> Tensor | None:
        """Corners (C, 3) of the convex hull of `points_m`, metres: from anywhere, they span the box of all points."""
        if self.points_m is None:
            return None
        try:
            hull = ConvexHull(self.points_m.cpu().numpy())
        except QhullError:  # flat, or too few
            return self.points_m
        return self.points_m[torch.from_numpy(hull.vertices).long().to(self.points_m.device)]

    @cached_property
    def diameter_m(self) -> float | None:
        """Diagonal of the box around the model, metres; None without geometry."""
        return None if self.box_m is None else float((self.box_m[1] - self.box_m[0]).norm())

    @cached_property
    def box_m(self) -> Tensor | None:
        """Lowest and highest corner (2, 3) of the model in the object frame, metres, on the CPU, or None."""
        if self.bounds_m is not None:
            return self.bounds_m
        return None if self.points_m is None else torch.stack(self.points_m.cpu().aminmax(dim=0))

    @cached_property
    def centre_m(self) -> Tensor:
        """Origin (3,) of `points_m` in the object frame, metres, float64, on the CPU."""
        return torch.zeros(3, dtype=torch.float64) if self.bounds_m is None else self.bounds_m.double().mean(dim=0)

    @cached_property
    def spectra(self) -> FourierMaps:
        """Fourier coefficients of `views`, which must be there, on the device of the class tokens; 3 MB."""
        assert self.views is not None
        maps = torch.from_numpy(self.views.maps).to(self.class_tokens.device).float()
        return fourier_maps(maps, self.views.radius_m)

    @property
    def size_text(self) -> str:
        """Sides of the model's box for people, such as 80 x 50 x 30 mm."""
        return "of unknown size" if self.size_m is None else size_text(self.size_m)

    @property
    def size_m(self) -> tuple[float, float, float] | None:
        """Sides of the model's box along the axes of the object frame, metres; None without geometry."""
        if self.box_m is None:
            return None
        x, y, z = (self.box_m[1] - self.box_m[0]).tolist()
        return x, y, z

    def patch_tokens_of(self, template_index: Tensor) -> Tensor:
        """Gather the patch tokens of some templates.

        Args:
            template_index: (N,) int64.

        Returns:
            (N, P, C) float32 on the device of the class tokens.

        Raises:
            OSError: They are in a file that is damaged and cannot be rebuilt.
        """
        if isinstance(self.patch_tokens, PatchFile):
            chosen, which = template_index.cpu().unique(return_inverse=True)
            tokens = torch.stack([self.patch_tokens.read(template) for template in chosen.tolist()])
            return tokens.to(self.class_tokens.device)[which.to(self.class_tokens.device)].float()
        tokens = self.patch_tokens.index_select(0, template_index.to(self.patch_tokens.device))
        return tokens.to(self.class_tokens.device).float()
