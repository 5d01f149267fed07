"""Programs of this package run as processes of their own: started, watched, and always ended."""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from ism_ros.runtime.threads import PATIENT_THREADS


class ChildError(RuntimeError):
    """A child ended when it should not have; the message holds the end of its log."""


class Child:
    """One process, its output in a log file. Use as a context manager: leaving it ends the process."""

    def __init__(self, name: str, command: Sequence[str], log: Path) -> None:
        self.name = name
        self.log = log
        self._command = list(command)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Child:
        with self.log.open("wb") as out:
            # A session of its own: Ctrl-C in the terminal reaches it once, from here, and in order.
            self._process = subprocess.Popen(
                self._command,
                env={**PATIENT_THREADS, **os.environ},
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
        for number, patience_s in ((signal.SIGINT, 8), (signal.SIGTERM, 4), (signal.SIGKILL, 4)):
            if process.poll() is not None:
                return
            process.send_signal(number)
            try:
                process.wait(patience_s)
            except subprocess.TimeoutExpired:
                continue

    @property
    def pid(self) -> int:
        """Of the process that runs. Raises ChildError where none does."""
        self.check()
        if self._process is None:
            raise ChildError(f"{self.name} was not started")
        return self._process.pid

    def restart(self, kill: bool = False) -> None:
        """Ends the process, or kills it without a word to anyone, and starts it anew."""
        if kill and self._process is not None:
            self._process.kill()
            self._process.wait()
        self.__exit__(None, None, None)
        self.__enter__()

    def check(self) -> None:
        """Raises ChildError where the process has ended."""
        code = None if self._process is None else self._process.poll()
        if code is not None:
            raise ChildError(f"{self.name} ended with code {code}; the end of {self.log}:\n{self.tail()}")

    def tail(self, lines: int = 12) -> str:
        """The last lines of the log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def installed_program(name: str, module: str) -> list[str]:
    """The command that starts `name` of this package: the installed executable, else the module itself."""
    for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep):
        path = Path(prefix) / "lib" / "ism_ros" / name
        if prefix and path.is_file():
            return [sys.executable, str(path)]
    return [sys.executable, "-m", module]


def keep_traffic_local() -> None:
    """Sets what ROS needs in this process and its children: discovery on this machine, a domain of its own.

    The Fast DDS profile of the package is used where none is named yet: without it images are lost.
    """
    if os.environ.get("ROS_DISTRO") == "humble":
        os.environ["ROS_LOCALHOST_ONLY"] = "1"
    else:
        # Newer distributions warn about the older name, and have the range instead.
        os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
        os.environ.pop("ROS_LOCALHOST_ONLY", None)
    os.environ.setdefault("ROS_DOMAIN_ID", str(_claim_domain()))
    older = os.environ.get("ROS_DISTRO") in ("humble", "iron", "jazzy")
    variable = "FASTRTPS_DEFAULT_PROFILES_FILE" if older else "FASTDDS_DEFAULT_PROFILES_FILE"
    profile = _shared_file("config/fastdds.xml")
    if profile is not None:
        os.environ.setdefault(variable, str(profile))


def return_shared_memory() -> None:
    """Frees what killed processes left in /dev/shm, which Fast DDS never does itself: hundreds of MB an hour of tests.

    Its own tool does it, and leaves alone what a living process uses; without the tool nothing happens.
    """
    tool = shutil.which("fastdds")
    if tool is not None:
        subprocess.run([tool, "shm", "clean"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


def _shared_file(name: str) -> Path | None:
    """A file of the package's share folder, or of the source tree it runs from."""
    prefixes = [Path(p) for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    places = [prefix / "share" / "ism_ros" / name for prefix in prefixes]
    places.append(Path(__file__).resolve().parents[3] / name)
    return next((place for place in places if place.is_file()), None)


def _claim_domain() -> int:
    """A domain, up to 101 as Linux allows, for this process and its children alone.

    One whose discovery port is open is somebody else's; a lock, held until this process ends, keeps two that start at
    once apart while neither has opened a port yet.
    """
    domains = [*range(1, 102)]
    random.SystemRandom().shuffle(domains)
    for domain in domains:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("", 7400 + 250 * domain))
            except OSError:
                continue
        if _lock_until_exit(Path(tempfile.gettempdir()) / f"ism_ros_domain_{domain}.lock"):
            return domain
    return domains[0]


def _lock_until_exit(path: Path) -> bool:
    """Whether the lock on `path` was free; it is then held by this process for as long as it runs."""
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError:  # somebody else's file
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return False
    return True
