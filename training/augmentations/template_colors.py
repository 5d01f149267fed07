"""Colors of templates that are not those of the thing: CAD models without colors, and repainted ones.

What a user's CAD model does to the colors of templates, as the runtime meets it: crops are compared in gray with what
has no colors (matching/base.py, `colorless_in_gray`), and everything is gray for a gray camera.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ism_ros.objects.grayscale import grayscale_crops

PLAIN, REPAINTED, GRAY_CAMERA = 0.25, 0.15, 0.08
"""Shares of the objects without colors and of the repainted ones, and of the batches of a gray camera."""
PLAIN_TONES = 110.0, 230.0
"""Least and largest gray of an object without colors."""
GAINS, OFFSETS = (0.5, 1.3), (-30.0, 30.0)
"""Least and largest factor of each channel, and what is added to all, of a repainted object."""
SWAPPED = 0.5
"""Share of the repainted objects whose channels change places."""


@dataclass(frozen=True)
class TemplateColors:
    """What is done to the colors of O objects.

    Attributes:
        is_plain: (O,) bool, objects without colors.
        in_gray: (O,) bool, objects whose crops are compared in gray.
        is_gray: (O,) bool, objects whose templates lose their colors, as all of a gray camera.
        tone: (O,) gray of objects without colors, in [0, 255].
        order: (O, 3) int64, channels that red, green and blue are taken from.
        gain: (O, 3) factors.
        offset: (O,) added to all channels.
    """

    is_plain: Tensor
    in_gray: Tensor
    is_gray: Tensor
    tone: Tensor
    order: Tensor
    gain: Tensor
    offset: Tensor

    @classmethod
    def unchanged(cls, count: int, device: torch.device) -> TemplateColors:
        """Leave all colors as they are.

        Args:
            count: Number of objects, O.
            device: Where its templates are.

        Returns:
            The colors.
        """
        no, zero = torch.zeros(count, dtype=torch.bool, device=device), torch.zeros(count, device=device)
        order = torch.arange(3, device=device).expand(count, 3)
        return cls(no, no, no, zero, order, torch.ones((count, 3), device=device), zero)

    @classmethod
    def plain(cls, count: int, device: torch.device) -> TemplateColors:
        """Leave no object its colors.

        Args:
            count: Number of objects, O.
            device: Where its templates are.

        Returns:
            The colors, all of the mean gray.
        """
        yes = torch.ones(count, dtype=torch.bool, device=device)
        tone = torch.full((count,), sum(PLAIN_TONES) / 2, device=device)
        return replace(cls.unchanged(count, device), is_plain=yes, in_gray=yes, tone=tone)

    def of_crops(self, rgb: Tensor, owner: Tensor) -> Tensor:
        """Color crops as the runtime compares them.

        Args:
            rgb: (N, 3, S, S) in [0, 255].
            owner: (N,) int64, the object of each.

        Returns:
            The same shape.
        """
        return torch.where(self.in_gray[owner][:, None, None, None], grayscale_crops(rgb), rgb)

    def of_templates(self, rgb: Tensor, shading: Tensor, owner: Tensor) -> Tensor:
        """Color templates as the CAD model does.

        Args:
            rgb: (N, 3, S, S) in [0, 255], 0 outside the mask.
            shading: (N, 1, S, S) in [0, 255], white paint in the light of the renderer, 0 outside the mask.
            owner: (N,) int64, the object of each.

        Returns:
            (N, 3, S, S), 0 outside the mask.
        """

        def values(of_object: Tensor) -> Tensor:
            return of_object[owner].view(len(rgb), -1, 1, 1)

        taken = rgb.gather(1, self.order[owner][:, :, None, None].expand_as(rgb))
        painted = (taken * values(self.gain) + values(self.offset) * (shading > 0)).clamp(0, 255)
        painted = torch.where(values(self.is_gray), grayscale_crops(painted), painted)
        return torch.where(values(self.is_plain), (shading * values(self.tone) / 255).expand_as(rgb), painted)


def sample_template_colors(count: int, device: torch.device) -> TemplateColors:
    """Sample what is done to the colors of a batch.

    Args:
        count: Number of objects, O.
        device: Where its templates are.

    Returns:
        The colors, by PyTorch's generator of the device.
    """
    number_drawn = torch.rand(count, device=device)
    is_plain, is_repainted = number_drawn < PLAIN, (number_drawn >= PLAIN) & (number_drawn < PLAIN + REPAINTED)
    is_gray = (torch.rand(1, device=device) < GRAY_CAMERA).expand(count)
    order = torch.rand((count, 3), device=device).argsort(dim=1)
    is_swapped = (is_repainted & (torch.rand(count, device=device) < SWAPPED))[:, None]
    gain = torch.empty((count, 3), device=device).uniform_(*GAINS)
    offset = torch.empty(count, device=device).uniform_(*OFFSETS)
    return TemplateColors(
        is_plain,
        is_plain | is_gray,
        is_gray,
        torch.empty(count, device=device).uniform_(*PLAIN_TONES),
        torch.where(is_swapped, order, torch.arange(3, device=device)),
        torch.where(is_repainted[:, None], gain, 1.0),
        torch.where(is_repainted, offset, 0.0),
    )
