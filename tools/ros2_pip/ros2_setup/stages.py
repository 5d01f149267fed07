"""Stages with stamps: each runs only when its inputs have changed, and a killed run is cleaned up by the next one."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable
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
    """Runs each stage whose inputs have changed, and remembers which one was running if it is killed."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.running = plan.prefix / "running"
        self.changed = False

    def recover(self) -> None:
        """Remove what a killed run may have left half done."""
        if not self.running.exists():
            return
        stage = self.running.read_text().strip()
        say("the last run was interrupted: cleaning up after it")
        end_survivors(self.plan)
        if stage in OVERLAY_PACKAGES:
            half_done = [self.plan.overlay / stage, self.plan.prefix / "build" / stage]
        elif stage == "package":
            half_done = [self.plan.install, self.plan.prefix / "build" / "package"]
        else:
            half_done = [self.plan.venv]
        for folder in half_done:
            shutil.rmtree(folder, ignore_errors=True)
        self.running.unlink()

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
        self.running.write_text(name)
        try:
            action()
        except SetupError:
            self.running.unlink()  # ended by itself: nothing half written that the next run would trust
            raise
        write_atomically(stamp, key)
        self.running.unlink()
        return key


def write_atomically(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old text or the new one, never a part."""
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(text)
    os.replace(str(fresh), str(path))
