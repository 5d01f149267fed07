"""The text of .ros2/setup.bash, and the links that make a plan the current one."""

from __future__ import annotations

import os
from pathlib import Path

from ros2_setup.environment import foreign_entries
from ros2_setup.plan import Plan, built_overlays, site_packages
from ros2_setup.stages import write_atomically


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
