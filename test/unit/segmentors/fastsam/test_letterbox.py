"""Where a frame lies in the input of FastSAM's network."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ism_ros.segmentors.fastsam.letterbox import letterbox_around, letterbox_into


def test_a_frame_of_the_network_s_width_is_not_scaled() -> None:
    letterbox = letterbox_around((480, 640), 640)
    assert (letterbox.input_size, letterbox.content_size, letterbox.scale) == ((480, 640), (480, 640), 1.0)


@pytest.mark.parametrize("size", [(720, 1280), (1080, 1920), (480, 848), (640, 480), (50, 1000), (1, 1)])
def test_boxes_come_back_from_the_input_to_where_they_were(size: tuple[int, int]) -> None:
    letterbox = letterbox_around(size, 640)
    assert all(side % 32 == 0 for side in letterbox.input_size)
    left, top = letterbox.left, letterbox.top
    box = torch.tensor([[left, top, left + size[1] * letterbox.scale, top + size[0] * letterbox.scale]])
    whole = torch.tensor([[0.0, 0.0, size[1], size[0]]])
    torch.testing.assert_close(letterbox.boxes_in_frame(box), whole, rtol=1e-4, atol=1e-3)


def test_a_fixed_input_is_filled_with_gray_around_the_frame() -> None:
    letterbox = letterbox_into((48, 64), (64, 64))
    padded = letterbox.apply(np.zeros((48, 64, 3), np.uint8))
    assert padded.shape == (64, 64, 3)
    assert (padded[8:56] == 0).all()
    assert (padded[:8] == 114).all()
    assert (padded[56:] == 114).all()
