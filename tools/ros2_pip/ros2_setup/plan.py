"""The plan of one setup: which ROS, which Python, and where everything goes."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from ros2_setup.console import SetupError, say
from ros2_setup.environment import clean_environment, foreign_entries, is_own, run_quiet, split_path, without_own

TOOL = Path(__file__).resolve().parent.parent
"""The folder tools/ros2_pip."""
REPO = TOOL.parent.parent
"""The checkout."""
OVERLAY_PACKAGES = ("vision_msgs", "tf2_msgs", "message_filters", "cv_bridge")
"""ROS packages that PyPI lacks, in the order in which they are built."""
WHEEL_PYTHONS: dict[str, tuple[str, ...]] = {
    "kilted": ("3.11", "3.12", "3.13", "3.10"),
    "jazzy": ("3.12",),
}
"""Python versions for which the wheels of a distribution exist, the preferred one first."""
CHILD_MARK = "ISM_ROS_SETUP_CHILD"
"""Environment variable of every subprocess, so that the survivors of a killed run can be found."""


@dataclass(frozen=True)
class Plan:
    """Which ROS, which Python, and where everything goes."""

    distro: str
    python: Path
    sourced: bool

    @property
    def root(self) -> Path:
        return REPO / ".ros2"

    @property
    def prefix(self) -> Path:
        return self.root / (self.distro + ("-sourced" if self.sourced else ""))

    @property
    def venv(self) -> Path:
        return self.prefix / "venv"

    @property
    def venv_python(self) -> Path:
        return self.venv / "bin" / "python"

    @property
    def overlay(self) -> Path:
        return self.prefix / "overlay"

    @property
    def install(self) -> Path:
        return self.prefix / "install"

    @property
    def log(self) -> Path:
        return self.prefix / "log"

    @property
    def stamps(self) -> Path:
        return self.prefix / "stamps"


def sourced_python(env: dict[str, str]) -> Path | None:
    """The interpreter of a sourced ROS distribution, or None; our own wheels are not one."""
    if not env.get("ROS_DISTRO") or not foreign_entries(env.get("AMENT_PREFIX_PATH")):
        return None
    env = without_own(env)
    for name in (env.get("PYTHON"), "python3", "/usr/bin/python3"):
        found = shutil.which(name, path=env.get("PATH")) if name else None
        if found and run_quiet([found, "-c", "import rclpy"], env) is not None:
            return Path(found)
    say("ROS_DISTRO is set but no Python here imports rclpy: going on with wheels from PyPI.")
    return None


def probe_python(python: str) -> tuple[str, Path] | None:
    """`3.11` and the path of an interpreter behind any launcher of it, or None when it does not run."""
    found = shutil.which(python)
    code = "import sys; print('%d.%d' % sys.version_info[:2]); print(sys.executable)"
    output = run_quiet([found, "-c", code], without_own(dict(os.environ))) if found else None
    if not output:
        return None
    version, executable = output.split("\n")
    return version, Path(executable)


def wheel_python(distro: str, requested: str | None) -> Path:
    """An interpreter for the wheels of a distribution: the requested one, this one, PATH, then pyenv."""
    versions = WHEEL_PYTHONS[distro]
    needs = f"The {distro} wheels need Python {' or '.join(sorted(versions, key=lambda v: int(v[2:])))}"
    if requested and requested not in ("python", "python3"):
        version, executable = probe_python(requested) or ("not a Python that runs", None)
        if executable is None or version not in versions:
            raise SetupError(f"{needs}; PYTHON={requested} is {version}.")
        return executable
    candidates = [sys.executable]
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
    for version in versions:
        candidates += [f"python{version}", *map(str, sorted(pyenv.glob(f"{version}*/bin/python{version}")))]
    for candidate in candidates:
        version, executable = probe_python(candidate) or ("", None)
        if executable is not None and version in versions and not is_own(str(executable)):
            return executable
    raise SetupError(f"{needs}, and none is on PATH or in pyenv: install one or name it with PYTHON=/path/to/python.")


def make_plan(env: dict[str, str]) -> Plan:
    """Decide between a sourced distribution and wheels."""
    python = sourced_python(env)
    if python is not None:
        return Plan(env["ROS_DISTRO"], python, sourced=True)
    distro = env.get("ROS_DISTRO") or "kilted"
    if distro not in WHEEL_PYTHONS:
        known = " and ".join(WHEEL_PYTHONS)
        raise SetupError(f"There are wheels of {known}, not of '{distro}': source its setup.bash first.")
    return Plan(distro, wheel_python(distro, env.get("PYTHON")), sourced=False)


def site_packages(prefix: Path) -> list[str]:
    """Where Python packages lie in an install prefix (colcon's layout or Debian's)."""
    patterns = ("lib/python3*/site-packages", "local/lib/python3*/dist-packages", "lib/python3*/dist-packages")
    return [str(path) for pattern in patterns for path in sorted(prefix.glob(pattern))]


def built_overlays(plan: Plan) -> list[Path]:
    """The prefixes of the overlay packages that are there, in the order of OVERLAY_PACKAGES."""
    return [plan.overlay / name for name in OVERLAY_PACKAGES if (plan.stamps / name).exists()]


def build_environment(plan: Plan) -> dict[str, str]:
    """The environment in which pip and colcon run."""
    if plan.sourced:
        env = without_own(dict(os.environ))
    else:
        env = clean_environment()
        env["AMENT_PREFIX_PATH"] = env["CMAKE_PREFIX_PATH"] = str(plan.venv)
        env["ROS_DISTRO"], env["ROS_VERSION"], env["ROS_PYTHON_VERSION"] = plan.distro, "2", "3"
    overlays = built_overlays(plan)
    for name in ("AMENT_PREFIX_PATH", "CMAKE_PREFIX_PATH"):
        env[name] = os.pathsep.join([*map(str, overlays), *split_path(env.get(name))])
    packages = [folder for overlay in overlays for folder in site_packages(overlay)]
    env["PYTHONPATH"] = os.pathsep.join([*packages, *split_path(env.get("PYTHONPATH"))])
    env["VIRTUAL_ENV"] = str(plan.venv)
    env["PATH"] = os.pathsep.join([str(plan.venv / "bin"), env.get("PATH", os.defpath)])
    env["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    env[CHILD_MARK] = str(plan.prefix)
    return env
