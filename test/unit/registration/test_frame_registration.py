"""Depth that is not registered to color is recognized by the edges of both and registered; all other depth stays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ism_ros.checks.input_warnings import InputWarning
from ism_ros.config.settings import Settings
from ism_ros.data.camera import Camera
from ism_ros.data.frame import Frame
from ism_ros.io.frame_files import read_frame
from ism_ros.objects.library import ObjectLibrary
from ism_ros.query import Query
from ism_ros.registration.frame_registration import measured_similarity, resampled_depth, with_registered_depth
from ism_ros.sim.benchmark_scenes.depth_camera_beside import DepthCameraBeside, observe_with
from ism_ros.sim.benchmark_scenes.known_objects import known_objects, make_scene_object
from ism_ros.sim.benchmark_scenes.scene_rendering import render_scene
from ism_ros.sim.benchmark_scenes.table_scene import Scene, make_scene
from ism_ros.sim.synthesis.sensor_model import SensorModel, sense

SENSORS = {
    "without noise": SensorModel(disparity_noise_px=0.0, border_px=0.0, speckle=0.0),
    "usual noise": SensorModel(),
    "strong noise": SensorModel(disparity_noise_px=0.25, border_px=2.0, speckle=0.01),
}
BESIDE = {
    "D435": DepthCameraBeside(0.64, 0.015, (6.0, -4.0)),
    "L515": DepthCameraBeside(0.75, -0.015, (-8.0, 5.0)),
}
REAL = Path(__file__).resolve().parents[4] / "shared" / "data"
"""Frames of real cameras, beside the repository where it is developed."""
NOT_REGISTERED = {"jack_0010", "ziyi_connector", "ziyi_connector_mid", "ziyi_connector_side"}
"""Those of them with the raw depth of a RealSense."""


@pytest.fixture(scope="module")
def tables() -> list[Scene]:
    known = [make_scene_object(mesh) for mesh in known_objects(1)]
    return [make_scene(number, known) for number in (1, 2, 3)]


@pytest.fixture(scope="module")
def seen(tables: list[Scene]) -> list[tuple]:
    """Perfect pictures of the tables."""
    return [(render_scene(table)[0], table.camera) for table in tables]


@pytest.fixture(scope="module")
def unregistered(tables: list[Scene]) -> dict[str, tuple]:
    """A frame of each depth camera, the registered depth that is true, and the true similarity at the objects."""
    made = {}
    for (name, beside), table in zip(BESIDE.items(), tables, strict=False):
        frame, true_m = observe_with(table, beside, SENSORS["usual noise"])
        distance_m = float(np.median([(table.world_to_camera @ one.object_to_world)[2, 3] for one in table.placed]))
        made[name] = frame, true_m, beside.similarity(table.camera, distance_m)
    return made


def query(frame: Frame, **settings: str) -> Query:
    return Query(frame, ObjectLibrary(()), Settings(**settings))


# --- registered depth ---


@pytest.mark.parametrize("sensor", SENSORS)
def test_registered_depth_stays_as_it_is(seen: list[tuple], sensor: str) -> None:
    for seed, (view, camera) in enumerate(seen):
        frame = sense(view.rgb, view.depth_m, camera, seed, model=SENSORS[sensor])
        checked = with_registered_depth(frame)
        assert np.array_equal(checked.depth_m, frame.depth_m)
        assert checked.warnings == frame.warnings


def test_depth_that_is_off_by_a_few_pixels_counts_as_registered(seen: list[tuple]) -> None:
    for view, camera in seen:
        shifted = resampled_depth(sense(view.rgb, view.depth_m, camera, 0).depth_m, 1.01, (5.0, -4.0))
        assert measured_similarity(view.rgb, shifted) is None


# --- depth that is not ---


@pytest.mark.parametrize("camera", BESIDE)
def test_depth_of_a_camera_beside_is_recognized_by_scale_and_shift(unregistered: dict, camera: str) -> None:
    frame, _, (scale, shift_px) = unregistered[camera]
    found = measured_similarity(frame.rgb, frame.depth_m)
    assert found is not None
    assert found[0] == pytest.approx(scale, rel=0.02)
    assert found[1] == pytest.approx(shift_px, abs=4.0)


@pytest.mark.parametrize("camera", BESIDE)
def test_its_depth_is_registered(unregistered: dict, camera: str) -> None:
    frame, true_m, _ = unregistered[camera]

    def share_of_right(depth_m: np.ndarray) -> float:
        measured = (depth_m > 0) & (true_m > 0)
        return float((np.abs(depth_m - true_m) < 0.02)[measured].mean())

    registered = with_registered_depth(frame)
    assert share_of_right(registered.depth_m) > 0.85
    assert share_of_right(frame.depth_m) < 0.5
    assert (registered.depth_m > 0).mean() > 0.9  # its camera sees more than the color camera


def test_large_and_upright_images_are_registered_alike(unregistered: dict) -> None:
    frame, _, _ = unregistered["D435"]
    scale, shift_px = measured_similarity(frame.rgb, frame.depth_m)
    large = [np.repeat(np.repeat(image, 2, axis=0), 2, axis=1) for image in (frame.rgb, frame.depth_m)]
    upright = [np.ascontiguousarray(np.rot90(image)) for image in (frame.rgb, frame.depth_m)]
    of_large, of_upright = measured_similarity(*large), measured_similarity(*upright)
    assert of_large[0] == pytest.approx(scale, rel=0.01)
    assert of_large[1] == pytest.approx((2 * shift_px[0], 2 * shift_px[1]), abs=6.0)
    assert of_upright[0] == pytest.approx(scale, rel=0.01)
    assert of_upright[1] == pytest.approx((shift_px[1], -shift_px[0]), abs=4.0)


def test_the_warning_says_what_was_seen_and_what_to_do(unregistered: dict) -> None:
    frame, _, _ = unregistered["D435"]
    scale, (x, y) = measured_similarity(frame.rgb, frame.depth_m)
    (warning,) = with_registered_depth(frame).warnings
    assert warning.reason == "depth_not_registered"
    said = f"{scale:.2f} times as large and shifted by {x:.0f}, {y:.0f} pixels, by which it was registered"
    assert said in warning.text
    for remedy in ("RealSense: align_depth.enable:=true", "depth_registration:=true", "depth_registration to as_given"):
        assert remedy in warning.text
    assert "\n" not in warning.text


def test_a_warning_by_the_names_of_the_frames_becomes_one_with_it(unregistered: dict) -> None:
    frame, _, _ = unregistered["D435"]
    named = InputWarning("depth_not_registered", "depth is of another camera than rgb: switch registration on")
    (warning,) = with_registered_depth(replace(frame, warnings=(named,))).warnings
    assert warning.text.startswith(f"{named.text}; until then it was registered by the edges of both, 1.5")


def test_what_was_checked_or_registered_before_is_not_looked_at_again(unregistered: dict) -> None:
    frame, _, _ = unregistered["D435"]
    registered = with_registered_depth(frame)
    assert with_registered_depth(registered) is registered
    exact = replace(frame, is_registration_checked=True)
    assert with_registered_depth(exact) is exact


# --- where nothing can be told ---


def test_a_flat_wall_cannot_tell() -> None:
    rng = np.random.default_rng(0)
    camera = Camera(np.array([[615.0, 0, 320], [0, 615.0, 240], [0, 0, 1]]), 640, 480)
    blocks = rng.integers(60, 200, (24, 32, 3), dtype=np.uint8).repeat(20, axis=0).repeat(20, axis=1)
    frame = sense(blocks, np.full((480, 640), 0.8, np.float32), camera, 0)
    checked = with_registered_depth(frame)
    assert np.array_equal(checked.depth_m, frame.depth_m)
    assert not checked.warnings


def test_depth_of_another_scene_cannot_tell(seen: list[tuple]) -> None:
    for one, other in ((0, 1), (1, 2), (2, 0)):
        assert measured_similarity(seen[one][0].rgb, seen[other][0].depth_m) is None


@pytest.mark.parametrize("size", [(1, 1), (2, 300), (48, 64), (3, 640)], ids=str)
def test_images_of_any_size_are_taken(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 255, (*size, 3), dtype=np.uint8)
    assert measured_similarity(rgb, rng.uniform(0, 2, size).astype(np.float32)) is None


def test_depth_without_a_reading_and_frames_without_depth_stay() -> None:
    camera = Camera(np.array([[615.0, 0, 320], [0, 615.0, 240], [0, 0, 1]]), 640, 480)
    rgb = np.full((480, 640, 3), 90, np.uint8)
    assert with_registered_depth(Frame(rgb, None, camera)).depth_m is None
    assert not with_registered_depth(Frame(rgb, np.zeros((480, 640), np.float32), camera)).has_depth


# --- the setting ---


def test_the_setting_decides(unregistered: dict) -> None:
    frame, _, _ = unregistered["L515"]
    assert query(frame, depth_registration="as_given").with_registered_depth().frame is frame
    (warning,) = query(frame).with_registered_depth().frame.warnings
    assert warning.reason == "depth_not_registered"


# --- resampling ---


def test_readings_are_moved_and_never_averaged() -> None:
    depth_m = np.zeros((9, 9), np.float32)
    depth_m[4, 4], depth_m[4, 5] = 1.0, 2.0
    larger = resampled_depth(depth_m, 3.0, (1.0, 0.0))
    assert (larger[3:6, 4:7] == 1.0).all()
    assert (larger[3:6, 7:] == 2.0).all()
    assert set(np.unique(larger)) == {0.0, 1.0, 2.0}
    assert not resampled_depth(np.ones((9, 9), np.float32), 1.0, (3.0, 0.0))[:, :3].any()


# --- frames of real cameras ---


@pytest.mark.skipif(not (REAL / "real").is_dir(), reason="the frames of real cameras are not beside the repository")
def test_of_real_frames_those_with_raw_depth_are_told() -> None:
    folders = [*sorted((REAL / "real").iterdir()), REAL / "lm_can"]
    files = {folder.name: (next(folder.glob("rgb.*")), folder / "depth.png", folder) for folder in folders}
    table = REAL / "tabletop"
    files |= {path.stem: (path, table / path.name.replace("rgb", "depth"), table) for path in table.glob("*_rgb.png")}
    frames = {name: read_frame(rgb, depth, folder / "camera.json") for name, (rgb, depth, folder) in files.items()}
    assert len(frames) >= 20
    told = {name for name, frame in frames.items() if measured_similarity(frame.rgb, frame.depth_m) is not None}
    assert told == NOT_REGISTERED
