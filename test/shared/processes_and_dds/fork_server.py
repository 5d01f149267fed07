"""Starts programs by forking: this process has imported what they import, so that each is there at once.

    python fork_server.py MODULE [MODULE ...]

imports the modules, reads lines of JSON on stdin, one for each program to start, and writes lines of JSON on stdout:
{"started": pid}, and {"ended": pid, "code": code} in the end of each; see `prepared_processes.py`. It has no threads.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import select
import signal
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

from ism_ros.runtime.threads import configure_thread_env


def say(**content: int) -> None:
    os.write(1, (json.dumps(content) + "\n").encode())


def run(request: dict[str, Any]) -> NoReturn:
    """Be the program that is asked for, in a process that was just forked."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number, name in enumerate((request["stdin"], request["stdout"], request["stderr"])):
            opened = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND if number else os.O_RDONLY, 0o644)
            os.dup2(opened, number)
            os.close(opened)
        # those of the server know what its files were, not what these are
        sys.stdin = sys.__stdin__ = open(0, closefd=False)  # noqa: SIM115
        sys.stdout = sys.__stdout__ = open(1, "w", closefd=False)  # noqa: SIM115
        sys.stderr = sys.__stderr__ = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
        os.environ.clear()
        os.environ.update(request["environment"])
        os.chdir(request["cwd"])
        program, sys.argv = request["program"], request["arguments"]
        if program[0] == "-m":
            sys.argv.insert(0, program[1])
            runpy.run_module(program[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv.insert(0, program[0])
            sys.path.insert(0, str(Path(program[0]).parent))
            runpy.run_path(program[0], run_name="__main__")
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def reap() -> None:
    """Tell of all that have ended."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        say(ended=pid, code=os.waitstatus_to_exitcode(status))


def main() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    unread = b""
    while True:
        ready = select.select([0, reader], [], [])[0]
        if reader in ready:
            os.read(reader, 4096)
            reap()
        if 0 in ready:
            chunk = os.read(0, 65536)
            if not chunk:
                return
            *lines, unread = (unread + chunk).split(b"\n")
            for line in lines:
                if pid := os.fork():
                    say(started=pid)
                else:
                    os.close(reader)
                    os.close(writer)
                    run(json.loads(line))


if __name__ == "__main__":
    configure_thread_env()
    for module in sys.argv[1:]:
        importlib.import_module(module)
    main()
