"""The frame that tests upload."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session")
def stored(workspace: Path) -> dict[str, np.ndarray]:
    with np.load(workspace / "frame.npz") as frame:
        return {name: frame[name] for name in frame.files}
