"""Training scenes and benchmark scenes are different distributions: neither imports the other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("tqdm")

REPOSITORY = Path(__file__).resolve().parents[3]
IMPORT_ALL = """
import importlib, pkgutil, sys
import ism_ros.sim.synthesis
import training
for package in (training, ism_ros.sim.synthesis):
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)
print(*sorted(name for name in sys.modules if name.startswith("ism_ros.sim.")))
"""


def test_training_and_the_shared_machinery_import_no_benchmark_scenes() -> None:
    command = [sys.executable, "-c", IMPORT_ALL]
    imported = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout.split()
    assert "ism_ros.sim.synthesis.sensor_model" in imported
    assert not [name for name in imported if "benchmark_scenes" in name]
