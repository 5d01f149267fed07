"""A box as a CAD file, a cache in which it is, and template folders."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image
from small_onboarding import MeanColor, onboard

from ism_ros.objects.spec import ObjectSpec


@pytest.fixture(scope="session")
def cad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    mesh = trimesh.creation.box((60, 40, 30))
    mesh.visual.face_colors = [200, 100, 50, 255]
    file = tmp_path_factory.mktemp("cad") / "box.ply"
    mesh.export(file)
    return file


@pytest.fixture(scope="session")
def warm(cad: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache in which the box is."""
    cache = tmp_path_factory.mktemp("warm")
    onboard(ObjectSpec("box", cad, "mm"), MeanColor(), cache)
    return cache


@pytest.fixture
def cache(warm: Path, tmp_path: Path) -> Path:
    """A copy of the warm cache, to be spoilt."""
    shutil.copytree(warm, tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture
def template_folder(tmp_path: Path) -> Callable[[int], Path]:
    """Makes a folder like those of the reference tool, red on the left and green on the right, without poses."""

    def make(count: int) -> Path:
        folder = tmp_path / f"views_{count}"
        folder.mkdir()
        mask = np.zeros((20, 20), np.uint8)
        mask[4:16, 2:18] = 255
        picture = np.full((20, 20, 3), 90, np.uint8)
        picture[:, :10], picture[:, 10:] = (255, 0, 0), (0, 255, 0)
        xyz_mm = np.zeros((20, 20, 3), np.float16)
        xyz_mm[4:16, 2:18] = np.random.default_rng(0).uniform(10, 50, (12, 16, 3))
        for index in range(count):
            Image.fromarray(picture).save(folder / f"rgb_{index}.png")
            Image.fromarray(mask).save(folder / f"mask_{index}.png")
            np.save(folder / f"xyz_{index}.npy", xyz_mm)
        return folder

    return make
