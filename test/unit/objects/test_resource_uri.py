"""CAD files may be named as ROS names them, by package:// and file:// URIs."""

from __future__ import annotations

from pathlib import Path

import pytest

from ism_ros.objects.resource_uri import resolve_path
from ism_ros.objects.spec import ObjectsFileError, read_objects_file


@pytest.fixture
def prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An install space with the package `parts`, behind one that has nothing."""
    prefix = tmp_path / "install"
    (prefix / "share" / "ament_index" / "resource_index" / "packages").mkdir(parents=True)
    (prefix / "share" / "ament_index" / "resource_index" / "packages" / "parts").touch()
    (prefix / "share" / "parts" / "meshes").mkdir(parents=True)
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"{tmp_path / 'empty'}:{prefix}")
    return prefix


@pytest.mark.parametrize("uri", ["package://parts/meshes/mug.ply", "package:/parts/meshes/mug.ply"])
def test_a_package_uri_is_a_file_in_the_share_folder_of_that_package(prefix: Path, uri: str) -> None:
    assert resolve_path(uri, Path("elsewhere")) == prefix / "share" / "parts" / "meshes" / "mug.ply"


def test_a_file_uri_is_an_absolute_path_with_its_escapes_undone() -> None:
    assert resolve_path("file:///data/my%20mug.ply", Path("elsewhere")) == Path("/data/my mug.ply")


def test_paths_are_relative_to_the_folder_unless_they_are_absolute() -> None:
    assert resolve_path("mug.ply", Path("/data")) == Path("/data/mug.ply")
    assert resolve_path("/other/mug.ply", Path("/data")) == Path("/other/mug.ply")


def test_a_package_that_is_not_installed_is_named(prefix: Path, tmp_path: Path) -> None:
    file = tmp_path / "objects.yaml"
    file.write_text("objects:\n- {id: mug, cad: package://pats/meshes/mug.ply, units: mm}\n")
    with pytest.raises(ObjectsFileError, match="package 'pats' is not installed"):
        read_objects_file(file)


def test_a_uri_of_the_web_is_refused_by_its_name() -> None:
    with pytest.raises(ValueError, match="https URI; give a path"):
        resolve_path("https://example.org/mug.ply", Path())
