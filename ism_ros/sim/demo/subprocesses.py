"""Programs of this package as subprocesses: started, watched, and always ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from ism_ros.runtime.threads import PASSIVE_WAIT_ENV


class SubprocessError(RuntimeError):
    """A subprocess ended unexpectedly; the message holds the end of its log."""


class ManagedProcess:
    """One subprocess, its output in a log file. Use as a context manager: leaving it ends the process.

    Attributes:
        name: What it is called in errors.
        log: File of its output.
    """

    def __init__(self, name: str, command: Sequence[str], log: Path) -> None:
        """Store what to start; nothing is started yet.

        Args:
            name: What it is called in errors.
            command: Program and arguments.
            log: File for its output; overwritten.
        """
        self.name = name
        self.log = log
        self._command = list(command)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> ManagedProcess:
        with self.log.open("wb") as out:
            # A session of its own: Ctrl-C in the terminal reaches it once, from here, and in order.
            self._process = subprocess.Popen(
                self._command,
                env={**PASSIVE_WAIT_ENV, **os.environ},
                stdout=out,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process = self._process
        if process is None:
            return
        for number, timeout_s in ((signal.SIGINT, 8), (signal.SIGTERM, 4), (signal.SIGKILL, 4)):
            if process.poll() is not None:
                return
            process.send_signal(number)
            try:
                process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                continue

    @property
    def pid(self) -> int:
        """Process id.

        Raises:
            SubprocessError: The process does not run.
        """
        self.check()
        if self._process is None:
            raise SubprocessError(f"{self.name} was not started")
        return self._process.pid

    def restart(self, kill: bool = False) -> None:
        """End the process and start it again.

        Args:
            kill: End it with SIGKILL, so that it cannot clean up.
        """
        if kill and self._process is not None:
            self._process.kill()
            self._process.wait()
        self.__exit__(None, None, None)
        self.__enter__()

    def check(self) -> None:
        """Check that the process runs.

        Raises:
            SubprocessError: It has ended.
        """
        code = None if self._process is None else self._process.poll()
        if code is not None:
            raise SubprocessError(f"{self.name} ended with code {code}; the end of {self.log}:\n{self.tail()}")

    def tail(self, lines: int = 12) -> str:
        """Read the end of the log.

        Args:
            lines: How many lines.

        Returns:
            Its last lines.
        """
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def installed_program(name: str, module: str) -> list[str]:
    """Find the command that starts a program of this package.

    Args:
        name: Name of the executable.
        module: The module to run where the executable is not installed.

    Returns:
        Program and arguments.
    """
    for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep):
        path = Path(prefix) / "lib" / "ism_ros" / name
        if prefix and path.is_file():
            return [sys.executable, str(path)]
    return [sys.executable, "-m", module]
