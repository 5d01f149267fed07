"""Where the origin of a CAD file lies makes no difference: not to what is found, and not to where the object is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from ism_ros.cad.mesh_loading import load_cad
from ism_ros.config.settings import Settings
from ism_ros.data.detections import Detections
from ism_ros.io.frame_files import read_frame
from ism_ros.loading import load_model
from ism_ros.objects.spec import ObjectSpec, read_objects_file
from ism_ros.refinement.covariance import at_origin, unknown_covariance
from ism_ros.rendering.template_renderer import render_templates
from ism_ros.rendering.templates import read_templates, write_templates
from ism_ros.selftest.sample_files import SCENE

FAR_M = 100.0
SHIFTS_M = {
    "middle": (0.0, 0.0, 0.0),
    "beside": (0.06, -0.03, 0.02),
    "assembly": (0.4, 0.3, -0.5),
    "site": (FAR_M, 0, 0),
}


def shifted_cad(folder: Path, name: str) -> Path:
    """The banana with its origin elsewhere, as text, so that no digit is lost."""
    spec = read_objects_file(SCENE / "objects.yaml")[1]
    assert spec.cad is not None
    mesh = load_cad(spec.cad, spec.units)
    mesh.apply_translation(np.array(SHIFTS_M[name]) - mesh.bounds.mean(axis=0))
    rgb = mesh.visual.vertex_colors[:, :3]
    rows = np.hstack([mesh.vertices, rgb / 255])
    lines = ["v " + " ".join(f"{number:.9f}" for number in row) for row in rows]
    lines += [f"f {a + 1} {b + 1} {c + 1}" for a, b, c in mesh.faces]
    (folder / f"{name}.obj").write_text("\n".join([*lines, ""]))
    return folder / f"{name}.obj"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Detections]:
    """The best detection of each, by both scoring methods."""
    folder = tmp_path_factory.mktemp("origins")
    frame = read_frame(SCENE / "rgb.jpg", SCENE / "depth.png", SCENE / "camera.json")
    settings = Settings(cache_dir=str(folder / "cache"), device="cpu", score_threshold=0.1)
    model = load_model(settings)
    for number, name in enumerate(SHIFTS_M, start=1):
        model.add(ObjectSpec(name, shifted_cad(folder, name), "m", category_id=number))
    return {
        (name, scoring): model.segment(frame, [name], settings.model_copy(update={"scoring": scoring}))[
            torch.tensor([0])
        ]
        for name in SHIFTS_M
        for scoring in ("shape", "sam6d")
    }


@pytest.mark.slow
@pytest.mark.parametrize("scoring", ["shape", "sam6d"])
@pytest.mark.parametrize("name", list(SHIFTS_M)[1:])
def test_an_object_is_found_alike_wherever_its_origin_lies(
    found: dict[tuple[str, str], Detections], name: str, scoring: str
) -> None:
    here, there = found["middle", scoring], found[name, scoring]
    assert here.boxes_xyxy.tolist() == there.boxes_xyxy.tolist()
    for part in ("score", "semantic_score", "appearance_score", "geometric_score", "fit_score"):
        assert float(getattr(here, part)[0]) == pytest.approx(float(getattr(there, part)[0]), abs=0.005), part


@pytest.mark.slow
@pytest.mark.parametrize("name", list(SHIFTS_M)[1:])
def test_the_pose_is_that_of_the_files_own_origin(found: dict[tuple[str, str], Detections], name: str) -> None:
    here, there = found["middle", "shape"], found[name, "shape"]
    np.testing.assert_allclose(there.rotation[0], here.rotation[0], atol=1e-3)
    moved = there.translation_m[0].double() + there.rotation[0].double() @ torch.tensor(SHIFTS_M[name]).double()
    np.testing.assert_allclose(moved, here.translation_m[0], atol=1e-3)
    np.testing.assert_allclose(there.model_centers_m()[0], here.model_centers_m()[0], atol=1e-3)
    assert here.model_box_m is not None
    assert there.model_box_m is not None
    np.testing.assert_allclose(there.model_box_m[0] - here.model_box_m[0], [SHIFTS_M[name]] * 2, atol=1e-3)


def test_templates_of_an_object_far_from_its_origin_keep_their_precision(tmp_path: Path) -> None:
    box = trimesh.creation.box((0.08, 0.05, 0.03))
    for shift_m, kind in ((0.0, np.float16), (3.0, np.float32), (FAR_M, np.float32), (5e5, np.float64)):
        moved = box.copy()
        moved.apply_translation((shift_m, 0, 0))
        write_templates(tmp_path / "t", render_templates(moved, size_px=64))
        assert np.load(tmp_path / "t" / "xyz_0.npy").dtype == kind
        read = read_templates(tmp_path / "t")
        seen_m = read.xyz_m[read.masks].astype(np.float64) - (shift_m, 0, 0)
        np.testing.assert_allclose(np.ptp(seen_m, axis=0), [0.08, 0.05, 0.03], rtol=0.08)
        assert np.abs(seen_m).max() < 0.0405


def test_a_far_origin_is_as_uncertain_as_turns_make_it() -> None:
    carried = at_origin(unknown_covariance(), np.array([0.0, 0.0, 2.0]))
    assert carried[0, 0] > unknown_covariance()[0, 0] + 3
    np.testing.assert_allclose(carried[2, 2], unknown_covariance()[2, 2])
    np.testing.assert_allclose(at_origin(unknown_covariance(), np.zeros(3)), unknown_covariance())


def test_covariances_of_many_are_those_of_each() -> None:
    arms_m = np.random.default_rng(1).normal(size=(3, 3))
    each = np.stack([at_origin(unknown_covariance(), arm) for arm in arms_m])
    np.testing.assert_allclose(at_origin(unknown_covariance(), arms_m), each)
