"""SAM from its official checkpoint layout."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from ism_ros.checkpoints.catalog import checkpoint_named
from ism_ros.checkpoints.loaders.sam_checkpoint import config_of, from_official, load_sam
from ism_ros.checkpoints.reading import StateDict, read_state_dict
from ism_ros.data.camera import Camera
from ism_ros.data.frame import Frame
from ism_ros.errors import CheckpointError
from ism_ros.segmentors.base import create_segmentor
from ism_ros.segmentors.sam.automatic_masks import MaskOptions
from ism_ros.segmentors.sam.sam_segmentor import PromptableSam, sam_segmentor

OFFICIAL = Path(__file__).parents[2] / "golden" / "sam_tiny.pth"


PUBLISHED = {
    "vit_b": (768, 12, 12, (2, 5, 8, 11)),
    "vit_l": (1024, 24, 16, (5, 11, 17, 23)),
    "vit_h": (1280, 32, 16, (7, 15, 23, 31)),
}
"""Width, blocks, heads and blocks with global attention of the image encoders that the authors published."""


def published(model: str) -> StateDict:
    """A published size, without its numbers: the keys of the small file, the shapes grown."""
    width, blocks, heads, global_blocks = PUBLISHED[model]
    small = read_state_dict(OFFICIAL)
    block = {key.rpartition("blocks.0.")[2]: value.shape for key, value in small.items() if "blocks.0." in key}
    shapes = {
        f"image_encoder.blocks.{number}.{name}": (127 if number in global_blocks else 27, width // heads)
        if "rel_pos" in name
        else tuple({64: width, 192: 3 * width, 256: 4 * width}[size] for size in shape)
        for number in range(blocks)
        for name, shape in block.items()
    }
    encoder = {64: width, 32: 256}
    decoder = {32: 256, 16: 128, 64: 2048, 8: 64}
    for key, value in small.items():
        if key.startswith("image_encoder.") and ".blocks." not in key:
            shapes[key] = tuple(encoder.get(size, size) for size in value.shape)
        elif key.startswith("prompt_encoder."):
            shapes[key] = tuple({32: 256}.get(size, size) for size in value.shape)
        elif key.startswith("mask_decoder."):
            last = re.search(r"output_upscaling\.3|hypernetworks_mlps\.\d\.layers\.2", key)
            shapes[key] = tuple({**decoder, **({4: 32} if last else {})}.get(size, size) for size in value.shape)
    shapes["image_encoder.pos_embed"] = (1, 64, 64, width)
    shapes["prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"] = (2, 128)
    return {key: torch.zeros(()).expand(shape) for key, shape in shapes.items()}


def changed(tmp_path: Path, change) -> Path:
    state = read_state_dict(OFFICIAL)
    change(state)
    path = tmp_path / "sam.pth"
    torch.save(state, path)
    return path


@pytest.fixture
def frame() -> Frame:
    rgb = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    camera = Camera(np.array([[60.0, 0, 32], [0, 60.0, 24], [0, 0, 1]]), 64, 48)
    return Frame(rgb=rgb, depth_m=None, camera=camera)


def test_the_architecture_is_read_from_the_tensors() -> None:
    config = config_of(from_official(read_state_dict(OFFICIAL), OFFICIAL), decoder_heads=4)
    vision, decoder = config.vision_config, config.mask_decoder_config
    assert (vision.hidden_size, vision.num_hidden_layers, vision.num_attention_heads) == (64, 2, 2)
    assert (vision.image_size, vision.window_size, list(vision.global_attn_indexes)) == (256, 14, [1])
    assert (decoder.mlp_dim, decoder.num_hidden_layers, decoder.iou_head_depth) == (64, 2, 3)


@pytest.mark.parametrize("model", PUBLISHED)
def test_published_sizes_fit_completely(tmp_path: Path, model: str) -> None:
    state, checkpoint = published(model), checkpoint_named(f"sam/{model}")
    assert checkpoint.size_bytes is not None
    beside_numbers = checkpoint.size_bytes - 4 * sum(value.numel() for value in state.values())
    assert 0 < beside_numbers < 400 * len(state), "these are not the shapes of the published file"
    torch.save(state, tmp_path / checkpoint.file_name)
    vision = load_sam(tmp_path / checkpoint.file_name).config.vision_config
    width, blocks, heads, global_blocks = PUBLISHED[model]
    assert (vision.hidden_size, vision.num_hidden_layers, vision.num_attention_heads) == (width, blocks, heads)
    assert (vision.image_size, vision.window_size, tuple(vision.global_attn_indexes)) == (1024, 14, global_blocks)


def test_another_size_under_an_official_name_is_refused(tmp_path: Path) -> None:
    file = tmp_path / checkpoint_named("sam/vit_h").file_name
    torch.save(published("vit_b"), file)
    with pytest.raises(CheckpointError, match="than its name says: expected sam/vit_h, found sam/vit_b"):
        load_sam(file)
    file.rename(tmp_path / "mine.pth")
    assert load_sam(tmp_path / "mine.pth").config.vision_config.hidden_size == 768


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    path = changed(tmp_path, lambda state: state.pop("mask_decoder.iou_prediction_head.layers.1.bias"))
    with pytest.raises(CheckpointError, match=r"1 keys are missing \(mask_decoder.iou_prediction_head"):
        load_sam(path, decoder_heads=4)


def test_a_key_that_nothing_uses_is_named(tmp_path: Path) -> None:
    path = changed(tmp_path, lambda state: state.update({"video.memory": torch.zeros(1)}))
    with pytest.raises(CheckpointError, match=r"1 keys are not known \(video.memory"):
        load_sam(path, decoder_heads=4)


def test_a_tensor_of_another_shape_is_named(tmp_path: Path) -> None:
    path = changed(tmp_path, lambda state: state.update({"mask_decoder.mask_tokens.weight": torch.zeros(3, 32)}))
    with pytest.raises(CheckpointError, match=r"mask_tokens.weight: expected \(4, 32\), found \(3, 32\)"):
        load_sam(path, decoder_heads=4)


def test_a_checkpoint_of_another_model_is_refused() -> None:
    with pytest.raises(CheckpointError, match="is not an official SAM: expected the key"):
        load_sam(OFFICIAL.with_name("dinov2_tiny_pretrain.pth"))


def test_a_folder_of_the_library_gives_the_same_masks(tmp_path: Path, frame: Frame) -> None:
    official = load_sam(OFFICIAL, decoder_heads=4)
    official.save_pretrained(tmp_path)
    points = torch.tensor([[10.0, 12.0], [40.0, 30.0]])
    with torch.inference_mode():
        answers = [
            model.predict(model.embed(frame.rgb), points)
            for model in (PromptableSam(official), PromptableSam(load_sam(tmp_path)))
        ]
    torch.testing.assert_close(answers[0], answers[1])


def test_a_frame_with_no_mask_gives_an_empty_result(frame: Frame) -> None:
    segmentor = sam_segmentor(OFFICIAL, options=MaskOptions(points_per_side=4, predicted_iou=1.0), decoder_heads=4)
    proposals = segmentor.propose(frame)
    assert proposals.masks.shape == (0, 48, 64)


def test_masks_come_at_the_size_of_the_frame(frame: Frame) -> None:
    options = MaskOptions(width=128, points_per_side=4, predicted_iou=0.0, stability=0.0)
    proposals = sam_segmentor(OFFICIAL, options=options, decoder_heads=4).propose(frame)
    assert len(proposals) > 0
    assert proposals.masks.shape[1:] == (48, 64)


def test_the_stability_asked_for_counts(frame: Frame) -> None:
    options = MaskOptions(width=0, points_per_side=4, predicted_iou=0.0, stability=0.0)
    segmentor = sam_segmentor(OFFICIAL, options=options, decoder_heads=4)
    assert len(segmentor.propose(frame)) > 0
    assert len(segmentor.propose(frame, stability_score_threshold=1.0)) == 0


def test_a_missing_checkpoint_is_told_with_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="ism weights download sam/vit_b"):
        create_segmentor("sam", model="vit_b", checkpoints_dir=tmp_path)
