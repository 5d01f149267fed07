"""A real server: `ism serve` in a process of its own, with the default models.

It is forked from a process that has imported its libraries; `test_readme_commands.py` starts it as users do.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import httpx
from prepared_processes import PreparedProcess, PreparedProcesses

REPOSITORY = Path(__file__).parents[2]


@dataclass
class Server:
    """A running server.

    Attributes:
        url: Where it listens.
        data: The folder that requests may name files in.
        process: Its process.
        said: Lines that it has written to stderr.
        reader: Reads them.
    """

    url: str
    data: Path
    process: PreparedProcess
    said: list[str]
    reader: threading.Thread

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=120)

    def wait_until_ready(self) -> None:
        transport = httpx.HTTPTransport(retries=5)
        with httpx.Client(base_url=self.url, timeout=120, transport=transport) as client:
            while client.get("/ready").status_code != 200:
                assert self.process.poll() is None


StartServer = Callable[..., Server]
"""Starts a server of a test's own with environment variables as keywords; `is_ready=False` does not wait for models."""


def start(data: Path, cache: Path, **environment: str) -> Server:
    """Start a server at a free port; it is not waited for.

    Args:
        data: Folder that requests may name files in.
        cache: Folder of templates and descriptors.
        **environment: Further environment variables.

    Returns:
        The server.

    Raises:
        AssertionError: It does not start; the text is what it has said.
    """
    data.mkdir(exist_ok=True)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ISM_")}
    folders = {"ISM_CACHE_DIR": str(cache), "ISM_STATE_DIR": str(data.with_name(f"{data.name}_state"))}
    folder = Path(tempfile.mkdtemp(prefix="ism_server_"))
    said = folder / "stderr"
    os.mkfifo(said)
    process = _prepared().start(
        ("-m", "ism_ros.cli.main"),
        ["serve", "--port", "0", "--data-root", str(data)],
        os.devnull,
        said,
        Path.cwd(),
        {**inherited, "PYTHONPATH": str(REPOSITORY), **folders, **environment},
    )
    stderr = said.open()  # waits until the server has opened it
    shutil.rmtree(folder)
    lines = []
    for line in stderr:
        lines.append(line)
        if found := re.search(r'running on (http://[^\s"]+)', line):
            # read on: a full pipe would hold the server up
            reader = threading.Thread(target=lines.extend, args=(stderr,), daemon=True)
            reader.start()
            return Server(found[1], data, process, lines, reader)
    raise AssertionError("".join(lines))


@lru_cache
def _prepared() -> PreparedProcesses:
    """A process that has imported what servers import, and forks them; it ends with that of the tests."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ISM_")}
    return PreparedProcesses(("ism_ros.server.main", "uvicorn"), {**inherited, "PYTHONPATH": str(REPOSITORY)})


def stop(server: Server) -> str:
    """End a server as Ctrl-C would.

    Args:
        server: The server.

    Returns:
        What it has said.
    """
    server.process.terminate()
    server.process.wait(60)
    server.reader.join(60)
    return "".join(server.said)
