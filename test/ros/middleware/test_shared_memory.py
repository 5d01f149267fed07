"""What a killed process leaves in shared memory is freed, what a living one uses is not."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ism_ros.sim.demo.ros_isolation import return_shared_memory

SHARED_MEMORY = Path("/dev/shm")
PARTICIPANT = "import rclpy; rclpy.init(); n = rclpy.create_node('holder'); print('up', flush=True); input()"


def segments_of(process: subprocess.Popen[str]) -> set[str]:
    """Those it owns: it keeps their lock files open, while it merely maps what it reads of other processes.

    fastdds_*, or on Jazzy and before fastrtps_*.
    """
    opened = [str(link.readlink()) for link in Path(f"/proc/{process.pid}/fd").iterdir()]
    owned = [re.fullmatch(rf"{SHARED_MEMORY}/(fast\w+)_el", path) for path in opened]
    return {match[1] for match in owned if match and "port" not in match[1]}


def there() -> set[str]:
    return {path.name for path in SHARED_MEMORY.iterdir()}


@pytest.mark.skipif(shutil.which("fastdds") is None, reason="Fast DDS's tool is not installed")
def test_segments_of_a_killed_process_are_freed_and_those_of_a_living_one_stay():
    process = subprocess.Popen(
        [sys.executable, "-c", PARTICIPANT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "up\n"
    taken = segments_of(process)
    assert taken, "the participant takes no shared memory: nothing is tested"

    return_shared_memory()
    assert taken <= there()

    process.kill()
    process.wait()
    assert taken <= there()
    return_shared_memory()
    assert not taken & there()
