"""Overlays: every instance visible and named, the image itself untouched, fast enough for every frame."""

import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from ism_ros.data.boxes import boxes_from_masks
from ism_ros.data.detections import Detections
from ism_ros.visualization import draw_overlay, instance_colors, label_of, object_color

HEIGHT, WIDTH = 240, 320


def detections_of(rectangles, objects, scores, height=HEIGHT, width=WIDTH):
    """Rectangular instances; rectangles are (x_first, y_first, x_last, y_last)."""
    masks = torch.zeros((len(rectangles), height, width), dtype=torch.bool)
    for mask, (x_first, y_first, x_last, y_last) in zip(masks, rectangles, strict=True):
        mask[y_first : y_last + 1, x_first : x_last + 1] = True
    count = len(rectangles)
    return replace(
        Detections.empty(height, width),
        masks=masks,
        boxes_xyxy=boxes_from_masks(masks),
        object_index=torch.tensor(objects, dtype=torch.int64),
        score=torch.tensor(scores, dtype=torch.float32),
        template_index=torch.zeros(count, dtype=torch.int64),
        object_ids=tuple(f"object_{index}" for index in range(8)),
    )


@pytest.fixture
def gray():
    return np.full((HEIGHT, WIDTH, 3), 128, dtype=np.uint8)


def test_an_image_without_detections_comes_back_as_it_was(gray):
    assert np.array_equal(draw_overlay(gray, Detections.empty(HEIGHT, WIDTH)), gray)


def test_the_given_image_is_not_drawn_on(gray):
    before = gray.copy()
    draw_overlay(gray, detections_of([(50, 100, 100, 150)], [0], [0.9]))
    assert np.array_equal(gray, before)


def test_the_fill_takes_the_objects_color_and_lets_the_image_through(gray):
    canvas = draw_overlay(gray, detections_of([(50, 100, 100, 150)], [2], [0.9]))
    expected = 0.6 * 128 + 0.4 * np.array(object_color(2))
    assert np.abs(canvas[140, 75].astype(float) - expected).max() <= 1


def test_pixels_far_from_any_instance_and_label_stay(gray):
    canvas = draw_overlay(gray, detections_of([(50, 100, 100, 150)], [0], [0.9]))
    assert np.array_equal(canvas[180:, 200:], gray[180:, 200:])


@pytest.mark.parametrize(
    ("style", "inside_changes", "corner_changes"),
    [("filled", True, False), ("outline", False, False), ("boxes", False, True)],
)
def test_a_style_decides_what_is_drawn_of_a_mask(gray, style, inside_changes, corner_changes):
    detections = detections_of([(50, 100, 150, 200)], [0], [0.9])
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    detections.masks[0] = torch.from_numpy((rows - 150) ** 2 + (columns - 100) ** 2 <= 50**2)
    canvas = draw_overlay(gray, detections, style)
    changed = (canvas != gray).any(axis=2)
    assert changed[150, 150], "the edge"
    assert changed[150, 100] == inside_changes
    assert changed[200, 150] == corner_changes


def test_the_better_score_lies_on_top(gray):
    overlapping = [(50, 100, 150, 200), (100, 100, 200, 200)]
    canvas = draw_overlay(gray, detections_of(overlapping, [0, 1], [0.3, 0.8]))
    alone = draw_overlay(gray, detections_of([overlapping[1]], [1], [0.8]))
    lower, upper = canvas[190, 120].astype(float), alone[190, 120].astype(float)
    top_color = np.array(object_color(1), dtype=float)
    assert np.linalg.norm(lower - top_color) < np.linalg.norm(lower - np.array(object_color(0), dtype=float))
    assert upper == pytest.approx(0.6 * 128 + 0.4 * top_color, abs=1)


def test_labels_of_instances_in_the_same_place_do_not_cover_each_other(gray):
    one = draw_overlay(gray, detections_of([(50, 100, 120, 180)], [0], [0.9]))
    two = draw_overlay(gray, detections_of([(50, 100, 120, 180)] * 2, [0, 1], [0.9, 0.5]))
    label_rows = slice(75, 99)
    assert np.array_equal(one[label_rows, 50:100], two[label_rows, 50:100])
    assert (two == np.array(object_color(1))).all(axis=2).sum() > 200


def test_a_label_at_the_image_border_stays_inside(gray):
    canvas = draw_overlay(gray, detections_of([(300, 0, 319, 20)], [0], [0.9]))
    assert (canvas[:40] == np.array(object_color(0))).all(axis=2).sum() > 200


def test_an_object_keeps_its_color_whatever_else_is_found(gray):
    alone = draw_overlay(gray, detections_of([(50, 100, 100, 150)], [3], [0.9]))
    among = draw_overlay(gray, detections_of([(200, 100, 250, 150), (50, 100, 100, 150)], [1, 3], [0.95, 0.9]))
    assert np.array_equal(alone[110:151, 50:101], among[110:151, 50:101])


def test_objects_next_to_each_other_in_the_library_have_distinct_colors():
    colors = np.array([object_color(index) for index in range(6)], dtype=float)
    distances = np.linalg.norm(colors[:, None] - colors[None], axis=2)
    assert distances[~np.eye(6, dtype=bool)].min() > 60


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 200), (200, 3)])
def test_images_of_any_size_are_drawn(height, width):
    detections = detections_of([(0, 0, width - 1, height - 1)], [0], [0.9], height, width)
    assert draw_overlay(np.zeros((height, width, 3), np.uint8), detections).shape == (height, width, 3)


def test_ten_instances_on_vga_take_a_few_milliseconds():
    rectangles = [(20 + 60 * (i % 5), 50 + 200 * (i // 5), 110 + 60 * (i % 5), 200 + 200 * (i // 5)) for i in range(10)]
    detections = detections_of(rectangles, [i % 5 for i in range(10)], [0.5 + 0.02 * i for i in range(10)], 480, 640)
    rgb = np.random.default_rng(0).integers(0, 255, (480, 640, 3), dtype=np.uint8)
    seconds = []
    for _ in range(10):
        began = time.perf_counter()
        draw_overlay(rgb, detections)
        seconds.append(time.perf_counter() - began)
    assert min(seconds) < 0.010


def colors_in(canvas):
    """Pixels drawn in each of the colors that instances may have."""
    return {tuple(color) for color in canvas.reshape(-1, 3)}


def test_a_tracked_instance_keeps_the_color_of_its_id_wherever_and_whatever_it_is(gray):
    here = replace(detections_of([(50, 100, 100, 150)], [3], [0.9]), instance_id=torch.tensor([17]))
    there = replace(
        detections_of([(20, 20, 60, 60), (200, 100, 250, 150)], [1, 3], [0.95, 0.8]), instance_id=torch.tensor([4, 17])
    )
    assert instance_colors(here) == [object_color(17)]
    assert instance_colors(there) == [object_color(4), object_color(17)]
    assert object_color(17) in colors_in(draw_overlay(gray, there))


def test_two_untracked_instances_of_one_object_have_tones_from_left_to_right_whatever_their_scores():
    left, right = (20, 100, 60, 150), (200, 100, 250, 150)
    first, second = instance_colors(detections_of([left, right], [2, 2], [0.9, 0.8]))
    assert first == object_color(2)
    assert np.linalg.norm(np.subtract(first, second)) > 60
    assert instance_colors(detections_of([right, left], [2, 2], [0.9, 0.8])) == [second, first]


def test_the_label_of_a_tracked_instance_has_its_number():
    detections = detections_of([(50, 100, 100, 150)], [3], [0.9])
    assert label_of(detections, 0) == "object_3 0.90"
    assert label_of(replace(detections, instance_id=torch.tensor([17])), 0) == "object_3 #17 0.90"


def test_a_name_whose_bytes_are_no_text_is_drawn_all_the_same(gray):
    found = detections_of([(10, 10, 40, 40)], [0], [0.9])
    canvas = draw_overlay(gray, replace(found, object_ids=("gr\udcc3\udcb6\udcc3\udc9fe",)))
    assert (canvas != gray).any()
