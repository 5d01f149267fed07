"""Instances over time: an id stays while the instance is in view, and is given to no other one."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from ism_ros.data.boxes import boxes_from_masks
from ism_ros.data.detection_evidence import DetectionEvidence
from ism_ros.data.detections import Detections
from ism_ros.io.result_files import label_image
from ism_ros.tracking.ids import MAX_AGE_FRAMES, MAX_AGE_S, MAX_TRACK_ID, Tracker

HEIGHT, WIDTH = 120, 160
ROWS, COLUMNS = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
PERIOD_S = 0.25
FOCAL_PX = 150.0


@dataclass(frozen=True)
class Thing:
    """A disc in the picture, 0.7 m away."""

    name: str
    column: float
    row: float
    radius: float = 14.0


NAMES = ("mug", "duck", "drill")


def picture_of(things: list[Thing], random: np.random.Generator | None = None) -> Detections:
    """What a frame with these things gives, in the order of scores; `random` adds what frames differ by."""
    masks, positions = [], []
    for thing in things:
        jitter = random.normal(0, 1.0, 3) if random else np.zeros(3)
        radius = thing.radius + jitter[2]
        disc = (COLUMNS - thing.column - jitter[0]) ** 2 + (ROWS - thing.row - jitter[1]) ** 2 < radius**2
        if random:  # a piece is missing
            disc[:, int(thing.column + random.uniform(-6, 6))] = False
        masks.append(disc)
        noise_m = random.normal(0, 0.004, 3) if random else np.zeros(3)
        positions.append(
            np.array([(thing.column - WIDTH / 2) / FOCAL_PX, (thing.row - HEIGHT / 2) / FOCAL_PX, 1]) * 0.7 + noise_m
        )
    order = random.permutation(len(things)) if random else np.arange(len(things))
    stacked = torch.from_numpy(np.array([masks[i] for i in order]).reshape(-1, HEIGHT, WIDTH))
    count = len(things)
    return replace(
        Detections.empty(HEIGHT, WIDTH),
        masks=stacked,
        boxes_xyxy=boxes_from_masks(stacked),
        object_index=torch.tensor([NAMES.index(things[i].name) for i in order], dtype=torch.int64),
        score=torch.linspace(0.9, 0.5, count),
        translation_m=torch.from_numpy(np.array([positions[i] for i in order]).reshape(-1, 3)).float(),
        object_ids=NAMES,
    )


class Film:
    """Frames PERIOD_S apart, through one tracker."""

    def __init__(self, seed: int = 0) -> None:
        self.tracker = Tracker()
        self.now_s = 1000.0
        self.random = np.random.default_rng(seed)

    def show(self, things: list[Thing], noisy: bool = True) -> Detections:
        self.now_s += PERIOD_S
        return self.tracker.update(picture_of(things, self.random if noisy else None), round(self.now_s * 1e9))

    def ids(self, things: list[Thing], noisy: bool = True) -> list[int]:
        """The id of each of `things`, in their order."""
        found = self.show(things, noisy)
        centres = found.boxes_xyxy.double().numpy().reshape(-1, 2, 2).mean(axis=1)
        return [
            found.instance_ids()[int(np.hypot(*(centres - (thing.column, thing.row)).T).argmin())] for thing in things
        ]


TABLE = [Thing("mug", 30, 40), Thing("mug", 62, 40), Thing("duck", 110, 50), Thing("drill", 70, 90)]


def test_tracked_detections_keep_their_evidence() -> None:
    found = picture_of(TABLE)
    values = torch.rand(len(found), 2)
    evidence = DetectionEvidence(("outline_iou", "hidden"), values, -values)
    tracked = Tracker().update(replace(found, evidence=evidence), 10**9)
    assert tracked.instance_id is not None
    assert tracked.evidence is evidence


@pytest.mark.slow
def test_a_static_scene_keeps_its_ids_over_a_thousand_frames() -> None:
    film = Film()
    first = film.ids(TABLE)
    assert sorted(first) == [1, 2, 3, 4]
    for _ in range(1000):
        assert film.ids(TABLE) == first


@pytest.mark.slow
def test_detections_that_come_and_go_keep_their_ids_over_a_thousand_frames() -> None:
    film = Film()
    first = film.ids(TABLE)
    for _ in range(1000):
        seen = [number for number in range(len(TABLE)) if film.random.random() > 0.2]
        if seen:
            assert film.ids([TABLE[number] for number in seen]) == [first[number] for number in seen]
        else:
            film.show([])


def test_instances_that_swap_places_take_their_ids_along() -> None:
    film = Film()
    start, end = np.array([30.0, 60.0]), np.array([130.0, 60.0])
    ids = film.ids([Thing("mug", *start), Thing("mug", *end)])
    for step in range(41):
        # about each other, on a circle
        middle, arm = (start + end) / 2, (start - end) / 2
        angle = np.pi * step / 40
        turned = np.array([arm[0] * np.cos(angle), 0.6 * arm[0] * np.sin(angle)])
        things = [Thing("mug", *(middle + turned)), Thing("mug", *(middle - turned))]
        assert film.ids(things) == ids
    assert things[0].column == pytest.approx(130.0)


def test_objects_of_different_kinds_that_swap_places_at_once_do_not_swap_ids() -> None:
    film = Film()
    mug, duck = film.ids([Thing("mug", 50, 60, radius=7), Thing("duck", 66, 60, radius=7)])
    assert film.ids([Thing("mug", 66, 60, radius=7), Thing("duck", 50, 60, radius=7)]) == [mug, duck]


def test_an_instance_that_is_hidden_for_a_few_frames_keeps_its_id() -> None:
    film = Film()
    ids = film.ids(TABLE)
    for _ in range(MAX_AGE_FRAMES):
        assert film.ids(TABLE[1:]) == ids[1:]
    assert film.ids(TABLE) == ids


def test_an_instance_that_is_half_hidden_keeps_its_id() -> None:
    film = Film()
    before = film.ids([Thing("mug", 50, 60, radius=16)])
    assert film.ids([Thing("mug", 58, 60, radius=8)]) == before


def test_a_part_that_was_once_taken_for_another_instance_does_not_take_its_id() -> None:
    film = Film()
    whole, part = Thing("mug", 60, 60, radius=16), Thing("mug", 65, 60, radius=12)
    before = film.ids([whole])
    both = film.ids([whole, part])
    assert both[0] == before[0]
    for _ in range(3):
        assert film.ids([whole]) == before
    assert film.ids([part]) == before
    assert film.ids([whole]) == before


def test_an_instance_that_leaves_for_long_comes_back_with_a_new_id() -> None:
    film = Film()
    ids = film.ids(TABLE)
    for _ in range(MAX_AGE_FRAMES + round(MAX_AGE_S / PERIOD_S) + 1):
        film.ids(TABLE[1:])
    again = film.ids(TABLE)
    assert again[1:] == ids[1:]
    assert again[0] not in ids


def test_an_instance_that_comes_back_elsewhere_is_a_new_one() -> None:
    film = Film()
    ids = film.ids(TABLE[:1])
    film.show([])
    assert film.ids([Thing("mug", 130, 90)]) != ids


def test_a_new_instance_beside_one_of_the_same_kind_gets_an_id_of_its_own() -> None:
    film = Film()
    (first,) = film.ids(TABLE[:1])
    assert film.ids(TABLE[:2]) == [first, first + 1]


@pytest.mark.parametrize("jump_s", [-10.0, 3600.0])
def test_after_a_jump_in_time_all_instances_are_new(jump_s: float) -> None:
    film = Film()
    ids = film.ids(TABLE)
    film.now_s += jump_s
    assert not set(film.ids(TABLE)) & set(ids)


def test_stamps_a_little_out_of_order_are_no_jump() -> None:
    film = Film()
    ids = film.ids(TABLE)
    film.now_s -= PERIOD_S + 0.4
    assert film.ids(TABLE) == ids


def test_when_an_object_is_no_longer_known_its_tracks_end_and_the_others_stay() -> None:
    film = Film()
    ids = film.ids(TABLE)
    rest = replace(picture_of(TABLE[2:3]), object_ids=("duck",), object_index=torch.tensor([0]))
    assert film.tracker.update(rest, round((film.now_s + PERIOD_S) * 1e9)).instance_ids() == [ids[2]]
    film.now_s += PERIOD_S
    again = film.ids(TABLE)
    assert again[2] == ids[2]
    assert not {again[0], again[1], again[3]} & set(ids)


def test_without_depth_masks_alone_keep_the_ids() -> None:
    film = Film()

    def update(things: list[Thing]) -> list[int]:
        film.now_s += PERIOD_S
        found = picture_of(things)
        found = replace(found, translation_m=torch.full_like(found.translation_m, torch.nan))
        return film.tracker.update(found, round(film.now_s * 1e9)).instance_ids()

    assert update(TABLE) == update([replace(thing, column=thing.column + 5) for thing in TABLE])


def test_ids_start_again_after_the_highest_and_leave_out_those_in_use() -> None:
    film = Film()
    (lasting,) = film.ids([Thing("duck", 120, 90)])
    assert lasting == 1
    film.tracker._last_id = MAX_TRACK_ID - 1
    both = [Thing("duck", 120, 90), Thing("mug", 30, 30)]
    assert film.ids(both) == [1, MAX_TRACK_ID]
    assert film.ids([*both, Thing("drill", 70, 60)]) == [1, MAX_TRACK_ID, 2]


def test_ids_are_the_values_of_the_mask_image() -> None:
    film = Film()
    film.ids(TABLE[:2])
    found = film.show(TABLE[1:3], noisy=False)
    labels = label_image(found)
    assert found.instance_ids() == [2, 3]
    assert labels[40, 62] == 2
    assert labels[50, 110] == 3


def test_what_is_remembered_does_not_grow() -> None:
    film = Film()
    for number in range(300):
        film.show([Thing("mug", 20 + (number * 37) % 120, 20 + (number * 53) % 80)])
    assert len(film.tracker.tracks) <= MAX_AGE_FRAMES + 2
