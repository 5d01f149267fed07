"""Machine code that is kept from one start to the next."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ism_ros.runtime.compilation import IS_AVAILABLE

pytestmark = pytest.mark.skipif(not IS_AVAILABLE, reason="there is no Numba")

LOOPS = """
from factors import FACTOR
from ism_ros.runtime.compilation import compiled, compiled_part

@compiled
def times_factor(number):
    return _product(number, FACTOR)

@compiled_part
def _product(one, other):
    return one * other
"""


def started_once_more(folder: Path, factor: int) -> tuple[int, int]:
    """What a new process gets of 7 times the factor, and how many functions it took from those kept."""
    (folder / "factors.py").write_text(f"FACTOR = {factor}\n")
    call = "import loops; print(loops.times_factor(7), sum(loops.times_factor.stats.cache_hits.values()))"
    settings = {"PYTHONPATH": os.pathsep.join([str(folder), *sys.path]), "PYTHONDONTWRITEBYTECODE": "1"}
    environment = {**os.environ, **settings, "NUMBA_CACHE_DIR": str(folder / "kept")}
    run = subprocess.run([sys.executable, "-c", call], env=environment, capture_output=True, text=True, check=True)
    product, hits = run.stdout.split()
    return int(product), int(hits)


def test_code_is_kept_until_an_imported_constant_changes(tmp_path: Path) -> None:
    (tmp_path / "loops.py").write_text(LOOPS)
    assert started_once_more(tmp_path, 2) == (14, 0)
    assert started_once_more(tmp_path, 2) == (14, 1)
    assert started_once_more(tmp_path, 3) == (21, 0)
