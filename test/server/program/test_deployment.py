"""Image, compose file and manifests say what the server understands: names, port, probes, metric, files."""

import os
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from server_process import start, stop

from ism_ros.config.settings import SettingsError
from ism_ros.server.app import STOP_TIMEOUT_S
from ism_ros.server.main import GRACE_S
from ism_ros.server.metrics import Metrics
from ism_ros.server.settings import (
    OLDER_NAMES,
    ServerSettings,
    environment_warnings,
    known_variables,
    read_model_settings,
    read_server_settings,
    variable_of,
)

ROOT = Path(__file__).parents[3]
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")
KNOWN = known_variables()
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
    settings = read_model_settings(old)
    assert (settings.segmentor, settings.stability_score_threshold) == ("sam", 0.97)
    assert read_model_settings({**old, "ISM_SEGMENTOR": "fastsam"}).segmentor == "fastsam"
    assert read_server_settings({"ISM_LOG_LEVEL": "INFO", "ISM_MAX_CACHE_SIZE": "500"}).max_cache_size == 500 << 20


def test_the_older_name_of_the_backend_is_read_and_todays_is_named() -> None:
    assert read_server_settings({"ISM_ENGINE": "Ray"}).backend == "ray"
    assert read_server_settings({"ISM_ENGINE": "ray", "ISM_BACKEND": "local"}).backend == "local"
    with pytest.raises(SettingsError, match="ISM_ENGINE cannot be 'dask'"):
        read_server_settings({"ISM_ENGINE": "dask"})
    (said,) = environment_warnings({"ISM_ENGINE": "ray"})
    assert said == "ISM_ENGINE is called ISM_BACKEND now: use that name"


def test_an_empty_variable_is_one_that_is_left_out() -> None:
    assert read_server_settings(dict.fromkeys(KNOWN, "")) == read_server_settings({})


def test_a_data_root_that_is_not_there_is_said_at_start(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"ISM_DATA_ROOT .*nowhere' is no folder"):
        read_server_settings({"ISM_DATA_ROOT": f"{tmp_path}{os.pathsep}{tmp_path / 'nowhere'}"})


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
    assert metric["pods"]["metric"]["name"] in {family.name for family in Metrics().registry.collect()}


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


def test_each_setting_reaches_the_server_in_a_container(container: dict[str, Any]) -> None:
    by_image = set(re.findall(r"\bISM_\w+(?==)", DOCKERFILE)) - {"ISM_ALLOWED_HOSTS"}
    of_the_stream = ("queue_size", "slop", "rgb_transport", "depth_transport", "reliability", "rectified", "max_rate")
    of_the_node = ("autostart", "tracking", "publish_tf", "max_cpu")
    left_out = by_image | {f"ISM_{name.upper()}" for name in (*of_the_stream, *of_the_node)}
    assert set(service("ism-server")["environment"]) == KNOWN - left_out
    assert container["envFrom"] == [{"configMapRef": {"name": "ism-server", "optional": True}}]


def test_a_pod_starts_with_what_every_cluster_has_and_ends_in_time(container: dict[str, Any]) -> None:
    deployment = manifest("Deployment")["spec"]
    pod = deployment["template"]["spec"]
    assert "ISM_OBJECTS_FILE" not in {variable["name"] for variable in container["env"]}
    assert all(one["valueFrom"]["secretKeyRef"]["optional"] for one in container["env"] if "valueFrom" in one)
    assert deployment["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
    pause_s = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] >= pause_s + GRACE_S + STOP_TIMEOUT_S
    assert int(service("ism-server")["stop_grace_period"].removesuffix("s")) >= GRACE_S + STOP_TIMEOUT_S
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["timeoutSeconds"] >= 5


def test_the_variables_that_kubernetes_makes_of_the_service_are_no_settings() -> None:
    links = {
        "ISM_SERVER_PORT": "tcp://10.0.0.1:8002",
        "ISM_SERVER_PORT_8002_TCP": "tcp://10.0.0.1:8002",
        "ISM_SERVER_PORT_8002_TCP_ADDR": "10.0.0.1",
        "ISM_SERVER_SERVICE_HOST": "10.0.0.1",
        "ISM_SERVER_SERVICE_PORT_HTTP": "8002",
    }
    assert manifest("Deployment")["spec"]["template"]["spec"]["enableServiceLinks"] is False
    assert read_server_settings(links).port == PORT
    (said,) = environment_warnings(links)
    assert "enableServiceLinks" in said


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("ISM_OBJECT_FILE", "ISM_OBJECTS_FILE"),
        ("ISM_APIKEY", "ISM_API_KEY"),
        ("ISM_SERVER_PROT", "ISM_SERVER_PORT"),
        ("ISM_PORT", "ISM_SERVER_PORT"),
        ("ISM_HOST", "ISM_SERVER_HOST"),
        ("ISM_SERVER_LOG_LEVEL", "ISM_LOG_LEVEL"),
        ("ISM_SCORE_TRESHOLD", "ISM_SCORE_THRESHOLD"),
        ("ISM_SOMETHING_ELSE", None),
    ],
)
def test_a_mistyped_variable_is_named_with_what_was_meant(variable: str, meant: str | None) -> None:
    (said,) = environment_warnings({variable: "x", "PATH": "/bin", **dict.fromkeys(KNOWN, "")})
    assert said.startswith(f"{variable} is no setting")
    assert meant is None or f"{meant}?" in said


def test_a_cache_size_of_an_earlier_server_is_named_as_what_it_is() -> None:
    (said,) = environment_warnings({"ISM_MAX_CACHE_SIZE": "20"})
    assert "20 MB" in said
    assert "counted objects" in said
    assert environment_warnings({"ISM_MAX_CACHE_SIZE": "20MB"}) == environment_warnings({}) == []


def test_what_is_doubtful_about_the_environment_is_said_at_start(tmp_path: Path, cache: Path) -> None:
    said = stop(start(tmp_path / "data", cache, ISM_OBJECT_FILE="x", ISM_MAX_CACHE_SIZE="20"))
    assert "did you mean ISM_OBJECTS_FILE?" in said
    assert "ISM_MAX_CACHE_SIZE=20 is read as 20 MB" in said
