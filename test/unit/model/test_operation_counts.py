"""A frame of the embedded pair asks PyTorch for no more operations, and waits for no more of them, than it did."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ism_ros.bench.operation_counts import OperationCounter
from ism_ros.bench.stage_operations import STAGES, count_operations
from ism_ros.config.settings import Settings
from ism_ros.loading import load_model
from ism_ros.model import InstanceSegmentationModel
from ism_ros.query import Query
from ism_ros.selftest.sample_files import SCENE, read_sample_frame

MOST = {
    "proposals": (542, 18),
    "descriptors": (790, 0),
    "scores": (1330, 121),
    "selection": (126, 7),
    "search": (20, 3),
    "pose": (60, 16),
}
"""Most operations and waits of each stage: those of the sample scene on one thread (docs/gpu.md), and a tenth."""


@pytest.fixture(scope="module")
def model(sample_cache: Path) -> InstanceSegmentationModel:
    objects = str(SCENE / "objects.yaml")
    return load_model(Settings(device="cpu", runtime="torch", objects_file=objects, cache_dir=str(sample_cache)))


def test_no_stage_of_a_frame_has_more_operations_or_waits_than_it_had(model: InstanceSegmentationModel) -> None:
    query = Query(read_sample_frame(), model.library, model.settings).with_registered_depth()
    counted = count_operations(model, query)
    assert tuple(counted) == STAGES == tuple(MOST)
    found = {stage: (one.operations, one.waits) for stage, one in counted.items()}
    over = {stage: of for stage, of in found.items() if of[0] > MOST[stage][0] or of[1] > MOST[stage][1]}
    assert not over, f"of at most {MOST}"
    assert all(one.operations > 0 for one in counted.values())


@pytest.mark.parametrize(
    ("text", "operations", "waits"),
    [
        ("x + 1", 1, 0),
        ("(x * 2 + 1).relu_()", 3, 0),
        ("x[1:].view(-1)[None]", 0, 0),
        ("x.to(torch.float32)", 0, 0),
        ("x.item() if len(x) == 1 else x[0].item()", 1, 1),
        ("bool(x.sum() > 0)", 3, 1),
        ("x[x > 0]", 2, 1),
        ("x[torch.tensor([0, 1])]", None, 0),
        ("torch.nonzero(x)", 1, 1),
        ("x.tolist()", 0, 1),
        ("x.cpu().numpy()", 0, 1),
        ("torch.equal(x, x)", 1, 1),
    ],
)
@torch.inference_mode()
def test_operations_are_what_a_gpu_launches_and_waits_what_it_hands_to_python(
    text: str, operations: int | None, waits: int
) -> None:
    counter = OperationCounter()
    x = torch.ones(4)
    with counter.counting():
        eval(text, {"torch": torch, "x": x})
    counted = counter.result()
    assert counted.waits == waits
    assert operations is None or counted.operations == operations


@torch.inference_mode()
def test_formats_of_products_are_told_and_nothing_is_counted_behind_the_block() -> None:
    counter = OperationCounter()
    with counter.counting():
        torch.ones(2, 2, dtype=torch.bfloat16) @ torch.ones(2, 2, dtype=torch.bfloat16)
        torch.nn.functional.linear(torch.ones(2, 2), torch.ones(2, 2))
        torch.nn.functional.linear(torch.ones(2, 2), torch.ones(2, 2))
    torch.ones(2).tolist()
    counted = counter.result()
    assert counted.formats == ["float32", "bfloat16"]
    assert counted.waits == 0
