"""`ism serve` as somebody starts it after `source .ros2/setup.bash`: the program on PATH, in the install space."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from ism_ros.server.backends.process_exit import cause_of_exit

REPO = Path(__file__).parents[3]
SETUP = REPO / ".ros2" / "setup.bash"
PROGRAMS = sorted([*(REPO / "scripts").iterdir(), *(REPO / "examples").glob("*.py")])


@pytest.fixture
def address(tmp_path: Path, sample_cache: Path) -> Iterator[str]:
    """Of a server that a fresh shell has started."""
    if not SETUP.exists():
        pytest.skip("there is no .ros2/setup.bash: `make setup` has not built this checkout")
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR", "ROS_DOMAIN_ID") if name in os.environ}
    folders = {"ISM_CACHE_DIR": str(sample_cache), "ISM_STATE_DIR": str(tmp_path / "state")}
    server = subprocess.Popen(
        ["bash", "-c", f"source '{SETUP}' && exec ism serve --port 0"],
        cwd=tmp_path,
        env={**kept, "PATH": os.defpath, **folders},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert server.stderr is not None
    try:
        said = []
        for line in server.stderr:
            said.append(line)
            if found := re.search(r'running on (http://[^\s"]+)', line):
                # read on: a full pipe would hold the server up
                threading.Thread(target=server.stderr.read, daemon=True).start()
                yield found[1]
                return
        pytest.fail("".join(said))
    finally:
        server.terminate()
        server.wait(60)


@pytest.mark.slow  # test_readme_commands.py starts one in the same way
def test_the_server_that_a_sourced_shell_starts_finds_the_sample(address: str) -> None:
    with httpx.Client(base_url=address, timeout=120) as client:
        while (status := client.get("/api/v1/status").json())["state"] == "loading":
            pass
        assert status["state"] == "ready", status
        answer = client.post("/api/v1/inference", json=client.get("/test/sample").json()).json()
    assert answer["success"], answer["error_message"]
    assert answer["num_detections"] > 0


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_a_process_that_multiprocessing_spawns_does_not_run_the_program_again(program: Path) -> None:
    if "rclpy" in program.read_text() or program.name in ("fake_camera", "ism_node"):
        pytest.importorskip("rclpy")
    runpy.run_path(str(program), run_name="__mp_main__")  # as multiprocessing.spawn does with the main file


@pytest.mark.parametrize(
    ("exit_code", "wanted"),
    [
        (-9, "was killed, as the system does when memory is short"),
        (-11, "crashed with SIGSEGV"),
        (1, "ended with code 1"),
        (None, "no longer answers"),
    ],
)
def test_a_worker_that_ends_while_loading_is_not_always_short_of_memory(exit_code: int | None, wanted: str) -> None:
    said = cause_of_exit(exit_code)
    assert wanted in said
    assert ("memory" in said) == (exit_code == -9)
