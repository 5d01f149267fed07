"""What a GPU finds is what a CPU finds. Needs one; elsewhere these are skipped."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

pytest.importorskip("embreex")

from ism_ros import scoring
from ism_ros.chunks import Chunks, Recoveries
from ism_ros.config import Settings
from ism_ros.ism import load_model
from ism_ros.masks import boxes_from_masks, crop_resize_pad, mask_nms, nms
from ism_ros.sim.scenes import known_objects, make_scene, make_thing, observe
from ism_ros.sim.shapes import export_cad

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")


def random_masks(count: int) -> torch.Tensor:
    torch.manual_seed(0)
    masks = torch.zeros(count, 120, 160, dtype=torch.bool)
    for row in range(count):
        y, x = int(torch.randint(100, (1,))), int(torch.randint(130, (1,)))
        masks[row, y : y + 5 + row % 40, x : x + 7 + row % 50] = True
    return masks


@pytest.mark.parametrize("pair", ["tiny+tiny", "depth+classic"])
def test_an_embedded_pair_finds_the_same(tmp_path: Path, pair: str) -> None:
    meshes = known_objects(3)
    entries = [{"id": m.metadata["name"], "cad": export_cad(m, tmp_path).name, "units": "m"} for m in meshes]
    file = tmp_path / "objects.yaml"
    file.write_text(yaml.safe_dump({"objects": entries}))
    frame, _ = observe(make_scene(3, [make_thing(mesh) for mesh in meshes]))
    segmentor, descriptor = pair.split("+")
    found = [
        load_model(
            Settings(
                segmentor=segmentor,
                descriptor=descriptor,
                objects_file=str(file),
                cache_dir=str(tmp_path / "cache"),
                device=device,
                score_threshold=0.4,
            )
        ).segment(frame)
        for device in ("cpu", "cuda:0")
    ]
    on_cpu, on_gpu = found
    assert len(on_cpu) > 2
    assert abs(len(on_cpu) - len(on_gpu)) <= 1
    first, second = on_cpu.masks.flatten(1).float(), on_gpu.masks.cpu().flatten(1).float()
    common = first @ second.T
    iou = common / (first.sum(1)[:, None] + second.sum(1) - common)
    best = iou.argmax(dim=1)
    sure = on_cpu.score > 0.5
    assert float(iou.amax(dim=1)[sure].min()) > 0.9
    torch.testing.assert_close(on_gpu.score.cpu()[best][sure], on_cpu.score[sure], atol=0.03, rtol=0)


def test_crops_are_the_same() -> None:
    masks = random_masks(40)
    image = torch.rand(3, 120, 160)
    here = crop_resize_pad(image, masks, boxes_from_masks(masks), 96)
    there = crop_resize_pad(image.cuda(), masks.cuda(), boxes_from_masks(masks.cuda()), 96)
    for one, other in zip(here, there, strict=True):
        torch.testing.assert_close(one, other.cpu())


def test_suppression_is_the_same() -> None:
    masks, score = random_masks(60), torch.rand(60)
    order = score.argsort(descending=True)
    torch.testing.assert_close(mask_nms(masks, order, 0.4), mask_nms(masks.cuda(), order.cuda(), 0.4).cpu())
    boxes = boxes_from_masks(masks)
    torch.testing.assert_close(nms(boxes, score, 0.4), nms(boxes.cuda(), score.cuda(), 0.4).cpu())


def test_semantic_scores_are_the_same() -> None:
    pairwise = torch.rand(30, 5, 42)
    for one, other in zip(scoring.semantic_score(pairwise), scoring.semantic_score(pairwise.cuda()), strict=True):
        torch.testing.assert_close(one, other.cpu())


def test_memory_that_runs_out_is_asked_for_in_smaller_pieces() -> None:
    free, _ = torch.cuda.mem_get_info()
    row = free // 8
    recoveries = Recoveries()

    def work(rows: slice) -> int:
        held = torch.empty((rows.stop - rows.start) * row, dtype=torch.uint8, device="cuda")
        return len(held) // row

    assert sum(Chunks(16, "pieces", recoveries).run(16, work)) == 16
    assert recoveries.count > 0
    torch.cuda.empty_cache()
