"""Objects whose CAD models have no colors are compared in gray, and found in whatever color the things are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from ism_ros.config.settings import Settings
from ism_ros.data.detections import Detections
from ism_ros.loading import load_model
from ism_ros.model import InstanceSegmentationModel
from ism_ros.objects.spec import ObjectSpec
from ism_ros.query import ProposalCrops, Query
from ism_ros.selftest.sample_files import SCENE, read_sample_frame


@pytest.fixture(scope="module")
def model(sample_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> InstanceSegmentationModel:
    """Knows the objects of the sample scene, and the shape of the banana as `plain`."""
    objects = str(SCENE / "objects.yaml")
    model = load_model(Settings(device="cpu", objects_file=objects, cache_dir=str(sample_cache)))
    stl = tmp_path_factory.mktemp("cad") / "plain.stl"
    mesh = trimesh.load(SCENE / "banana.ply", force="mesh")
    assert isinstance(mesh, trimesh.Trimesh)
    mesh.export(stl)
    model.add(ObjectSpec("plain", cad=stl, units="m"))
    return model


@torch.inference_mode()
def crops_for(model: InstanceSegmentationModel, *ids: str, **settings: str) -> ProposalCrops:
    query = Query(read_sample_frame(), model.library.subset(ids), model.settings.model_copy(update=settings))
    return model.propose(query)


def are_gray(crops: torch.Tensor) -> bool:
    return bool(torch.equal(crops[:, 0], crops[:, 1]) and torch.equal(crops[:, 1], crops[:, 2]))


def best_of(found: Detections, object_id: str) -> float:
    of_object = found.object_index == list(found.object_ids).index(object_id)
    return float(found.score[of_object].max())


def test_a_model_of_one_gray_has_no_colors(model: InstanceSegmentationModel) -> None:
    assert dict(zip(model.library.ids, model.library.is_colorless.tolist(), strict=True)) == {
        "carton": False,
        "banana": False,
        "plain": True,
    }


def test_crops_are_gray_where_no_object_has_colors(model: InstanceSegmentationModel) -> None:
    crops = crops_for(model, "plain")
    assert are_gray(crops.crops)
    assert crops.in_gray is None


def test_crops_are_in_color_where_all_objects_have(model: InstanceSegmentationModel) -> None:
    crops = crops_for(model, "carton", "banana")
    assert not are_gray(crops.crops)
    assert crops.in_gray is None


def test_crops_are_both_where_some_objects_have_colors(model: InstanceSegmentationModel) -> None:
    crops = crops_for(model, "carton", "plain")
    assert crops.in_gray is not None
    assert are_gray(crops.in_gray)
    assert not are_gray(crops.crops)


def test_the_reference_compares_everything_in_color(model: InstanceSegmentationModel) -> None:
    crops = crops_for(model, "plain", scoring="sam6d")
    assert not are_gray(crops.crops)


@pytest.mark.parametrize("beside", [(), ("carton",)])
def test_the_colors_of_a_thing_are_nothing_to_a_model_without_any(
    model: InstanceSegmentationModel, beside: tuple[str, ...]
) -> None:
    frame = read_sample_frame()
    blue = replace(frame, rgb=np.ascontiguousarray(frame.rgb[..., ::-1]))
    scores = [best_of(model.segment(one, ["plain", *beside]), "plain") for one in (frame, blue)]
    assert min(scores) > 0.5
    assert scores[1] == pytest.approx(scores[0], abs=0.1)


def test_other_objects_are_scored_alike_beside_one_without_colors(model: InstanceSegmentationModel) -> None:
    frame = read_sample_frame()
    alone, beside = (model.segment(frame, ids) for ids in (["carton"], ["carton", "plain"]))
    assert float(beside.appearance_score[0]) == pytest.approx(float(alone.appearance_score[0]), abs=1e-4)
    assert float(beside.semantic_score[0]) == pytest.approx(float(alone.semantic_score[0]), abs=1e-4)
