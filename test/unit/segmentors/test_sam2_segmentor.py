"""SAM 2 against the numbers of the public implementation, and checkpoints that cannot be used."""

from __future__ import annotations

import json
import lzma
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dummy_networks import SAM2_IMAGE_SIZE as IMAGE_SIZE
from dummy_networks import SAM2_SMALL as SMALL
from dummy_networks import install, sam2_weights, save_sam2
from safetensors.torch import load_file, save_file
from torch import Tensor

from ism_ros.checkpoints.loaders.sam2_checkpoint import VIDEO_PART, config_of, from_official, load_sam2, published
from ism_ros.checkpoints.model_building import build
from ism_ros.checkpoints.reading import StateDict
from ism_ros.data.camera import Camera
from ism_ros.data.frame import Frame
from ism_ros.errors import CheckpointError
from ism_ros.segmentors.base import create_segmentor
from ism_ros.segmentors.sam.automatic_masks import MaskOptions
from ism_ros.segmentors.sam.sam2_segmentor import PromptableSam2, sam2_segmentor

DATA = Path(__file__).parents[2] / "data" / "sam2"
PARAMETERS_MILLION = {"tiny": 38.96, "small": 46.06, "base_plus": 80.85, "large": 224.45}


def load(name: str) -> dict[str, Tensor]:
    with np.load(DATA / name) as archive:
        return {key: torch.from_numpy(archive[key]) for key in archive}


def keys_and_shapes() -> dict[str, dict[str, list[int]]]:
    text = lzma.decompress((DATA / "official_keys.json.xz").read_bytes())
    content: dict[str, dict[str, list[int]]] = json.loads(text)
    return content


@pytest.fixture(scope="module")
def official() -> StateDict:
    return sam2_weights()


@pytest.fixture(scope="module")
def checkpoint(official: StateDict, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(official, tmp_path_factory.mktemp("sam2"))


def saved(state: StateDict, folder: Path) -> Path:
    return save_sam2(state, folder / "sam2.1_hiera_small_random.pt")


def loaded(checkpoint: Path) -> torch.nn.Module:
    return load_sam2(checkpoint, IMAGE_SIZE, SMALL)


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> PromptableSam2:
    return PromptableSam2(loaded(checkpoint))


@pytest.fixture(scope="module")
def expected() -> dict[str, Tensor]:
    return load("expected.npz")


def assert_agrees(ours: Tensor, reference: Tensor) -> None:
    assert ours.shape == reference.shape
    torch.testing.assert_close(ours, reference, rtol=0.0, atol=1e-4 * float(reference.abs().max()))


@torch.inference_mode()
def test_features_of_an_image_are_those_of_the_public_implementation(
    model: PromptableSam2, expected: dict[str, Tensor]
) -> None:
    features = model.embed(expected["image"].numpy()).features
    for ours, name in zip(features, ("high_res_0", "high_res_1", "image_embed"), strict=True):
        assert_agrees(ours[0], expected[name])


@torch.inference_mode()
def test_masks_and_their_predicted_iou_are_those_of_the_public_implementation(
    model: PromptableSam2, expected: dict[str, Tensor]
) -> None:
    logits, predicted_iou = model.predict(model.embed(expected["image"].numpy()), expected["points_xy"])
    assert_agrees(logits, expected["low_res_logits"])
    assert_agrees(predicted_iou, expected["predicted_iou"])


@torch.inference_mode()
def test_with_an_encoder_in_bfloat16_one_pixel_in_a_hundred_may_differ(
    checkpoint: Path, expected: dict[str, Tensor]
) -> None:
    half = loaded(checkpoint)
    half.vision_encoder.to(torch.bfloat16)
    model = PromptableSam2(half)
    logits, predicted_iou = model.predict(model.embed(expected["image"].numpy()), expected["points_xy"])
    assert ((logits > 0) != (expected["low_res_logits"] > 0)).float().mean() < 0.01
    torch.testing.assert_close(predicted_iou, expected["predicted_iou"], rtol=0.0, atol=0.03)


def test_masks_at_the_size_of_the_image_are_those_of_the_public_implementation(
    model: PromptableSam2, expected: dict[str, Tensor]
) -> None:
    ours = model.upscale(expected["low_res_logits"][2], (144, 80))
    assert_agrees(ours, expected["logits_of_point_2"])


def test_small_logits_show_the_image_everywhere(model: PromptableSam2, expected: dict[str, Tensor]) -> None:
    assert model.extent((144, 80)) == tuple(expected["low_res_logits"].shape[-2:])


def test_every_tensor_of_the_image_model_has_its_place(official: StateDict) -> None:
    numbered = {key: torch.full_like(value, index) for index, (key, value) in enumerate(official.items())}
    arrived = {float(number) for value in from_official(numbered, Path()).values() for number in value.unique()}
    assert arrived == {index for index, key in enumerate(official) if not key.startswith(VIDEO_PART)}


@pytest.mark.parametrize("name", keys_and_shapes())
def test_published_sizes_fit_completely(name: str) -> None:
    from transformers import Sam2Model

    shapes = keys_and_shapes()[name]
    state = from_official({key: torch.zeros(()).expand(shape) for key, shape in shapes.items()}, Path(name))
    hiera = published(state, Path(name))
    with torch.device("meta"):
        model = build(lambda: Sam2Model(config_of(state, hiera)), state, Path(name), name)
    video = sum(np.prod(shape) for key, shape in shapes.items() if key.startswith(VIDEO_PART))
    twice = model.shared_image_embedding.positional_embedding.numel()
    parameters = sum(value.numel() for value in model.state_dict().values()) - twice + video
    assert name.endswith(f"_{hiera.name}")
    assert parameters / 1e6 == pytest.approx(PARAMETERS_MILLION[hiera.name], abs=0.02)


def assemble(state: StateDict) -> None:
    from transformers import Sam2Model

    with torch.device("meta"):
        state = from_official(state, Path("a.pt"))
        config = config_of(state, SMALL, IMAGE_SIZE)
        build(lambda: Sam2Model(config), state, Path("a.pt"), "SAM 2")


def test_a_missing_tensor_is_told_whichever_it_is(official: StateDict) -> None:
    assemble(official)
    of_the_image_model = [key for key in official if not key.startswith(VIDEO_PART)]
    for key in of_the_image_model[::7]:
        rest = {other: value for other, value in official.items() if other != key}
        with pytest.raises(CheckpointError, match=r"expected the key|keys are missing"):
            assemble(rest)


def test_a_tensor_too_many_is_refused(official: StateDict, tmp_path: Path) -> None:
    file = saved({**official, "image_encoder.trunk.extra": torch.zeros(3)}, tmp_path)
    with pytest.raises(CheckpointError, match=r"1 keys are not known \(vision_encoder.backbone.extra"):
        loaded(file)


def test_a_tensor_of_another_shape_is_refused_with_both_shapes(official: StateDict, tmp_path: Path) -> None:
    file = saved({**official, "no_mem_embed": torch.zeros(1, 1, 31)}, tmp_path)
    with pytest.raises(CheckpointError, match=r"no_memory_embedding: expected \(1, 1, 32\), found \(1, 1, 31\)"):
        loaded(file)


def test_a_size_that_was_never_published_is_refused(checkpoint: Path) -> None:
    with pytest.raises(CheckpointError, match=r"tiny \(96, 12\), .*large \(144, 48\), found \(6, 9\)"):
        load_sam2(checkpoint)


def test_another_model_is_refused(tmp_path: Path) -> None:
    file = saved({"cls_token": torch.zeros(1, 1, 8), "pos_embed": torch.zeros(1, 5, 8)}, tmp_path)
    with pytest.raises(CheckpointError, match=r"not an official SAM 2: .*'image_encoder\.trunk\.pos_embed', found 2"):
        load_sam2(file)


def test_half_precision_on_disk_becomes_float32(official: StateDict, checkpoint: Path, tmp_path: Path) -> None:
    half = loaded(saved({key: value.half() for key, value in official.items()}, tmp_path))
    for key, value in loaded(checkpoint).state_dict().items():
        assert torch.equal(half.state_dict()[key], value)


def test_a_safetensors_folder_gives_the_same_model(checkpoint: Path, tmp_path: Path) -> None:
    model = loaded(checkpoint)
    model.save_pretrained(tmp_path)
    again = load_sam2(tmp_path)
    assert again.config.prompt_encoder_config.image_size == IMAGE_SIZE
    for key, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[key], value)


def test_a_safetensors_folder_is_read_without_a_word(
    checkpoint: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    loaded(checkpoint).save_pretrained(tmp_path)
    capfd.readouterr()
    load_sam2(tmp_path)
    assert capfd.readouterr() == ("", "")


def test_a_folder_with_a_tensor_missing_is_refused_in_one_line_and_nothing_else_is_said(
    checkpoint: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    loaded(checkpoint).save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    del tensors["no_memory_embedding"]
    save_file(tensors, file, {"format": "pt"})
    capfd.readouterr()
    with pytest.raises(CheckpointError, match=r"1 keys are missing \(no_memory_embedding") as raised:
        load_sam2(tmp_path)
    assert "\n" not in str(raised.value)
    assert capfd.readouterr() == ("", "")


def test_a_folder_of_the_video_model_gives_its_image_model(checkpoint: Path, tmp_path: Path) -> None:
    from transformers import Sam2VideoConfig, Sam2VideoModel

    image_model = loaded(checkpoint)
    parts = image_model.config.to_dict()
    memory = {"memory_attention_num_layers": 1, "memory_attention_feed_forward_hidden_size": 8}
    video = Sam2VideoModel(
        Sam2VideoConfig(
            vision_config=parts["vision_config"],
            prompt_encoder_config={"hidden_size": 32, "image_size": IMAGE_SIZE},
            mask_decoder_config={"hidden_size": 32, "mlp_dim": 48, "iou_head_hidden_dim": 24},
            memory_attention_hidden_size=32,
            memory_encoder_hidden_size=32,
            mask_downsampler_embed_dim=32,
            memory_fuser_embed_dim=32,
            **memory,
        )
    )
    report = video.load_state_dict(image_model.state_dict(), strict=False)
    assert not report.unexpected_keys
    video.save_pretrained(tmp_path)
    again = load_sam2(tmp_path)
    for key, value in image_model.state_dict().items():
        assert torch.equal(again.state_dict()[key], value)


def test_a_folder_of_another_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "sam"}')
    with pytest.raises(CheckpointError, match="is not SAM 2: expected model_type 'sam2', found 'sam'"):
        load_sam2(tmp_path)


@pytest.mark.parametrize(
    "content", ["", "[]", '{"model_type": "sam2_video", "vision_config": {"fpn_hidden_size": "x"}}']
)
def test_a_folder_with_a_broken_config_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"no usable config\.json|cannot be read"):
        load_sam2(tmp_path)


def test_automatic_masks_are_those_of_the_public_implementation(
    checkpoint: Path, expected: dict[str, Tensor], tmp_path: Path
) -> None:
    loaded(checkpoint).save_pretrained(tmp_path)
    options = MaskOptions(0, 4, predicted_iou=0.25, stability=0.08, box_nms=1.0, stability_margin=float("inf"))
    frame = Frame(expected["image"].numpy(), None, Camera(np.array([[80.0, 0, 40], [0, 80, 72], [0, 0, 1]]), 80, 144))
    ours, reference = sam2_segmentor(tmp_path, options=options).propose(frame), load("automatic_masks.npz")
    masks = torch.from_numpy(np.unpackbits(reference["masks"].numpy(), axis=2, count=80).astype(bool))
    assert_agrees(ours.confidence, reference["predicted_iou"])
    assert (ours.masks != masks).sum(dim=(1, 2)).max() <= 1


@pytest.mark.parametrize(("settings", "is_found"), [({}, True), ({"predicted_iou_threshold": 0.88}, False)])
def test_masks_need_the_predicted_iou_of_the_authors_unless_a_setting_says_otherwise(
    settings: dict[str, float],
    is_found: bool,
    expected: dict[str, Tensor],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    predict = PromptableSam2.predict

    def predict_084(model: PromptableSam2, embedding: Any, points_xy: Tensor) -> tuple[Tensor, Tensor]:
        logits, predicted_iou = predict(model, embedding, points_xy)
        return logits, torch.full_like(predicted_iou, 0.84)

    monkeypatch.setattr(PromptableSam2, "predict", predict_084)
    settings = {"points_per_side": 4, "stability_score_threshold": 0.0, **settings}
    segmentor = create_segmentor(
        "sam2", model="tiny", checkpoints_dir=install(tmp_path, "sam2/tiny"), settings=settings
    )
    frame = Frame(expected["image"].numpy(), None, Camera(np.array([[80.0, 0, 40], [0, 80, 72], [0, 0, 1]]), 80, 144))
    assert (len(segmentor.propose(frame)) > 0) is is_found
