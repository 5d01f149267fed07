"""Folders of the user: the XDG ones where they are set, else those in the home folder."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ism_ros.config.paths import default_cache_dir, default_checkpoints_dir, default_server_dir

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the places on Linux")


def test_the_xdg_variables_count(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert default_cache_dir() == tmp_path / "cache" / "ism_ros"
    assert default_checkpoints_dir() == tmp_path / "data" / "ism_ros" / "checkpoints"
    assert default_server_dir() == tmp_path / "data" / "ism_ros" / "server"


@pytest.mark.parametrize("value", [None, ""], ids=["not set", "empty"])
def test_without_them_it_is_the_home_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str | None
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CACHE_HOME", "XDG_DATA_HOME"):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    assert default_cache_dir() == tmp_path / ".cache" / "ism_ros"
    assert default_checkpoints_dir() == tmp_path / ".local" / "share" / "ism_ros" / "checkpoints"
