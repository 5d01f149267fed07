"""Image, compose file and manifests say what the server understands: names, port, probes, metric, files."""

import os
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from ism_ros.config import Settings, SettingsError
from ism_ros.server.metrics import Metrics
from ism_ros.server.settings import (
    OLDER_NAMES,
    ServerSettings,
    engine_settings,
    server_settings,
    variable_of,
)

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")
KNOWN = {
    "ISM_CONFIG_DIR",
    *OLDER_NAMES,
    *(f"ISM_{name.upper()}" for name in Settings.model_fields),
    *map(variable_of, ServerSettings.model_fields),
}
PORT = ServerSettings.model_fields["port"].default


def service(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"][name]


def manifest(kind: str) -> dict[str, Any]:
    text = (ROOT / "deploy" / "kubernetes" / "ism-server.yaml").read_text(encoding="utf-8")
    return next(part for part in yaml.safe_load_all(text) if part["kind"] == kind)


@pytest.fixture
def container() -> dict[str, Any]:
    (only,) = manifest("Deployment")["spec"]["template"]["spec"]["containers"]
    return only


def test_each_variable_is_one_that_the_server_reads(container: dict[str, Any]) -> None:
    composed = service("ism-server")["environment"]
    used = {*re.findall(r"\bISM_\w+(?==)", DOCKERFILE), *composed, *(variable["name"] for variable in container["env"])}
    assert used
    assert used <= KNOWN


def test_the_docs_tell_every_setting_and_the_old_names() -> None:
    told = set(re.findall(r"`(ISM_\w+)`", (ROOT / "docs" / "server.md").read_text(encoding="utf-8")))
    elsewhere = {"ISM_CONFIG_DIR", "ISM_CHECKPOINTS_DIR", *OLDER_NAMES}
    assert elsewhere | {*map(variable_of, ServerSettings.model_fields)} <= told


def test_names_of_earlier_servers_are_understood_and_those_of_today_win() -> None:
    old = {"ISM_MODEL_TYPE": "sam", "ISM_STABILITY_THRESHOLD": "0.97"}
    settings = engine_settings(old)
    assert (settings.segmentor, settings.stability_score_threshold) == ("sam", 0.97)
    assert engine_settings({**old, "ISM_SEGMENTOR": "depth"}).segmentor == "depth"
    assert server_settings({"ISM_LOG_LEVEL": "INFO", "ISM_MAX_CACHE_SIZE": "500"}).max_cache_size == 500 << 20


def test_an_empty_variable_is_one_that_is_left_out() -> None:
    assert server_settings(dict.fromkeys(KNOWN, "")) == server_settings({})


def test_a_data_root_that_is_not_there_is_said_at_start(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"ISM_DATA_ROOT .*nowhere' is no folder"):
        server_settings({"ISM_DATA_ROOT": f"{tmp_path}{os.pathsep}{tmp_path / 'nowhere'}"})


def test_all_agree_on_the_port(container: dict[str, Any]) -> None:
    assert f"EXPOSE {PORT}" in DOCKERFILE
    assert f"ISM_SERVER_PORT={PORT}" in DOCKERFILE
    assert [mapping.rpartition(":")[2] for mapping in service("ism-server")["ports"]] == [str(PORT)]
    assert [port["containerPort"] for port in container["ports"]] == [PORT]
    assert [port["port"] for port in manifest("Service")["spec"]["ports"]] == [PORT]


def test_compose_publishes_on_this_machine_alone() -> None:
    assert all(mapping.startswith("127.0.0.1:") for mapping in service("ism-server")["ports"])


def test_without_a_gpu_none_is_asked_for() -> None:
    with_gpu, without = service("ism-server"), service("ism-server-cpu")
    (device,) = with_gpu["deploy"]["resources"]["reservations"]["devices"]
    assert device["driver"] == "nvidia"
    assert not without["deploy"]
    assert {**with_gpu, **without, "deploy": with_gpu["deploy"]} == {**without, "deploy": with_gpu["deploy"]}
    assert without["profiles"]  # `docker compose up` starts the other one alone


def test_compose_leaves_defaults_to_the_server() -> None:
    assert set(service("ism-server")["environment"].values()) == {None}


def test_probes_ask_the_routes_that_are_made_for_them(container: dict[str, Any]) -> None:
    assert container["livenessProbe"]["httpGet"] == {"path": "/health", "port": "http"}
    assert container["readinessProbe"]["httpGet"] == {"path": "/ready", "port": "http"}
    assert "/health" in DOCKERFILE


def test_it_grows_by_a_metric_that_the_server_has() -> None:
    (metric,) = manifest("HorizontalPodAutoscaler")["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] in {family.name for family in Metrics()._registry.collect()}


def test_the_image_copies_what_there_is_and_git_does_not_hide_it_from_the_build() -> None:
    shown = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for line in DOCKERFILE.splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            for source in shlex.split(line)[1:-1]:
                assert (ROOT / source).exists()
                assert source in shown


def test_nothing_runs_as_root(container: dict[str, Any]) -> None:
    assert re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE) == ["1000"]
    assert manifest("Deployment")["spec"]["template"]["spec"]["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
