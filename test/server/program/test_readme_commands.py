"""Every shell command of the README, as it is typed after `source .ros2/setup.bash`, as far as it can run in a test."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import cv2
import pytest
import trimesh

REPO = Path(__file__).parents[3]
SETUP = REPO / ".ros2" / "setup.bash"
SCENE = REPO / "ism_ros" / "selftest" / "sample_scene"

pytestmark = pytest.mark.timeout(600)  # a busy machine renders for minutes

NOT_RUN = {
    "make demo": "sets itself up, streams for a minute: `make demo` is run by itself",
    "make test": "runs this test",
    "make faults": "fifteen minutes",
    "pip install .": "changes the environment of the tests; test_package.py builds the wheel",
    "pip install '.[server]'": "changes the environment of the tests",
    "ism weights download sam/vit_h dinov2/vitl14": "gigabytes of downloads; test_cli_weights.py has a server",
    "ism eval datasets/lmo --output out/lmo": "needs a dataset of gigabytes; test_cli_eval.py makes a small one",
    "rosdep install --from-paths src -yi": "needs apt",
    "python3 -m venv --system-site-packages .venv && touch .venv/COLCON_IGNORE && source .venv/bin/activate":
        "needs a ROS distribution",
    "pip install -c src/ism_ros/constraints.txt src/ism_ros": "changes the environment; needs a ROS distribution",
    "colcon build && source install/setup.bash": "compiles for minutes; `make setup` builds the package",
    "ros2 launch ism_ros realsense.launch.py objects_file:=$PWD/objects.yaml": "needs ros2 and a RealSense",
    "ros2 run ism_ros ism_node --ros-args -p objects_file:=$PWD/objects.yaml -r rgb:=/camera/color/image_raw "
    "-r depth:=/camera/aligned_depth_to_color/image_raw -r camera_info:=/camera/color/camera_info":
        "needs ros2; test/ros starts the node",
}  # fmt: skip
"""What cannot run here, and why."""
SERVED = (
    "ism serve",
    "curl -s localhost:8002/test/sample | curl -s localhost:8002/api/v1/inference -H 'content-type: application/json' "
    "-d @-",
)
"""Run together, at a port that is free."""


def commands() -> list[str]:
    """Those of all shell blocks, in order, continued lines as one and without comments."""
    found = []
    for block in re.findall(r"^```(?:bash|sh|shell|console)\n(.*?)^```", (REPO / "README.md").read_text(), re.M | re.S):
        for line in block.replace("\\\n", " ").splitlines():
            command = " ".join(re.sub(r"(^|\s)#.*", "", line).split())
            if command:
                found.append(command)
    return found


def shell(command: str, folder: Path) -> list[str]:
    return ["bash", "-c", f"set -o pipefail; source '{SETUP}' && cd '{folder}' && {command}"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the README's commands name."""
    if not SETUP.exists():
        pytest.skip("there is no .ros2/setup.bash: `make setup` has not built this checkout")
    folder = tmp_path_factory.mktemp("readme")
    cv2.imwrite(str(folder / "rgb.png"), cv2.imread(str(SCENE / "rgb.jpg")))
    shutil.copy(SCENE / "depth.png", folder)
    shutil.copy(SCENE / "camera.json", folder)
    (folder / "ism_ros" / "selftest").mkdir(parents=True)
    (folder / "ism_ros" / "selftest" / "sample_scene").symlink_to(SCENE)
    mug = trimesh.load(SCENE / "banana.ply", process=False)
    mug.apply_scale(1000)  # in millimetres, as the README says
    mug.export(folder / "mug.ply")
    return folder


@pytest.fixture
def environment(home: Path, sample_cache: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("LANG", "TMPDIR", "ROS_DOMAIN_ID") if name in os.environ}
    return {**kept, "HOME": str(home), "PATH": os.defpath, "XDG_CACHE_HOME": str(sample_cache.parent)}


def test_every_command_is_run_or_named_with_the_reason_why_not() -> None:
    known = set(commands())
    assert set(NOT_RUN) | set(SERVED) <= known, "no longer in the README"
    assert all(command.startswith(("ism ", "curl ")) for command in known - set(NOT_RUN)), known - set(NOT_RUN)


@pytest.mark.parametrize("command", [c for c in commands() if c not in NOT_RUN and c not in SERVED])
def test_a_command_of_the_readme_succeeds(command: str, home: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(shell(command, home), env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    if command.startswith("ism segment"):
        assert {"detection_ism.json", "detection_ism.npz", "vis_ism.png"} <= {f.name for f in (home / "out").iterdir()}


def test_the_server_and_the_request_of_the_readme_find_something(home: Path, environment: dict[str, str]) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    serve, ask = SERVED
    server = subprocess.Popen(
        shell(f"exec {serve} --port 0", home), env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
        text=True,
    )  # fmt: skip
    try:
        assert server.stderr is not None
        said = ""
        port = None
        for line in server.stderr:
            said += line
            if found := re.search(r"running on http://[^\s:]+:(\d+)", line):
                port = found[1]
            if port and "ready after" in said:
                break
        assert port, said
        request = ask.replace("localhost:8002", f"localhost:{port}")
        done = subprocess.run(shell(request, home), env=environment, capture_output=True, text=True, timeout=120)
        answer = json.loads(done.stdout)
        assert answer["success"], answer
        assert answer["num_detections"] > 0
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=60)
