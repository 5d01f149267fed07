"""Programs that are forked from a process which has imported all that they import, so that each is there at once.

Importing PyTorch takes each process three seconds of a core. What a program does from its main function on is the same;
some tests start it as users do all the same.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

FORK_SERVER = Path(__file__).with_name("fork_server.py")
START_S = 240.0
"""How long importing may take on a busy machine, seconds."""


class PreparedProcesses:
    """Starts such programs.

    Args:
        modules: What they import.
        environment: Of the process that imports it.
    """

    def __init__(self, modules: Sequence[str], environment: Mapping[str, str]) -> None:
        self.changed = threading.Condition()
        self.codes: dict[int, int] = {}
        self._started: queue.Queue[int] = queue.Queue()
        self._server = subprocess.Popen(
            [sys.executable, str(FORK_SERVER), *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=dict(environment),
        )
        threading.Thread(target=self._read, daemon=True).start()

    def start(
        self,
        program: Sequence[str],
        arguments: Sequence[str],
        stdout: str | Path,
        stderr: str | Path,
        cwd: str | Path,
        environment: Mapping[str, str],
        stdin: str | Path = os.devnull,
    ) -> PreparedProcess:
        """Start a program.

        Args:
            program: ("-m", module), or (file,).
            arguments: Of its command line.
            stdout: File that it writes to.
            stderr: Likewise.
            cwd: Its working directory.
            environment: All of its variables.
            stdin: File that it reads; it waits for the other end of pipes with a name, in this order.

        Returns:
            The process.
        """
        request = {
            "program": list(program), "arguments": list(arguments), "stdin": str(stdin), "stdout": str(stdout),
            "stderr": str(stderr), "cwd": str(cwd), "environment": dict(environment),
        }  # fmt: skip
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        return PreparedProcess(self, self._started.get(timeout=START_S))

    def close(self) -> None:
        """End the process that forks; what it has started goes on."""
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait(60)

    def _read(self) -> None:
        assert self._server.stdout is not None
        for line in self._server.stdout:
            told: dict[str, Any] = json.loads(line)
            if "started" in told:
                self._started.put(told["started"])
            else:
                with self.changed:
                    self.codes[told["ended"]] = told["code"]
                    self.changed.notify_all()


class PreparedProcess:
    """One of them, with the methods of subprocess.Popen that tests call."""

    def __init__(self, starter: PreparedProcesses, pid: int) -> None:
        self.pid = pid
        self._starter = starter

    def poll(self) -> int | None:
        return self._starter.codes.get(self.pid)

    def wait(self, timeout: float | None = None) -> int:
        with self._starter.changed:
            if not self._starter.changed.wait_for(lambda: self.pid in self._starter.codes, timeout):
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0.0)
        return self._starter.codes[self.pid]

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)
