"""Lenses, matrices and depth of another camera, by numbers: what messages say against what was rendered."""

import time
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import CameraInfo, RegionOfInterest

from ism_ros.data.camera import Camera
from ism_ros.data.detections import Detections
from ism_ros.errors import FrameError
from ism_ros.node.conversion.calibration import calibration_of, fits, is_ambiguous, is_rectified_topic
from ism_ros.node.conversion.depth_registration import DepthCamera, register_depth
from ism_ros.node.conversion.undistortion import undistortion_for
from ism_ros.node.inputs.static_transforms import transform_between
from ism_ros.sim.benchmark_scenes.known_objects import make_scene_object
from ism_ros.sim.benchmark_scenes.objects.object_catalog import make_object
from ism_ros.sim.benchmark_scenes.scene_rendering import render_scene
from ism_ros.sim.benchmark_scenes.table_scene import make_scene

K = np.array([[600.0, 0, 330.5], [0, 610.0, 236.0], [0, 0, 1]])
P = np.array([[550.0, 0, 320.0, 0], [0, 560.0, 240.0, 0], [0, 0, 1, 0]])
WEAK, BARREL, PINCUSHION = (-0.05, 0.02, 0.0, 0.0, 0.0), (-0.30, 0.10, 0.001, -0.001, 0.0), (0.2, 0.05, 0.0, 0.0, 0.0)
RATIONAL = (0.5, -2.7, 0.0005, -0.0002, 1.5, 0.38, -2.5, 1.4)
"""Of the color camera of an Azure Kinect, about."""


def info(**fields):
    usual = {"width": 640, "height": 480, "k": K.ravel().tolist(), "p": P.ravel().tolist()}
    return CameraInfo(**{**usual, **fields})


# matrices


def test_raw_images_have_k_and_rectified_ones_p():
    assert np.array_equal(calibration_of(info(), (640, 480)).camera.intrinsics, K)
    assert np.array_equal(calibration_of(info(), (640, 480), rectified=True).camera.intrinsics, P[:, :3])
    assert np.array_equal(calibration_of(info(p=[0.0] * 12), (640, 480), rectified=True).camera.intrinsics, K)


@pytest.mark.parametrize(
    ("topic", "rectified"),
    [
        ("/camera/color/image_raw", False),
        ("/left/image_rect", True),
        ("/left/image_rect_color", True),
        ("/left/image_rect_color/compressed", True),
        ("/zed/zed_node/rgb/color/rect/image", True),
        ("/cam/image_rectified", True),
        ("/direct/image", False),
        ("/rectangles/image", False),
    ],
)
def test_the_name_of_a_topic_tells_rectified_images(topic, rectified):
    assert is_rectified_topic(topic) is rectified


def test_binning_and_the_region_of_interest_move_the_matrix_as_image_geometry_does():
    roi = RegionOfInterest(x_offset=100, y_offset=40, width=400, height=300)
    message = info(binning_x=2, binning_y=2, roi=roi)
    camera = calibration_of(message, (200, 150)).camera
    assert (camera.width, camera.height) == (200, 150)
    assert np.allclose(camera.intrinsics, [[300, 0, 115.25], [0, 305, 98], [0, 0, 1]])
    assert fits(message, (200, 150))
    assert not fits(message, (320, 240))
    # a driver that fills in binning and sends the whole picture
    assert np.array_equal(calibration_of(message, (640, 480)).camera.intrinsics, K)


@pytest.mark.parametrize("model", ["equidistant", "fisheye", "kannala_brandt4", "KANNALA_BRANDT"])
def test_a_fisheye_is_refused_by_name_whatever_its_coefficients(model):
    with pytest.raises(FrameError, match=f"'{model}'.*image_proc") as caught:
        calibration_of(info(distortion_model=model, d=[0.0] * 4), (640, 480))
    assert caught.value.reason == "distortion"
    assert calibration_of(info(distortion_model=model, d=[0.1] * 4), (640, 480), rectified=True).distortion == ()


@pytest.mark.parametrize(
    ("model", "d"),
    [("weird", [0.1] * 5), ("plumb_bob", [0.1] * 7), ("plumb_bob", [float("nan")] * 5), ("plumb_bob", [1e9] * 5)],
)
def test_a_lens_that_is_not_known_or_none_is_refused_in_one_sentence(model, d):
    def straighten():
        calibration = calibration_of(info(distortion_model=model, d=d), (640, 480))
        undistortion_for(calibration.camera, calibration.distortion)

    with pytest.raises(FrameError) as caught:
        straighten()
    assert caught.value.reason == "distortion"
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("model", "d"), [("", []), ("weird", [0.0] * 5), ("plumb_bob", [0.0] * 5), ("none", [])])
def test_no_distortion_is_none_by_whatever_name(model, d):
    assert calibration_of(info(distortion_model=model, d=d), (640, 480)).distortion == ()


@pytest.mark.parametrize(
    ("fields", "ambiguous"),
    [({}, True), ({"p": [0.0] * 12}, False), ({"d": list(BARREL)}, False), ({"k": P[:, :3].ravel().tolist()}, False)],
    ids=["two", "no P", "a lens", "the same"],
)
def test_two_matrices_without_a_lens_between_them_are_ambiguous(fields, ambiguous):
    assert is_ambiguous(info(**fields)) is ambiguous


# lenses


@pytest.mark.parametrize("lens", [WEAK, BARREL, PINCUSHION, RATIONAL], ids=["weak", "barrel", "pincushion", "rational"])
def test_an_undistorted_image_holds_the_whole_raw_one_where_a_pinhole_would_see_it(lens):
    undistortion = undistortion_for(Camera(K, 640, 480), lens)
    # a picture whose colors are the raw coordinates
    columns, rows = np.meshgrid(np.arange(640, dtype=np.float32), np.arange(480, dtype=np.float32))
    x, y = undistortion.undistort_depth(columns + 1), undistortion.undistort_depth(rows + 1)
    canvas_rows, canvas_columns = np.nonzero(x)
    rays = (
        np.stack([canvas_columns, canvas_rows, np.ones_like(canvas_rows)], axis=1)
        @ np.linalg.inv(undistortion.camera.intrinsics).T
    )
    seen = cv2.projectPoints(rays, np.zeros(3), np.zeros(3), K, np.array(lens))[0].reshape(-1, 2)
    found = np.stack([x[canvas_rows, canvas_columns], y[canvas_rows, canvas_columns]], axis=1) - 1
    assert np.abs(seen - found).max() < 0.51
    # no corner of the raw picture is lost
    corners = [(0, 0), (639, 0), (0, 479), (639, 479)]
    assert all(np.hypot(found[:, 0] - u, found[:, 1] - v).min() <= 2.0 for u, v in corners)


def test_a_mask_of_the_straightened_picture_comes_back_to_the_raw_pixels_it_was_made_of():
    undistortion = undistortion_for(Camera(K, 640, 480), BARREL)
    raw = np.zeros((480, 640), np.float32)
    cv2.circle(raw, (560, 80), 40, 1.0, -1)
    mask = torch.from_numpy(undistortion.undistort_depth(raw) > 0)
    nothing = torch.zeros_like(mask)
    nothing[0, 0] = True  # where the lens has seen nothing
    none = Detections.empty(*mask.shape)
    both = none._each(lambda tensor: torch.zeros((2, *tensor.shape[1:]), dtype=tensor.dtype))
    both = replace(both, masks=torch.stack([mask, nothing]))
    published, undistorted = undistortion.in_published_pixels(both)
    assert len(published) == len(undistorted) == 1
    back = published.masks[0].numpy()
    assert (back & (raw > 0)).sum() / (back | (raw > 0)).sum() > 0.97
    assert published.boxes_xyxy[0].tolist() == pytest.approx([520, 40, 600, 120], abs=1)


def test_a_lens_that_moves_nothing_costs_nothing():
    assert undistortion_for(Camera(K, 640, 480), (0.001, 0.0, 0.0, 0.0)).is_negligible
    assert not undistortion_for(Camera(K, 640, 480), WEAK).is_negligible


# depth of a camera beside


@pytest.fixture(scope="module")
def table():
    known = [make_scene_object(make_object(kind, seed)) for kind, seed in (("duck", 1), ("drill", 2))]
    return make_scene(4, known, objects=(3, 3))


@pytest.mark.parametrize("size", [(640, 480), (424, 240), (848, 480)], ids=str)
def test_registered_depth_is_that_which_the_color_camera_would_have_seen(table, size):
    width, height = size
    focal_px = 0.6 * width
    camera = Camera(np.array([[focal_px, 0, width / 2], [0, focal_px, height / 2], [0, 0, 1]]), width, height)
    color_to_depth = np.eye(4)
    color_to_depth[:3, :3] = Rotation.from_rotvec([0.01, -0.03, 0.02]).as_matrix()
    color_to_depth[:3, 3] = 0.059, -0.004, 0.002
    beside = replace(table, camera=camera, world_to_camera=color_to_depth @ table.world_to_camera)
    seen = render_scene(beside, samples=1)[0].depth_m
    expected = render_scene(table, samples=1)[0].depth_m
    source = DepthCamera(camera, (), np.linalg.inv(color_to_depth))
    register_depth(seen, source, table.camera)
    began_s = time.perf_counter()
    registered = register_depth(seen, source, table.camera)
    print(f"{time.perf_counter() - began_s:.3f} s")
    both = (registered > 0) & (expected > 0)
    assert both.mean() > 0.85  # the rest is beyond the picture or in shadow
    error_m = (registered - expected)[both]
    assert abs(np.median(error_m)) < 0.0005
    assert np.percentile(np.abs(error_m), 90) < 0.003


def test_of_two_surfaces_on_one_pixel_the_nearer_is_seen():
    camera = Camera(np.array([[100.0, 0, 50], [0, 100.0, 50], [0, 0, 1]]), 101, 101)
    depth_m = np.full((101, 101), 2.0, np.float32)
    depth_m[:, 60:80] = 0.5
    to_color = np.eye(4)
    to_color[0, 3] = -0.1  # the near strip moves by 20 pixels, the wall by 5
    registered = register_depth(depth_m, DepthCamera(camera, (), to_color), camera)
    assert (registered[50, 41:59] == 0.5).all()
    assert (registered[50, 1:39] == 2.0).all()
    assert (registered[50, 61:74] == 0.0).all()  # what the strip hid from the depth camera


def test_no_reading_and_points_behind_the_camera_are_drawn_nowhere():
    camera = Camera(np.array([[100.0, 0, 8], [0, 100.0, 8], [0, 0, 1]]), 16, 16)
    behind = np.eye(4)
    behind[2, 3] = -5.0
    depth_m = np.full((16, 16), 1.0, np.float32)
    assert not register_depth(depth_m, DepthCamera(camera, (), behind), camera).any()
    holes = np.full((16, 16), np.nan, np.float32)
    holes[0] = 0.0, *([np.inf] * 15)
    assert not register_depth(holes, DepthCamera(camera, (), np.eye(4)), camera).any()


# /tf_static


def test_a_transform_is_found_over_the_frames_that_two_cameras_hang_on():
    def at(x):
        matrix = np.eye(4)
        matrix[0, 3] = x
        return matrix

    to_parent = {
        "depth_optical": ("depth", at(0.0)),
        "depth": ("link", at(0.5)),
        "color": ("link", at(0.2)),
        "a": ("b", at(1.0)),
        "b": ("a", at(1.0)),
    }
    assert transform_between(to_parent, "/depth_optical", "color")[0, 3] == pytest.approx(0.3)
    assert transform_between(to_parent, "link", "depth")[0, 3] == pytest.approx(-0.5)
    assert transform_between(to_parent, "color", "elsewhere") is None
    assert transform_between(to_parent, "a", "color") is None
