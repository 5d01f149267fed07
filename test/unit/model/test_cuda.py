"""What a GPU finds is what a CPU finds. Needs one; elsewhere these are skipped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

pytest.importorskip("embreex")

from dummy_networks import ANYTHING, DINOV2, PAIRS, install_pair

from ism_ros.config.settings import Settings
from ism_ros.data.boxes import boxes_from_masks
from ism_ros.data.camera import Camera
from ism_ros.data.crops import crop_resize_pad
from ism_ros.data.detections import Detections
from ism_ros.data.frame import Frame
from ism_ros.data.nms import mask_nms, nms
from ism_ros.descriptors.base import DESCRIPTORS
from ism_ros.descriptors.dinov2 import dinov2_descriptor
from ism_ros.io.result_files import label_image, to_records
from ism_ros.loading import load_model
from ism_ros.matching.scores import geometry, patch_scores, similarity
from ism_ros.runtime.memory import device_segments
from ism_ros.runtime.model_request import ModelRequest
from ism_ros.runtime.out_of_memory import OutOfMemoryCounter, OutOfMemoryRetry
from ism_ros.sim.benchmark_scenes.known_objects import known_objects, make_scene_object
from ism_ros.sim.benchmark_scenes.objects.object_catalog import export_cad
from ism_ros.sim.benchmark_scenes.scene_rendering import observe
from ism_ros.sim.benchmark_scenes.table_scene import make_scene

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")


def random_masks(count: int) -> torch.Tensor:
    torch.manual_seed(0)
    masks = torch.zeros(count, 120, 160, dtype=torch.bool)
    for row in range(count):
        y, x = int(torch.randint(100, (1,))), int(torch.randint(130, (1,)))
        masks[row, y : y + 5 + row % 40, x : x + 7 + row % 50] = True
    return masks


Scene = tuple[dict[str, object], Frame]


def scene_of(folder: Path, count: int) -> Scene:
    """Settings that know `count` objects, and a frame of these."""
    meshes = known_objects(count)
    entries = [{"id": m.metadata["name"], "cad": export_cad(m, folder).name, "units": "m"} for m in meshes]
    file = folder / "objects.yaml"
    file.write_text(yaml.safe_dump({"objects": entries}))
    frame, _ = observe(make_scene(3, [make_scene_object(mesh) for mesh in meshes]))
    return {"objects_file": str(file), "cache_dir": str(folder / "cache")}, frame


@pytest.fixture(scope="module")
def three_objects(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return scene_of(tmp_path_factory.mktemp("three"), 3)


@pytest.fixture(scope="module")
def one_object(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return scene_of(tmp_path_factory.mktemp("one"), 1)


@pytest.fixture
def exact() -> Iterator[None]:
    """Convolutions in whole float32, so that thresholds fall where they do on a CPU."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


def found_on(device: str, settings: dict[str, object], frame: Frame) -> Detections:
    return load_model(Settings(**settings, device=device)).segment(frame)  # type: ignore[arg-type]


def assert_alike(on_cpu: Detections, on_gpu: Detections, min_score: float, share: float = 1.0) -> None:
    """At least `share` of what the CPU finds above `min_score` has a partner: the same mask, about the same score."""
    first, second = on_cpu.masks.flatten(1).float(), on_gpu.masks.cpu().flatten(1).float()
    common = first @ second.T
    iou = common / (first.sum(1)[:, None] + second.sum(1) - common)
    same = (iou > 0.9) & ((on_cpu.score[:, None] - on_gpu.score.cpu()).abs() < 0.03)
    sure = on_cpu.score > min_score
    assert float(same.any(dim=1)[sure].float().mean()) >= share


@pytest.mark.parametrize(
    ("pair", "changes"),
    [
        ("tiny+tiny", {}),
        ("tiny+tiny", {"scoring": "noctis"}),
        ("tiny+tiny", {"patch_tokens": "disk"}),
        ("tiny+tiny", {"patch_tokens": "host", "patch_precision": "float16"}),
    ],
)
def test_an_embedded_pair_finds_the_same(three_objects: Scene, pair: str, changes: dict[str, str]) -> None:
    known, frame = three_objects
    segmentor, descriptor = pair.split("+")
    settings = {**known, "segmentor": segmentor, "descriptor": descriptor, **changes}
    on_cpu, on_gpu = (found_on(device, {**settings, "score_threshold": 0.4}, frame) for device in ("cpu", "cuda:0"))
    assert len(on_cpu) > 2
    assert abs(len(on_cpu) - len(on_gpu)) <= 1
    assert_alike(on_cpu, on_gpu, 0.5)


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.usefixtures("exact")
def test_a_neural_pair_finds_the_same(tmp_path: Path, one_object: Scene, pair: str) -> None:
    known, frame = one_object
    folder = install_pair(tmp_path / "checkpoints", pair)
    exact = {kind: f"float32_models:{PAIRS[pair][kind].upper()}" for kind in ("segmentor", "descriptor")}
    settings = {**known, **PAIRS[pair], **exact, **ANYTHING, "checkpoints_dir": str(folder)}
    on_cpu, on_gpu = (found_on(device, settings, frame) for device in ("cpu", "cuda:0"))
    assert len(on_cpu) > 0
    # some masks of random networks lie just beside a threshold
    assert_alike(on_cpu, on_gpu, 0.0, 0.9)


@pytest.mark.parametrize("pair", PAIRS)
def test_a_neural_pair_in_half_precision_finds_something(tmp_path: Path, one_object: Scene, pair: str) -> None:
    known, frame = one_object
    folder = install_pair(tmp_path / "checkpoints", pair)
    settings = {**known, **PAIRS[pair], **ANYTHING, "checkpoints_dir": str(folder)}
    found = found_on("cuda:0", settings, frame)
    assert len(found) > 0
    assert torch.isfinite(found.score).all()


def test_tokens_in_half_precision_are_about_those_of_float32() -> None:
    torch.manual_seed(0)
    crops, masks = torch.rand(20, 3, 224, 224), torch.ones(20, 224, 224, dtype=torch.bool)
    here, there = (dinov2_descriptor(DINOV2, device).describe(crops, masks) for device in ("cpu", "cuda:0"))
    assert float((here.class_tokens * there.class_tokens.cpu()).sum(dim=1).min()) > 0.995
    assert float((here.patch_tokens * there.patch_tokens.cpu()).sum(dim=2).mean()) > 0.995


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
    for one, other in zip(similarity.semantic_score(pairwise), similarity.semantic_score(pairwise.cuda()), strict=True):
        torch.testing.assert_close(one, other.cpu())


def test_positions_are_the_same() -> None:
    masks = random_masks(300)
    depth_m = torch.rand(120, 160) * (torch.rand(120, 160) > 0.3)
    camera = Camera(np.array([[150.0, 0, 80], [0, 150, 60], [0, 0, 1]]), 160, 120)
    here = geometry.mean_position_m(masks, depth_m, camera)
    there = geometry.mean_position_m(masks.cuda(), depth_m.cuda(), camera)
    for one, other in zip(here, there, strict=True):
        torch.testing.assert_close(one, other.cpu(), atol=1e-5, rtol=1e-4, equal_nan=True)


def test_patch_scores_are_the_same() -> None:
    torch.manual_seed(0)
    query = torch.nn.functional.normalize(torch.randn(30, 64, 32), dim=2) * (torch.rand(30, 64, 1) > 0.4)
    templates = torch.nn.functional.normalize(torch.randn(3, 64, 32), dim=2) * (torch.rand(3, 64, 1) > 0.4)
    selected = torch.randperm(30)[:20]

    def scores(device: str) -> tuple[torch.Tensor, torch.Tensor]:
        pairs = [(template.to(device), torch.arange(20)[n::3].to(device)) for n, template in enumerate(templates)]
        return patch_scores.patch_scores_by_template(query.to(device), selected.to(device), pairs, chunk=8)

    for one, other in zip(scores("cpu"), scores("cuda"), strict=True):
        torch.testing.assert_close(one, other.cpu())


def test_results_are_written_the_same() -> None:
    masks = random_masks(12)
    count = len(masks)
    some = torch.rand(count)
    found = Detections(
        masks, boxes_from_masks(masks), torch.zeros(count, dtype=torch.int64), torch.zeros(count, dtype=torch.int64),
        some, some, some, some, some, torch.rand(count, 3, 3), torch.rand(count, 3), ("one",), (1,),
    )  # fmt: skip
    assert to_records(found) == to_records(found.to("cuda"))
    assert np.array_equal(label_image(found), label_image(found.to("cuda")))


def test_what_a_failed_piece_held_is_there_for_the_smaller_ones() -> None:
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info()
    row = free // 10

    def work(rows: slice) -> int:
        held = [torch.empty(row, dtype=torch.uint8, device="cuda") for _ in range(rows.stop - rows.start)]
        return len(held)

    assert sum(OutOfMemoryRetry(16, "pieces").run(16, work)) == 16
    torch.cuda.empty_cache()


def test_memory_that_runs_out_is_asked_for_in_smaller_pieces() -> None:
    free, _ = torch.cuda.mem_get_info()
    row = free // 8
    recoveries = OutOfMemoryCounter()

    def work(rows: slice) -> int:
        held = torch.empty((rows.stop - rows.start) * row, dtype=torch.uint8, device="cuda")
        return len(held) // row

    assert sum(OutOfMemoryRetry(16, "pieces", recoveries).run(16, work)) == 16
    assert recoveries.count > 0
    torch.cuda.empty_cache()


@pytest.mark.parametrize(
    ("runtime", "provider"), [("onnxruntime", "CUDAExecutionProvider"), ("tensorrt", "TensorrtExecutionProvider")]
)
def test_other_runtimes_compute_on_a_gpu_what_pytorch_does(runtime: str, provider: str, tmp_path: Path) -> None:
    if provider not in pytest.importorskip("onnxruntime").get_available_providers():
        pytest.skip(f"onnxruntime has no {provider} here")
    crops, masks = torch.rand(3, 3, 96, 96, device="cuda"), torch.ones(3, 96, 96, dtype=torch.bool, device="cuda")
    requests = (ModelRequest("cuda:0", settings={"runtime": name}, cache_dir=tmp_path) for name in ("torch", runtime))
    one, other = (DESCRIPTORS.get("tiny").load(request).describe(crops, masks) for request in requests)
    assert other.class_tokens.is_cuda
    torch.testing.assert_close(one.class_tokens, other.class_tokens, rtol=1e-3, atol=1e-3)


def test_nothing_is_allocated_anew_after_the_third_frame_of_one_size(three_objects: Scene) -> None:
    known, frame = three_objects
    model = load_model(Settings(**known, device="cuda:0"))  # type: ignore[arg-type]
    for _ in range(3):
        model.segment(frame)
    before = device_segments("cuda:0")
    for _ in range(5):
        model.segment(frame)
    assert device_segments("cuda:0") == before
