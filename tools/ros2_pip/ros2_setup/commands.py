"""Subprocesses of the setup: run with a log file, ended together, found again after a killed run."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from ros2_setup.console import SetupError, say, seconds, tail
from ros2_setup.plan import CHILD_MARK, Plan, build_environment


def run_logged(plan: Plan, what: str, command: list[str]) -> None:
    """Run one long command with its output in a log file; raise SetupError with its tail on failure."""
    log = plan.log / (re.sub(r"\W+", "_", what.lower())[:40].strip("_") + ".log")
    log.parent.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    # of two that run side by side, one has the line that counts seconds
    interactive = sys.stdout.isatty() and threading.current_thread() is threading.main_thread()
    if not sys.stdout.isatty():
        say(f"{what} ...")
    with log.open("wb") as sink:
        # A session of its own: Ctrl-C is ours to handle, and the whole family can be ended at once.
        child = subprocess.Popen(
            command, stdout=sink, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=str(plan.prefix),
            env=build_environment(plan), start_new_session=True,
        )  # fmt: skip
        try:
            while child.poll() is None:
                if interactive:
                    print(f"\r[setup] {what} ... {seconds(begin)} ", end="", flush=True)
                time.sleep(0.2)
        except BaseException:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            raise
    if child.returncode != 0:
        raise SetupError(f"{what} failed after {seconds(begin)}; the end of {log}:\n{tail(log)}")
    say(f"{what}: {seconds(begin)}     ", over=sys.stdout.isatty())


def end_survivors(plan: Plan) -> None:
    """Kill the subprocesses of an earlier, killed run, so that they do not write at the same time as this one."""
    needle = f"{CHILD_MARK}={plan.prefix}".encode()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if int(entry.name) != os.getpid() and needle in (entry / "environ").read_bytes().split(b"\0"):
                os.kill(int(entry.name), signal.SIGKILL)
        except OSError:
            continue
