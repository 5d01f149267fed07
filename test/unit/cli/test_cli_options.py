"""Groups of options that several subcommands have."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ism_ros.cli.main import app
from ism_ros.cli.options import model_names


@pytest.mark.parametrize("command", ["segment", "bench", "eval", "doctor", "serve"])
def test_help_lists_every_model_that_can_be_chosen(command: str) -> None:
    said = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"}).stdout
    for name in (*model_names("segmentors"), *model_names("descriptors")):
        assert name in said
    assert "{" not in said.replace("{DATASET}", "").replace('{"cam_K"', "")


@pytest.mark.parametrize("command", ["segment", "bench", "eval", "doctor"])
def test_commands_that_run_models_here_choose_them_alike(command: str) -> None:
    said = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"}).stdout
    for option in ("config", "profile", "segmentor", "segmentor-model", "descriptor", "descriptor-model", "device"):
        assert f"--{option} " in said


TELL_IMPORTS = """
import sys
from ism_ros.cli.main import main
sys.argv[0] = "ism"
try:
    main()
finally:
    print("imported:", *(name for name in ("torch", "scipy", "trimesh") if name in sys.modules))
"""


@pytest.mark.parametrize(
    "words",
    [
        ("--help",),
        ("--no-such-option",),
        ("segment", "--help"),
        ("segment", "--no-such-option"),
        ("bench", "--help"),
        ("eval", "--help"),
        ("doctor", "--help"),
        ("serve", "--help"),
    ],
    ids=" ".join,
)
def test_help_and_wrong_options_do_not_wait_for_pytorch(words: tuple[str, ...], tmp_path: Path) -> None:
    installed = tmp_path / "others-1.0.dist-info"  # a package with a segmentor of its own
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: others\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text("[ism_ros.segmentors]\nblobs = others.blobs:BLOBS\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", TELL_IMPORTS, *words],
        env={**os.environ, "PYTHONPATH": path, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.endswith("imported:\n"), done
    if words[0] != "--help" and words[-1] == "--help":
        assert "tiny, sam, sam2, fastsam, blobs" in done.stdout
