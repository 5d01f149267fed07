"""Stages with stamps: each runs only when its inputs have changed, and a killed run is cleaned up by the next one."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ros2_setup.commands import end_survivors
from ros2_setup.console import SetupError, say
from ros2_setup.plan import OVERLAY_PACKAGES, REPO, Plan


def digest(parts: Iterable[object]) -> str:
    """A short hash of anything that has a repr."""
    return hashlib.sha256(repr(list(parts)).encode()).hexdigest()[:20]


def file_hashes(*paths: Path) -> list[tuple[str, str]]:
    """Relative names and content hashes of files, and of all files below folders."""
    found: list[tuple[str, str]] = []
    for path in paths:
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        for file in files:
            if "__pycache__" not in file.parts:
                found.append((os.path.relpath(file, REPO), hashlib.sha256(file.read_bytes()).hexdigest()))
    return found


def file_names(*folders: Path) -> list[str]:
    """Relative names of all files below folders."""
    files = (p for folder in folders for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    return sorted(os.path.relpath(file, REPO) for file in files)


class Stages:
    """Runs each stage whose inputs have changed, and remembers which ones were running if it is killed."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.running = plan.prefix / "running"
        self.changed = False
        self.interrupted = False

    def recover(self) -> None:
        """Remove what a killed run may have left half done."""
        if self.running.is_file():  # as earlier versions left it
            stage = self.running.read_text().strip()
            self.running.unlink()
            self._mark(stage)
        markers = list(self.running.glob("*"))
        if not markers:
            return
        say("the last run was interrupted: cleaning up after it")
        end_survivors(self.plan)
        for marker in markers:
            for folder in self._half_done(marker.name):
                shutil.rmtree(folder, ignore_errors=True)
            marker.unlink()

    def _half_done(self, stage: str) -> list[Path]:
        if stage in OVERLAY_PACKAGES:
            return [self.plan.overlay / stage, self.plan.prefix / "build" / stage]
        if stage == "package":
            return [self.plan.install, self.plan.prefix / "build" / "package"]
        return [self.plan.venv]

    def _mark(self, stage: str) -> Path:
        self.running.mkdir(parents=True, exist_ok=True)
        marker = self.running / stage
        marker.touch()
        return marker

    def side_by_side(self, first: Callable[[], None], second: Callable[[], None]) -> None:
        """Run two parts of the setup that do not need each other; an interruption ends both."""
        with ThreadPoolExecutor(max_workers=1) as pool:
            beside = pool.submit(first)
            try:
                second()
                beside.result()
            except SetupError:
                raise  # what the other one has begun is worth finishing
            except BaseException:
                self.interrupted = True
                end_survivors(self.plan)
                raise

    def do(self, name: str, inputs: Iterable[object], product: Path, action: Callable[[], None]) -> str:
        """Run `action` unless `product` exists and was made from the same inputs; returns the key of these."""
        key = digest([name, *inputs])
        stamp = self.plan.stamps / name
        if product.exists() and stamp.exists() and stamp.read_text() == key:
            return key
        self.changed = True
        stamp.parent.mkdir(parents=True, exist_ok=True)
        if stamp.exists():
            stamp.unlink()
        marker = self._mark(name)
        try:
            action()
        except SetupError:
            if not self.interrupted:
                marker.unlink()  # ended by itself: nothing half written that the next run would trust
            raise
        write_atomically(stamp, key)
        marker.unlink()
        return key


def write_atomically(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old text or the new one, never a part."""
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(text)
    os.replace(str(fresh), str(path))
