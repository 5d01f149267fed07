"""Groups of options that several subcommands have."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from ism_ros.cli.main import app
from ism_ros.cli.options import model_names


@pytest.mark.parametrize("command", ["segment", "eval", "doctor", "serve"])
def test_help_lists_every_model_that_can_be_chosen(command: str) -> None:
    said = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"}).stdout
    for name in (*model_names("segmentors"), *model_names("descriptors")):
        assert name in said
    assert "{" not in said.replace("{DATASET}", "").replace('{"cam_K"', "")


@pytest.mark.parametrize("command", ["segment", "eval", "doctor"])
def test_commands_that_run_models_here_choose_them_alike(command: str) -> None:
    said = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"}).stdout
    for option in ("config", "profile", "segmentor", "segmentor-model", "descriptor", "descriptor-model", "device"):
        assert f"--{option} " in said
