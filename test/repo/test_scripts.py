"""Scripts that are not installed can be started: whatever they import is there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
IMPORT_EACH = """
import os, runpy, sys
repo, *files = sys.argv[1:]
path = [os.path.join(repo, "benchmarks"), *sys.path, repo]
for file in files:
    sys.path = [os.path.dirname(file), *path]
    runpy.run_path(file, run_name="imported")
"""
"""Imports files as if they were started; the repository comes last, as only the installed package has the messages."""


def test_every_script_can_be_imported() -> None:
    for needed in ("rclpy", "transformers", "tqdm"):
        pytest.importorskip(needed)
    files = [file for folder in ("benchmarks", "training") for file in sorted((REPO / folder).rglob("*.py"))]
    files += (REPO / "tools").glob("*.py")
    command = [sys.executable, "-c", IMPORT_EACH, REPO, *files]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
