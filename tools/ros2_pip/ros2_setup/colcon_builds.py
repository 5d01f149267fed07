"""What colcon builds: the ROS packages that PyPI lacks, from a cache where possible, and this package."""

from __future__ import annotations

import io
import os
import platform
import shutil
import tarfile
import zlib
from pathlib import Path

from ros2_setup.commands import run_logged
from ros2_setup.console import say
from ros2_setup.environment import foreign_entries, run_quiet
from ros2_setup.plan import OVERLAY_PACKAGES, REPO, TOOL, Plan
from ros2_setup.stages import digest, file_hashes


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


def build_overlay(plan: Plan, name: str) -> None:
    """Get one of the packages that PyPI lacks: from the cache of an earlier checkout, or built from nothing."""
    prefix, build = plan.overlay / name, plan.prefix / "build" / name
    shutil.rmtree(prefix, ignore_errors=True)
    shutil.rmtree(build, ignore_errors=True)
    archive = None if plan.sourced else cached_overlay(plan, name)
    if archive and restore_overlay(archive, plan, prefix):
        say(f"{name} for ROS: taken from {archive.parent}")
        return
    colcon_build(plan, f"{name} for ROS", TOOL / "overlay" / name, build, prefix)
    if archive:
        keep_overlay(archive, plan, prefix)


def cached_overlay(plan: Plan, name: str) -> Path:
    """The archive in the user's cache for this package, these sources, these wheels and this Python."""
    code = "import numpy, sys; print(sys.version, numpy.__version__)"
    wheels = sorted(path.name for path in plan.venv.glob("lib/python3*/site-packages/ros_*.dist-info"))
    key = digest([file_hashes(TOOL / "overlay" / name), wheels, run_quiet([str(plan.venv_python), "-c", code])])
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
