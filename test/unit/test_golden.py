"""Our arithmetic against the numbers that the reference ISM computes on seeded random input."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ism_ros.checkpoints.loaders.dinov2_checkpoint import load_dinov2
from ism_ros.checkpoints.loaders.sam_checkpoint import load_sam
from ism_ros.data.boxes import boxes_from_masks
from ism_ros.data.camera import Camera
from ism_ros.data.crops import crop_resize_pad
from ism_ros.data.masks import large_enough
from ism_ros.data.nms import nms
from ism_ros.matching import sam6d
from ism_ros.matching.scores import patch_scores, similarity
from ism_ros.matching.scores.geometry import geometric_score, mean_position_m, projected_boxes
from ism_ros.segmentors.sam.automatic_masks import AutomaticMasks, MaskOptions
from ism_ros.segmentors.sam.sam_segmentor import PromptableSam

GOLDEN = Path(os.environ.get("ISM_GOLDEN_DIR") or Path(__file__).parents[1] / "golden")


def load(name: str) -> dict[str, Tensor]:
    with np.load(GOLDEN / name) as archive:
        return {key: torch.from_numpy(np.asarray(archive[key])) for key in archive}


@pytest.fixture(scope="module")
def matching() -> dict[str, Tensor]:
    return load("matching.npz")


@pytest.fixture(scope="module")
def geometry() -> dict[str, Tensor]:
    return load("geometry.npz")


def assert_close(ours: Tensor, reference: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(ours.double(), reference.double(), rtol=0.0, atol=tolerance)


def chosen_patches(matching: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    template = matching["template_patches"][matching["object_index"], matching["best_template"]]
    return matching["query_patches"][matching["selected"]], template


def test_pairwise_similarity(matching: dict[str, Tensor]) -> None:
    assert_close(similarity.pairwise_similarity(matching["query"], matching["templates"]), matching["pairwise"], 1e-5)


def test_semantic_score_object_and_template(matching: dict[str, Tensor]) -> None:
    score, object_index, best_template = similarity.semantic_score(matching["pairwise"])
    selected = torch.nonzero(score > 0.2)[:, 0]
    assert selected.tolist() == matching["selected"].tolist()
    assert_close(score[selected], matching["semantic"], 1e-5)
    assert object_index[selected].tolist() == matching["object_index"].tolist()
    assert best_template[selected].tolist() == matching["best_template"].tolist()


def test_appearance_score(matching: dict[str, Tensor]) -> None:
    appearance, _ = patch_scores.patch_scores(*chosen_patches(matching))
    assert_close(appearance, matching["appearance"], 1e-5)


def test_visible_ratio(matching: dict[str, Tensor], geometry: dict[str, Tensor]) -> None:
    _, visible_ratio = patch_scores.patch_scores(*chosen_patches(matching))
    assert_close(visible_ratio, geometry["visible_ratio"], 1e-4)


def test_patch_scores_do_not_depend_on_the_chunk(matching: dict[str, Tensor]) -> None:
    whole, small = (patch_scores.patch_scores(*chosen_patches(matching), chunk=chunk) for chunk in (1000, 3))
    assert_close(small[0], whole[0], 1e-6)
    assert_close(small[1], whole[1], 1e-6)


def test_translation_is_the_mean_of_back_projected_depth(geometry: dict[str, Tensor]) -> None:
    depth_m = geometry["depth_mm"].float() * geometry["depth_scale"] / 1000.0
    camera = Camera(geometry["K"].numpy(), depth_m.shape[1], depth_m.shape[0])
    translation_m, _ = mean_position_m(geometry["masks"], depth_m, camera)
    assert_close(translation_m, geometry["translation_m"], 1e-4)


def test_projected_cad_points(geometry: dict[str, Tensor]) -> None:
    points_m = geometry["points_m"][geometry["object_index"]]
    count, number, _ = points_m.shape
    # the box of one point is its pixel, twice
    boxes = projected_boxes(
        points_m.reshape(-1, 1, 3),
        geometry["template_rotations"][geometry["best_template"]].repeat_interleave(number, dim=0),
        geometry["translation_m"].repeat_interleave(number, dim=0),
        geometry["K"],
        tuple(geometry["depth_mm"].shape),
    )
    for pixels in boxes.view(count, number, 4).split(2, dim=2):
        assert (pixels - geometry["projected_uv"]).abs().max() <= 1


def test_geometric_score_is_per_proposal(geometry: dict[str, Tensor]) -> None:
    uv = geometry["projected_uv"].long()
    iou = geometric_score(torch.cat([uv.amin(dim=1), uv.amax(dim=1)], dim=1), geometry["boxes_xyxy"])
    assert_close(iou, geometry["iou"], 1e-4)


def test_final_score(geometry: dict[str, Tensor]) -> None:
    final = sam6d.final_score(*(geometry[key] for key in ("semantic", "appearance", "iou", "visible_ratio")))
    assert_close(final, geometry["final"], 1e-4)


def test_boxes_from_masks(geometry: dict[str, Tensor]) -> None:
    assert boxes_from_masks(geometry["masks"]).tolist() == geometry["boxes_xyxy"].tolist()


def test_crop_resize_pad() -> None:
    golden = load("crop_resize_pad.npz")
    crops, _ = crop_resize_pad(golden["image"], golden["masks"], golden["boxes_xyxy"], int(golden["size"]))
    assert_close(crops, golden["crops"], 1e-6)


def test_small_detection_filter() -> None:
    golden = load("postprocess.npz")
    kept = torch.nonzero(large_enough(golden["masks"], golden["boxes_xyxy"]))[:, 0]
    assert kept.tolist() == golden["kept_after_small"].tolist()


def test_nms_within_each_object() -> None:
    golden = load("postprocess.npz")
    kept = nms(golden["boxes_xyxy"], golden["scores"], 0.25, golden["object_ids"])
    assert sorted(kept.tolist()) == sorted(golden["kept_after_nms"].tolist())


def relative_error(ours: Tensor, reference: Tensor) -> float:
    return float((ours - reference).abs().max() / reference.abs().max())


def test_dinov2_tokens() -> None:
    golden = load("dinov2_tiny.npz")
    model = load_dinov2(GOLDEN / "dinov2_tiny_pretrain.pth", heads=4)
    with torch.inference_mode():
        tokens = model(golden["images"].float()).last_hidden_state
    assert relative_error(tokens[:, 0], golden["cls"]) < 1e-4
    assert relative_error(tokens[:, 1:], golden["patches"]) < 1e-4


def test_sam_embedding_masks_and_predicted_iou() -> None:
    golden = load("sam_tiny.npz")
    model = PromptableSam(load_sam(GOLDEN / "sam_tiny.pth", decoder_heads=4))
    with torch.inference_mode():
        embedding, size = model.embed(golden["image"].numpy())
        # the points of these numbers are in the encoder's square, of which this image is as wide
        logits, predicted_iou = model.predict((embedding, size), golden["points_xy"][:, 0])
    assert relative_error(embedding, golden["embedding"]) < 1e-4
    assert relative_error(logits, golden["low_res_masks"]) < 1e-4
    assert relative_error(predicted_iou, golden["iou_predictions"]) < 1e-4


@pytest.mark.parametrize("margin", [MaskOptions.stability_margin, math.inf], ids=["default", "all at full size"])
def test_sam_automatic_masks(margin: float) -> None:
    golden = load("sam_tiny.npz")
    given = json.loads((GOLDEN / "sam_tiny.json").read_text())
    options = MaskOptions(
        width=0,
        points_per_side=given["points_per_side"],
        predicted_iou=given["pred_iou_thresh"],
        stability=given["stability_score_thresh"],
        box_nms=given["box_nms_thresh"],
        stability_margin=margin,
    )
    model = PromptableSam(load_sam(GOLDEN / "sam_tiny.pth", decoder_heads=4))
    ours = AutomaticMasks(model, points_per_batch=given["points_per_batch"]).propose(golden["image"].numpy(), options)
    assert len(ours) == len(golden["amg_masks"])
    for mask, box in zip(golden["amg_masks"], golden["amg_boxes_xyxy"], strict=True):
        iou = (ours.masks & mask).flatten(1).sum(dim=1) / (ours.masks | mask).flatten(1).sum(dim=1)
        assert iou.max() > 0.99
        assert ours.boxes_xyxy[iou.argmax()].tolist() == box.tolist()
