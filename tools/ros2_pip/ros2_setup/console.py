"""What the setup prints, and its errors."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import NoReturn


class SetupError(Exception):
    """Something is missing or a step failed; the message is for the user."""


def say(text: str, over: bool = False) -> None:
    """One line for the user, at once; `over` the line that counts seconds."""
    print(("\r" if over else "") + f"[setup] {text}", flush=True)


def fail(text: str) -> NoReturn:
    """End with one sentence about what is missing."""
    print(f"[setup] {text}", file=sys.stderr, flush=True)
    raise SystemExit(1)


def seconds(since: float) -> str:
    """Time elapsed since a time.monotonic() value, in words."""
    elapsed = int(time.monotonic() - since)
    return f"{elapsed} s" if elapsed < 100 else f"{elapsed // 60} min {elapsed % 60:02d} s"


def tail(log: Path, lines: int = 25) -> str:
    """The end of a log file, indented."""
    text = log.read_text(errors="replace").splitlines()[-lines:]
    return "\n".join("    " + line for line in text)
