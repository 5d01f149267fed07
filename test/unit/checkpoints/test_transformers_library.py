"""Neural models load whatever torchvision there is, and say in one line what is wrong with the transformers library."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from dummy_networks import DINOV2, SAM

from ism_ros.checkpoints.loaders.transformers_library import BEYOND, FIRST, NEEDED

ROOT = Path(__file__).parents[3]
LOAD = {
    "sam": f"from ism_ros.checkpoints.loaders.sam_checkpoint import load_sam as load; file = {str(SAM)!r}",
    "dinov2": f"from ism_ros.checkpoints.loaders.dinov2_checkpoint import load_dinov2 as load; file = {str(DINOV2)!r}",
}
SAY = "; from pathlib import Path; print(type(load(Path(file))).__name__)"

Run = Callable[[str], "subprocess.CompletedProcess[str]"]


@pytest.fixture
def put(tmp_path: Path) -> Callable[[str, str], None]:
    """Puts a package of the given source in front of an installed one of that name, in what `run` runs."""

    def put(name: str, source: str) -> None:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(source)

    return put


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def run(code: str) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
        environment = {**os.environ, "PYTHONPATH": path}
        return subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=240
        )

    return run


@pytest.mark.slow
@pytest.mark.parametrize(("family", "model"), [("sam", "SamModel"), ("dinov2", "Dinov2Model")])
def test_models_load_beside_a_torchvision_of_another_pytorch(
    run: Run, put: Callable[[str, str], None], family: str, model: str
) -> None:
    put("torchvision", "raise RuntimeError('operator torchvision::nms does not exist')")
    done = run(LOAD[family] + SAY)
    assert done.stdout.strip() == model, done.stderr


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("raise ImportError('libcublas.so.12 is not there')", "need the package transformers (libcublas.so.12"),
        ("from types import SimpleNamespace\nimport sys\n__version__ = '4.57.1'\n"
         "sys.modules['transformers.utils'] = SimpleNamespace(is_torchvision_available=lambda: False)",
         "do not work with transformers 4.57.1"),
    ],
    ids=["missing", "old"],
)  # fmt: skip
def test_a_library_that_does_not_fit_is_told_with_what_to_install(
    run: Run, put: Callable[[str, str], None], source: str, said: str
) -> None:
    put("transformers", source)
    done = run(LOAD["sam"] + SAY)
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ism_ros.checkpoints.loaders.transformers_library.TransformersError: neural models")
    assert said in last
    assert last.endswith(f"pip install '{NEEDED}'")


def test_what_is_asked_for_is_what_the_package_depends_on() -> None:
    assert f'"{NEEDED}"' in (ROOT / "pyproject.toml").read_text()
    first, beyond = (".".join(map(str, version)) for version in (FIRST, BEYOND))
    assert f"transformers>={first},<{beyond}" == NEEDED
