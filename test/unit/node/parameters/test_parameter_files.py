"""Parameter files: which nodes they are for, and config/ism.yaml."""

from pathlib import Path

import pytest
import yaml

from ism_ros.config.settings import Settings
from ism_ros.node.parameters.params_files import unmatched_params_files


def said(tmp_path, text, node_name="/ism"):
    file = tmp_path / "params.yaml"
    file.write_text(text)
    return unmatched_params_files(["ism_node", "--ros-args", "--params-file", str(file)], node_name)


@pytest.mark.parametrize("name", ["ism", "/ism", "/**", "/*"])
def test_a_file_for_this_node_is_fine(tmp_path, name):
    assert not said(tmp_path, f"{name}:\n  ros__parameters:\n    slop: 0.1\n")


def test_a_namespace_may_be_part_of_the_name_or_a_key_above_it(tmp_path):
    assert not said(tmp_path, "/left/ism:\n  ros__parameters: {slop: 0.1}\n", "/left/ism")
    assert not said(tmp_path, "left:\n  ism:\n    ros__parameters: {slop: 0.1}\n", "/left/ism")
    assert not said(tmp_path, "/**/ism:\n  ros__parameters: {slop: 0.1}\n", "/left/ism")


def test_a_file_for_another_node_is_named_with_what_would_do(tmp_path):
    (sentence,) = said(tmp_path, "ism_node:\n  ros__parameters:\n    slop: 0.1\n")
    assert "params.yaml are for /ism_node and have no effect on /ism" in sentence
    assert "'/ism:' or '/**:'" in sentence


def test_the_same_name_in_another_namespace_is_another_node(tmp_path):
    assert said(tmp_path, "ism:\n  ros__parameters: {slop: 0.1}\n", "/left/ism")


def test_a_file_for_many_nodes_is_fine_where_one_of_them_is_this_one(tmp_path):
    assert not said(tmp_path, "camera:\n  ros__parameters: {a: 1}\nism:\n  ros__parameters: {slop: 0.1}\n")


# config/ism.yaml


def test_the_parameter_file_has_every_parameter_at_its_default_under_a_comment():
    path = Path(__file__).parents[4] / "config" / "ism.yaml"
    parameters = yaml.safe_load(path.read_text())["/**"]["ros__parameters"]
    assert parameters == Settings().model_dump()
    lines = path.read_text().splitlines()
    for name in parameters:
        index = next(i for i, line in enumerate(lines) if line.strip().startswith(f"{name}:"))
        assert lines[index - 1].strip().startswith("#")
