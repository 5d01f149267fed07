"""The table of official checkpoints, and where they are found."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from checkpoint_files import put, put_transformers_folder

from ism_ros.checkpoints.catalog import CHECKPOINTS, Checkpoint, checkpoint_named, find_checkpoint
from ism_ros.errors import CheckpointError

EACH = pytest.mark.parametrize("checkpoint", CHECKPOINTS.values(), ids=lambda checkpoint: checkpoint.name)


class TestTable:
    @EACH
    def test_hashes_are_sha256_and_agree_with_the_file_name(self, checkpoint: Checkpoint) -> None:
        if checkpoint.sha256 is not None:
            assert re.fullmatch(r"[0-9a-f]{64}", checkpoint.sha256)
            assert checkpoint.sha256.startswith(checkpoint.sha256_prefix)
        assert checkpoint.sha256_prefix in checkpoint.file_name

    @EACH
    def test_what_is_fetched_by_a_program_can_be_checked(self, checkpoint: Checkpoint) -> None:
        if not checkpoint.manual:
            assert checkpoint.sha256
            assert checkpoint.size_bytes
            assert checkpoint.url.endswith(f"/{checkpoint.file_name}")
        assert checkpoint.url.startswith("https://")

    def test_no_two_are_the_same_file(self) -> None:
        for what in ("name", "file_name", "sha256"):
            values = [getattr(checkpoint, what) for checkpoint in CHECKPOINTS.values()]
            known = [value for value in values if value is not None]
            assert len(set(known)) == len(known), what

    @pytest.mark.parametrize(
        ("name", "file_name", "hub_name"),
        [
            ("sam/vit_h", "sam_vit_h_4b8939.pth", "sam-vit-huge"),
            ("sam2/base_plus", "sam2.1_hiera_base_plus.pt", "sam2.1-hiera-base-plus"),
            ("fastsam/x", "FastSAM-x.pt", ""),
            ("dinov2/vitl14", "dinov2_vitl14_pretrain.pth", "dinov2-large"),
            ("dinov2/vits14_reg", "dinov2_vits14_reg4_pretrain.pth", "dinov2-with-registers-small"),
            ("dinov3/vits16", "dinov3_vits16_pretrain_lvd1689m-08c60483.pth", "dinov3-vits16-pretrain-lvd1689m"),
        ],
    )
    def test_files_and_folders_have_their_official_names(self, name: str, file_name: str, hub_name: str) -> None:
        assert CHECKPOINTS[name].file_name == file_name
        assert CHECKPOINTS[name].hub_name == hub_name

    def test_an_unknown_name_is_answered_with_those_of_its_family(self) -> None:
        with pytest.raises(CheckpointError, match=r"unknown; choose one of: sam/vit_b, sam/vit_l, sam/vit_h$"):
            checkpoint_named("sam/vit_x")


class TestFinding:
    def test_the_layout_of_sam6d_is_understood(self, tmp_path: Path) -> None:
        for family, model, place in [
            ("sam", "vit_h", "segment-anything/sam_vit_h_4b8939.pth"),
            ("dinov2", "vitl14", "dinov2/dinov2_vitl14_pretrain.pth"),
            ("fastsam", "x", "FastSAM/FastSAM-x.pt"),
        ]:
            put(tmp_path / place)
            assert find_checkpoint(tmp_path, family, model) == tmp_path / place

    def test_the_folder_itself_comes_before_its_folders(self, tmp_path: Path) -> None:
        put(tmp_path / "b" / "FastSAM-s.pt")
        put(tmp_path / "FastSAM-s.pt")
        assert find_checkpoint(tmp_path, "fastsam", "s") == tmp_path / "FastSAM-s.pt"

    def test_an_export_comes_before_the_official_file(self, tmp_path: Path) -> None:
        put(tmp_path / "FastSAM-x.pt")
        put(tmp_path / "onnx" / "FastSAM-x.onnx")
        assert find_checkpoint(tmp_path, "fastsam", "x") == tmp_path / "onnx" / "FastSAM-x.onnx"

    @pytest.mark.parametrize("above", ["", "facebook"])
    def test_a_folder_of_the_transformers_library_will_do(self, tmp_path: Path, above: str) -> None:
        folder = put_transformers_folder(tmp_path / above / "dinov2-small")
        assert find_checkpoint(tmp_path, "dinov2", "vits14") == folder

    def test_an_unfinished_folder_will_not(self, tmp_path: Path) -> None:
        put(tmp_path / "dinov2-small" / "config.json", b"{}")
        with pytest.raises(CheckpointError, match="dinov2/vits14 is not in"):
            find_checkpoint(tmp_path, "dinov2", "vits14")

    def test_a_path_stands_for_itself(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        file = put(tmp_path / "mine" / "own.pth")
        folder = put_transformers_folder(tmp_path / "mine" / "own-folder")
        assert find_checkpoint(tmp_path / "nowhere", "sam", str(file)) == file
        assert find_checkpoint(tmp_path / "nowhere", "sam", str(folder)) == folder
        monkeypatch.chdir(tmp_path)
        assert find_checkpoint(tmp_path / "nowhere", "sam", "mine/own.pth") == Path("mine/own.pth")

    @pytest.mark.parametrize(
        ("family", "model", "said"),
        [
            ("sam", "vit_h", r"sam_vit_h_4b8939\.pth or a folder sam-vit-huge .* `ism weights download sam/vit_h`"),
            ("fastsam", "x", r"looked for FastSAM-x\.pt or FastSAM-x\.onnx"),
            ("dinov3", "vits16", r"accept its licence at https://ai\.meta\.com/\S+, and put dinov3_vits16\S+ into"),
            ("sam", "vit_x", r"sam model 'vit_x' is unknown; choose one of vit_b, vit_l, vit_h, or the path"),
            ("sam", "a/b.pth", r"checkpoint a/b\.pth does not exist"),
        ],
    )
    def test_what_is_missing_is_told_in_one_line(self, tmp_path: Path, family: str, model: str, said: str) -> None:
        with pytest.raises(CheckpointError, match=said) as error:
            find_checkpoint(tmp_path / "nowhere", family, model)
        assert "\n" not in str(error.value)

    def test_a_folder_that_does_not_exist_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match=r"is not in \S+/nowhere, which does not exist"):
            find_checkpoint(tmp_path / "nowhere", "sam", "vit_h")

    def test_another_size_that_is_there_is_told(self, tmp_path: Path) -> None:
        put(tmp_path / "segment-anything" / "sam_vit_h_4b8939.pth")
        with pytest.raises(CheckpointError, match=r"sam/vit_b is not in \S+ \(looked for [^)]+; there is sam/vit_h\)"):
            find_checkpoint(tmp_path, "sam", "vit_b")

    def test_a_folder_that_is_no_checkpoint_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match=r"needs config\.json and model\.safetensors"):
            find_checkpoint(tmp_path, "sam", str(tmp_path))
