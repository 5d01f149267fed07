"""What a killed process leaves in shared memory is freed, what a living one uses is not."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ism_ros.sim.children import return_shared_memory

SHARED_MEMORY = Path("/dev/shm")
PARTICIPANT = "import rclpy; rclpy.init(); n = rclpy.create_node('holder'); print('up', flush=True); input()"


def segments() -> set[str]:
    return {path.name for path in SHARED_MEMORY.glob("fastdds_*") if "port" not in path.name}


@pytest.mark.skipif(shutil.which("fastdds") is None, reason="Fast DDS's tool is not installed")
def test_segments_of_a_killed_process_are_freed_and_those_of_a_living_one_stay():
    return_shared_memory()
    before = segments()
    process = subprocess.Popen(
        [sys.executable, "-c", PARTICIPANT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "up\n"
    taken = segments() - before
    assert taken, "the participant takes no shared memory: nothing is tested"

    return_shared_memory()
    assert taken <= segments()

    process.kill()
    process.wait()
    assert taken <= segments()
    return_shared_memory()
    assert not taken & segments()
