"""What this machine has of all that the package can use, each thing with what to do where it is not right.

Nothing heavy is imported here: what may be missing, broken or of the wrong version is tried in processes of its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ism_ros.descriptors.base import DESCRIPTORS
from ism_ros.segmentors.base import SEGMENTORS
from ism_ros.selftest.findings import Environment, Finding, checked
from ism_ros.selftest.folder_checks import check_checkpoints_dir, check_folder
from ism_ros.selftest.library_checks import (
    check_embree,
    check_numba,
    check_onnxruntime,
    check_python,
    check_torch,
    check_torchvision,
    check_transformers,
)
from ism_ros.selftest.ros_checks import check_ros


def examine(
    segmentor: str,
    descriptor: str,
    cache_dir: Path | None = None,
    checkpoints_dir: Path | None = None,
    environment: Environment = os.environ,
) -> list[Finding]:
    """Run all checks but the self-test, two at a time.

    Args:
        segmentor: The one that will run.
        descriptor: The one that will run.
        cache_dir: Folder of templates and descriptors; None = not checked.
        checkpoints_dir: Folder of checkpoints; None = not checked.
        environment: Of the shell.

    Returns:
        Findings in the order in which to read them.
    """
    required = {*SEGMENTORS.get(segmentor).requires, *DESCRIPTORS.get(descriptor).requires}
    checks: dict[str, Callable[[], list[Finding]]] = {
        "Python": lambda: [check_python()],
        "ROS 2": lambda: check_ros(environment),
        "PyTorch": check_torch,
        "torchvision": lambda: [check_torchvision()],
        "transformers": lambda: [check_transformers("transformers" in required)],
        "onnxruntime": lambda: [check_onnxruntime("onnxruntime" in required)],
        "Numba": lambda: [check_numba()],
        "embreex": lambda: [check_embree()],
        "cache": lambda: [] if cache_dir is None else [check_folder("cache", cache_dir, "cache_dir")],
        "checkpoints": lambda: [] if checkpoints_dir is None else check_checkpoints_dir(checkpoints_dir),
    }
    with ThreadPoolExecutor(2) as pool:
        return [finding for findings in pool.map(checked, checks, checks.values()) for finding in findings]
