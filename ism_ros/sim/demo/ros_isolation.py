"""ROS traffic of demo, tests and benchmarks kept to itself: discovery on this machine, a free domain, shared memory."""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path


def keep_traffic_local() -> None:
    """Set the environment of this process and its subprocesses: discovery on this machine, a domain that is free.

    The Fast DDS profile of the package is used where none is set yet: without it images are lost.
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
    """Free what killed processes left in /dev/shm, which Fast DDS never does itself: hundreds of MB an hour of tests.

    `fastdds shm clean` does it, and spares what a living process uses; without that tool nothing happens.
    """
    tool = shutil.which("fastdds")
    if tool is not None:
        subprocess.run([tool, "shm", "clean"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


def _shared_file(name: str) -> Path | None:
    """A file of the package's share folder, or of the source tree that it runs from."""
    prefixes = [Path(p) for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    places = [prefix / "share" / "ism_ros" / name for prefix in prefixes]
    places.append(Path(__file__).resolve().parents[3] / name)
    return next((place for place in places if place.is_file()), None)


def _claim_domain() -> int:
    """A domain, up to 101 as Linux allows, for this process and its subprocesses alone.

    One whose discovery port is open is in use; a lock, held until this process ends, keeps two that start at once
    apart while neither has opened a port yet.
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
