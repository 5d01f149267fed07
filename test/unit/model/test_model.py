"""The whole recipe on a simulated table: from CAD files and a frame to the right instances."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from ism_ros.config.settings import Settings
from ism_ros.data.camera import Camera
from ism_ros.data.detections import Detections
from ism_ros.data.frame import Frame
from ism_ros.loading import load_model
from ism_ros.model import InstanceSegmentationModel
from ism_ros.pose.estimation import with_coarse_poses
from ism_ros.query import Query
from ism_ros.sim.benchmark_scenes.known_objects import known_objects, make_scene_object
from ism_ros.sim.benchmark_scenes.objects.object_catalog import export_cad
from ism_ros.sim.benchmark_scenes.scene_rendering import observe
from ism_ros.sim.benchmark_scenes.table_scene import make_scene
from ism_ros.sim.synthesis.ground_truth import GroundTruth

SCENE = 3


@pytest.fixture(scope="module")
def meshes() -> list:
    return known_objects(0, count=3)


@pytest.fixture(scope="module")
def model(meshes: list, tmp_path_factory: pytest.TempPathFactory) -> InstanceSegmentationModel:
    folder = tmp_path_factory.mktemp("objects")
    entries = [
        {"id": mesh.metadata["name"], "cad": export_cad(mesh, folder).name, "units": "m"} for mesh in meshes
    ]  # fmt: skip
    (folder / "objects.yaml").write_text(yaml.safe_dump({"objects": entries}))
    told: list[str] = []
    model = load_model(
        Settings(objects_file=str(folder / "objects.yaml"), cache_dir=str(folder / "cache"), device="cpu"), told.append
    )
    assert any(entry["id"] in line for entry in entries for line in told)
    return model


@pytest.fixture(scope="module")
def observed(meshes: list) -> tuple:
    scene = make_scene(SCENE, [make_scene_object(mesh) for mesh in meshes], objects=(4, 4), known_in_scene=(3, 3))
    return observe(scene)


def found_where_they_are(detections: Detections, truth: GroundTruth) -> int:
    """How many known instances have a detection of their name whose mask is theirs."""
    right = 0
    for row in np.flatnonzero(truth.known):
        mask = torch.from_numpy(truth.masks[row])
        right += any(
            detections.class_id(i) == truth.names[row]
            and (detections.masks[i] & mask).sum() / (detections.masks[i] | mask).sum() > 0.5
            for i in range(len(detections))
        )
    return right


def test_known_objects_are_found_where_they_are(model: InstanceSegmentationModel, observed: tuple) -> None:
    frame, truth = observed
    assert found_where_they_are(model.segment(frame), truth) >= 2


def test_frames_segmented_together_are_as_those_segmented_alone(
    model: InstanceSegmentationModel, observed: tuple
) -> None:
    frame, _ = observed
    shifted = Frame(np.roll(frame.rgb, 40, axis=1), np.roll(frame.depth_m, 40, axis=1), frame.camera)
    empty = Frame(np.zeros_like(frame.rgb), None, frame.camera)
    frames = [frame, empty, shifted]
    together = model.segment_all([Query(one, model.library, model.settings) for one in frames])
    for one, found in zip(frames, together, strict=True):
        alone = model.segment(one)
        assert torch.equal(found.masks, alone.masks)
        assert torch.equal(found.object_index, alone.object_index)
        for field in ("score", "semantic_score", "appearance_score", "translation_m", "rotation"):
            torch.testing.assert_close(getattr(found, field), getattr(alone, field), atol=0, rtol=0, equal_nan=True)


@pytest.mark.parametrize(("is_there", "warned"), [(True, ["no_depth"]), (False, [])])
def test_depth_that_is_there_without_a_reading_is_warned_about(
    model: InstanceSegmentationModel, observed: tuple, is_there: bool, warned: list[str]
) -> None:
    frame, _ = observed
    depth_m = np.zeros_like(frame.depth_m) if is_there else None
    warnings = model.segment(Frame(frame.rgb, depth_m, frame.camera)).warnings
    assert [warning.reason for warning in warnings] == warned


def test_poses_from_the_alignments_of_the_scores_are_those_of_new_alignments(
    model: InstanceSegmentationModel, observed: tuple
) -> None:
    frame, _ = observed
    loose = model.settings.model_copy(update={"score_threshold": 0.2})
    found = model.segment(frame, settings=loose)
    assert len(set(found.object_index.tolist())) == 3
    bare = model.segment(frame, settings=loose, with_poses=False)
    again = with_coarse_poses(bare, frame, model.library, model.descriptor.view_prior_weight)
    assert torch.equal(found.template_index, again.template_index)
    for field in ("rotation", "translation_m", "pose_covariance", "model_box_m"):
        torch.testing.assert_close(getattr(found, field), getattr(again, field), atol=1e-4, rtol=0, equal_nan=True)


def test_a_frame_leaves_its_thread_as_many_threads_of_pytorch_as_it_had(
    model: InstanceSegmentationModel, observed: tuple
) -> None:
    before = torch.get_num_threads()
    model.segment(observed[0])
    assert torch.get_num_threads() == before
    with ThreadPoolExecutor(1) as other:
        other.submit(model.segment, observed[0]).result()
        assert other.submit(torch.get_num_threads).result() == before


@pytest.fixture(scope="module")
def noctis(model: InstanceSegmentationModel) -> InstanceSegmentationModel:
    settings = model.settings.model_copy(update={"scoring": "noctis", "score_threshold": 0.3})
    return InstanceSegmentationModel(model.segmentor, model.descriptor, model.library, settings)


def test_known_objects_are_found_with_noctis_too(noctis: InstanceSegmentationModel, observed: tuple) -> None:
    frame, truth = observed
    assert found_where_they_are(noctis.segment(frame), truth) >= 2


def test_only_matchers_that_verify_poses_give_evidence(
    model: InstanceSegmentationModel, noctis: InstanceSegmentationModel, observed: tuple
) -> None:
    frame, _ = observed
    assert noctis.segment(frame).evidence is None
    verified = model.segment(frame)
    assert verified.evidence is not None
    assert verified.evidence.is_verified().all()
    assert verified.evidence.values.shape == (len(verified), len(verified.evidence.names))


def test_noctis_gives_a_pair_the_same_scores_whatever_else_is_known(
    noctis: InstanceSegmentationModel, observed: tuple
) -> None:
    frame, _ = observed
    together = noctis.segment(frame)
    first = together.class_id(0)
    alone = noctis.segment(frame, [first])
    same = (alone.masks == together.masks[0]).flatten(1).all(dim=1)
    assert same.sum() == 1
    for part in ("score", "semantic_score", "appearance_score"):
        torch.testing.assert_close(getattr(alone, part)[same][0], getattr(together, part)[0])


def test_noctis_scores_have_the_segmentors_confidence_as_a_factor(
    noctis: InstanceSegmentationModel, observed: tuple
) -> None:
    frame, _ = observed
    detections, proposals = noctis.segment(frame), noctis.segmentor.propose(frame)
    assert len(detections) > 0
    for row in range(len(detections)):
        confidence = proposals.confidence[(proposals.masks == detections.masks[row]).flatten(1).all(dim=1)]
        match = detections.semantic_score[row] / 2 + detections.appearance_score[row]
        torch.testing.assert_close(detections.score[row], (match * confidence[0]).clamp(max=1.0))
    assert torch.isfinite(detections.translation_m).all()
    assert (detections.geometric_score > 0).any()


def test_noctis_needs_no_depth(noctis: InstanceSegmentationModel, observed: tuple) -> None:
    frame, _ = observed
    settings = noctis.settings.model_copy(update={"score_threshold": 0.0})
    loose = InstanceSegmentationModel(noctis.segmentor, noctis.descriptor, noctis.library, settings)
    detections = loose.segment(Frame(frame.rgb, None, frame.camera))
    assert len(detections) > 0
    assert (detections.geometric_score == 0).all()


def test_noctis_without_a_candidate_is_an_empty_result(noctis: InstanceSegmentationModel, observed: tuple) -> None:
    frame, _ = observed
    settings = noctis.settings.model_copy(update={"confidence_threshold": 1.0})
    picky = InstanceSegmentationModel(noctis.segmentor, noctis.descriptor, noctis.library, settings)
    assert len(picky.segment(frame)) == 0


def test_detections_are_aligned_sorted_and_above_the_threshold(
    model: InstanceSegmentationModel, observed: tuple
) -> None:
    frame, _ = observed
    detections = model.segment(frame)
    assert len(detections) > 0
    assert detections.score.tolist() == sorted(detections.score.tolist(), reverse=True)
    assert (detections.score >= model.settings.score_threshold).all()
    assert detections.masks.shape[1:] == frame.rgb.shape[:2]
    assert set(detections.stage_s) == {"proposals", "descriptors", "scores", "selection", "search", "pose"}
    assert torch.isfinite(detections.translation_m).all()
    identity = detections.rotation @ detections.rotation.transpose(1, 2)
    torch.testing.assert_close(identity, torch.eye(3).expand_as(identity), atol=1e-4, rtol=0)


def test_only_the_objects_asked_for_are_found(model: InstanceSegmentationModel, observed: tuple) -> None:
    frame, _ = observed
    wanted = model.library.ids[0]
    detections = model.segment(frame, [wanted])
    assert {detections.class_id(row) for row in range(len(detections))} <= {wanted}
    with pytest.raises(KeyError, match="not known"):
        model.segment(frame, ["nothing"])


def test_without_depth_the_score_of_sam6d_is_the_mean_of_semantic_and_appearance(
    model: InstanceSegmentationModel, observed: tuple
) -> None:
    frame, _ = observed
    settings = model.settings.model_copy(update={"scoring": "sam6d"})
    detections = model.segment(Frame(frame.rgb, None, frame.camera), settings=settings)
    assert len(detections)
    assert (detections.visible_ratio == 0).all()
    torch.testing.assert_close(detections.score, (detections.semantic_score + detections.appearance_score) / 2)


def test_an_empty_scene_is_an_empty_result(model: InstanceSegmentationModel) -> None:
    camera = Camera(np.array([[600.0, 0, 160], [0, 600.0, 120], [0, 0, 1]]), 320, 240)
    frame = Frame(np.full((240, 320, 3), 128, np.uint8), np.full((240, 320), 1.0, np.float32), camera)
    assert len(model.segment(frame)) == 0


def test_no_known_object_is_an_empty_result(model: InstanceSegmentationModel, observed: tuple) -> None:
    from ism_ros.objects.library import ObjectLibrary

    frame, _ = observed
    nothing = InstanceSegmentationModel(model.segmentor, model.descriptor, ObjectLibrary(), model.settings)
    assert len(nothing.segment(frame)) == 0


def test_thresholds_may_change_while_it_runs(model: InstanceSegmentationModel, observed: tuple) -> None:
    frame, _ = observed
    strict = InstanceSegmentationModel(model.segmentor, model.descriptor, model.library, model.settings)
    strict.settings = strict.settings.model_copy(update={"score_threshold": 1.0})
    assert len(strict.segment(frame)) == 0


def test_a_frame_without_detections_tells_what_came_nearest_to_one(
    model: InstanceSegmentationModel, observed: tuple
) -> None:
    frame, _ = observed
    found = model.segment(frame)
    assert found.best_rejected is None
    strict = model.settings.model_copy(update={"score_threshold": 1.0})
    miss = model.segment(frame, settings=strict).best_rejected
    assert miss is not None
    assert miss.class_id == found.class_id(0)
    assert miss.score == pytest.approx(float(found.score[0]))
    assert list(miss.box_xyxy) == found.boxes_xyxy[0].tolist()


def test_one_region_is_one_object(model: InstanceSegmentationModel, observed: tuple) -> None:
    frame, _ = observed
    loose = InstanceSegmentationModel(model.segmentor, model.descriptor, model.library, model.settings)
    loose.settings = loose.settings.model_copy(update={"overlap_threshold": 0.5, "score_threshold": 0.0})
    detections = loose.segment(frame)
    flat = detections.masks.flatten(1).float()
    overlap = flat @ flat.T
    area = flat.sum(dim=1)
    iou = overlap / (area[:, None] + area[None] - overlap)
    assert (iou - torch.eye(len(iou))).max() < 0.6


def test_a_frame_keeps_its_meaning_in_another_resolution(model: InstanceSegmentationModel, observed: tuple) -> None:
    frame, _ = observed
    assert frame.depth_m is not None
    half_camera = Camera(np.diag([0.5, 0.5, 1.0]) @ frame.camera.intrinsics, frame.width // 2, frame.height // 2)
    half = replace(frame, rgb=frame.rgb[::2, ::2], depth_m=frame.depth_m[::2, ::2], camera=half_camera)
    assert len(model.segment(half)) > 0


def test_unknown_models_are_errors_that_list_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="tiny, sam"):
        load_model(Settings(segmentor="sonar", cache_dir=str(tmp_path)))
