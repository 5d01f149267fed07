"""`ism serve --backend ray`: the same answers by replicas on a real Ray Serve, whose deaths cost nothing."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import sysconfig
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from http_helpers import cad_of_sample, finished, ids, send_until, upload
from server_process import REPOSITORY, Server, start, stop

from ism_ros.config.settings import SettingsError
from ism_ros.server.backends.ray_cluster import ReplicaResources, resources_of
from ism_ros.server.settings import read_server_settings

REPLICAS = 2

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install 'ism_ros[ray]'"
)


def start_on_ray(data: Path, cache: Path, **environment: str) -> Server:
    server = start(data, cache, ISM_BACKEND="ray", ISM_REPLICAS=str(REPLICAS), **environment)
    server.wait_until_ready()
    return server


def below(server: Server) -> list[psutil.Process]:
    return psutil.Process(server.process.pid).children(recursive=True)


def replicas_of(server: Server) -> list[psutil.Process]:
    """Waits until there are as many as were asked for."""
    while True:
        found = []
        for process in below(server):
            with contextlib.suppress(psutil.Error):
                found += [process] if process.cmdline()[0].startswith("ray::ServeReplica") else []
        if len(found) == REPLICAS:
            return found
        assert server.process.poll() is None


def wait_for_queue(client: httpx.Client) -> None:
    while client.get("/api/v1/status").json()["queue_depth"] == 0:
        pass


@pytest.fixture(scope="module")
def on_ray(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Iterator[Server]:
    server = start_on_ray(tmp_path_factory.mktemp("ray") / "data", cache, ISM_MAX_WAITING="64", ISM_BATCH_SIZE="2")
    yield server
    stop(server)


@needs_ray
def test_replicas_answer_as_the_server_alone_does(on_ray: Server, server: Server, sample: dict[str, Any]) -> None:
    with on_ray.client() as client, server.client() as alone, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: client.post("/api/v1/inference", json=sample).json(), range(8)))
        expected = alone.post("/api/v1/inference", json=sample).json()
        status = client.get("/api/v1/status").json()
    assert status["device"] == ",".join(["cpu"] * REPLICAS)
    for answer in answers:
        assert answer["detections"] == expected["detections"] != []
        assert answer["visualization"] == expected["visualization"]


@needs_ray
def test_nothing_of_ray_can_be_reached_from_elsewhere(on_ray: Server) -> None:
    replicas_of(on_ray)
    listening = {
        (process.name(), socket.laddr.ip)
        for process in below(on_ray)
        for socket in process.net_connections(kind="inet")
        if socket.status == psutil.CONN_LISTEN
    }
    assert len(listening) > 3
    assert {ip.removeprefix("::ffff:") for _, ip in listening} == {"127.0.0.1"}, listening


@needs_ray
def test_all_replicas_know_an_object_as_soon_as_its_job_is_done(on_ray: Server, sample: dict[str, Any]) -> None:
    ask = {**sample, "object_ids": ["thing"], "visualization": False}
    with on_ray.client() as client, ThreadPoolExecutor(8) as pool:
        job = finished(client, upload(client, "thing", cad_of_sample(0))["id"])
        assert job["state"] == "done", job
        assert ids(client) == ["thing"]
        found = list(pool.map(lambda _: client.post("/api/v1/inference", json=ask).json(), range(8)))
        assert client.delete("/api/v1/objects/thing").status_code == 200
        gone = list(pool.map(lambda _: client.post("/api/v1/inference", json=ask).status_code, range(8)))
    assert [[one["class_id"] for one in answer["detections"]] for answer in found] == [["thing"]] * 8
    assert gone == [404] * 8


@needs_ray
def test_replicas_killed_under_load_cost_no_accepted_request(on_ray: Server, sample: dict[str, Any]) -> None:
    ask = {**sample, "visualization": False}
    with on_ray.client() as client, ThreadPoolExecutor(32) as pool:
        before = replicas_of(on_ray)
        asked = [pool.submit(client.post, "/api/v1/inference", json=ask) for _ in range(32)]
        wait_for_queue(client)
        for replica in before:
            os.kill(replica.pid, signal.SIGKILL)
        assert client.get("/api/v1/status").json()["queue_depth"] > 0
        assert client.get("/ready").status_code == 200
        answers = [one.result() for one in asked]
        after = replicas_of(on_ray)
    assert Counter(answer.status_code for answer in answers) == {200: 32}
    assert all(len(answer.json()["detections"]) == 2 for answer in answers)
    assert {one.pid for one in before}.isdisjoint(one.pid for one in after)
    assert "a replica has died and is started again" in "".join(on_ray.said)


@needs_ray
@pytest.mark.soak
def test_replicas_that_are_killed_again_and_again_cost_no_request(
    tmp_path: Path, cache: Path, sample: dict[str, Any]
) -> None:
    server = start_on_ray(tmp_path / "data", cache, ISM_TIMEOUT_S="120")
    ask = {**sample, "visualization": False}
    deadline_s = time.monotonic() + 60
    with ThreadPoolExecutor(8) as pool:
        asking = [pool.submit(send_until, server.url, ask, deadline_s) for _ in range(8)]
        for turn in range(4):
            victim = replicas_of(server)[turn % REPLICAS]
            os.kill(victim.pid, signal.SIGKILL)
            victim.wait(30)
        answers = [answer for one in asking for answer in one.result()]
    stop(server)
    statuses = Counter(status for status, _ in answers)
    print(f"\n{dict(statuses)} with a replica killed four times in a minute")
    assert set(statuses) <= {200, 429}
    assert statuses[200] > 20


@needs_ray
@pytest.mark.soak
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_of_ray_outlives_the_server(tmp_path: Path, cache: Path, number: int) -> None:
    server = start_on_ray(tmp_path / "data", cache)
    processes = below(server)
    assert len(processes) > REPLICAS
    server.process.send_signal(number)
    _, alive = psutil.wait_procs(processes, timeout=120)  # agents of Ray look for their parent but now and then
    server.process.wait()
    assert not alive


def test_without_ray_one_line_tells_how_to_get_it(tmp_path: Path) -> None:
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not entry.name.startswith("ray"):
            (tmp_path / entry.name).symlink_to(entry)
    ended = subprocess.run(
        [sys.executable, "-S", "-m", "ism_ros.cli.main", "serve", "--backend", "ray", "--port", "0"],
        env={**os.environ, "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{tmp_path}", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 2
    (line,) = ended.stderr.strip().splitlines()
    assert "pip install 'ism_ros[ray]'" in line


def test_the_server_does_not_import_ray_unless_it_is_asked_to() -> None:
    program = "import ism_ros.server.main, sys; sys.exit('ray' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@pytest.mark.parametrize(
    ("replicas", "cpus", "gpus", "share"),
    [
        (1, 8, 1, ReplicaResources(1.0, 1.0)),
        (4, 8, 1, ReplicaResources(1.0, 0.25)),
        (3, 2, 1, ReplicaResources(0.66, 0.3333)),
        (3, 8, 2, ReplicaResources(1.0, 0.5)),
        (2, 8, 4, ReplicaResources(1.0, 1.0)),
        (4, 2, 0, ReplicaResources(0.5, 0.0)),
    ],
)  # fmt: skip
def test_replicas_share_devices_equally_and_never_straddle_two(
    replicas: int, cpus: float, gpus: float, share: ReplicaResources
) -> None:
    assert resources_of(replicas, cpus, gpus) == share


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"ISM_BACKEND": "ray", "ISM_DEVICES": "cuda:0,cuda:1"}, "ISM_DEVICES"),
        ({"ISM_REPLICAS": "2"}, "--backend ray"),
        ({"ISM_BACKEND": "dask"}, "ISM_BACKEND"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(environment: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        read_server_settings(environment)
