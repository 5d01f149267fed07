"""Findings of the checks, and Python tried in processes of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

State = Literal["passed", "warning", "failed"]
Environment = Mapping[str, str]
"""Environment variables by name."""
PROBE_TIMEOUT_S = 180.0
"""Longest that a probe may take."""


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        subject: What was checked.
        state: passed, warning or failed.
        found: What was found, a phrase.
        advice: What to do; empty where nothing is to be done.
    """

    subject: str
    state: State
    found: str
    advice: str = ""


@dataclass(frozen=True)
class Probe:
    """Output of a piece of Python in a process of its own.

    Attributes:
        output: The JSON object that it printed last; empty where it failed.
        error: Why it failed; empty where it did not.
    """

    output: Mapping[str, Any]
    error: str = ""


def checked(subject: str, check: Callable[[], list[Finding]]) -> list[Finding]:
    """Run a check; where it fails itself, that is a finding too.

    Args:
        subject: What is checked.
        check: The check.

    Returns:
        Its findings.
    """
    try:
        return check()
    except Exception as error:
        return [
            Finding(subject, "failed", f"cannot be looked at ({type(error).__name__}: {error})", "please report this")
        ]


def probe(code: str, environment: Environment | None = None) -> Probe:
    """Run Python in a fresh interpreter.

    Args:
        code: Source whose last printed line is a JSON object.
        environment: Environment of the process; None = this one's.

    Returns:
        What it printed, or why it failed.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            timeout=PROBE_TIMEOUT_S,
            env=None if environment is None else dict(environment),
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Probe({}, f"no answer within {PROBE_TIMEOUT_S:.0f} s")
    except OSError as error:
        return Probe({}, str(error))
    lines = done.stdout.strip().splitlines()
    if done.returncode == 0 and lines:
        return Probe(json.loads(lines[-1]))
    words = done.stderr.strip().splitlines()
    return Probe({}, words[-1] if words else f"the process ended with status {done.returncode}")
