"""What this machine has of all that the package can use, each thing with what to do where it is not right.

Nothing heavy is imported here: what may be missing, broken or of the wrong version is tried in processes of its own.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from ism_ros.checkpoints.catalog import CHECKPOINTS, installed_path, partial_path
from ism_ros.checkpoints.loaders.transformers_library import BEYOND, FIRST, NEEDED, leading_numbers
from ism_ros.descriptors.base import DESCRIPTORS
from ism_ros.segmentors.base import SEGMENTORS

State = Literal["passed", "warning", "failed"]
Environment = Mapping[str, str]

LEAST_PYTHON = (3, 10)
LEAST_TORCH = (2, 2)

ROS_PACKAGES = {
    # what is compiled in it is loaded by the first conversion
    "cv_bridge": (
        "import numpy; from cv_bridge import CvBridge; b = CvBridge(); "
        "b.imgmsg_to_cv2(b.cv2_to_imgmsg(numpy.zeros((2, 2, 3), 'uint8'), 'bgr8'), 'rgb8'); print('{}')"
    ),
    "message_filters": "import message_filters as m; m.ApproximateTimeSynchronizer, m.SimpleFilter; print('{}')",
    "vision_msgs": "from vision_msgs.msg import Detection2DArray; Detection2DArray(); print('{}')",
}
"""What the node needs beside rclpy and the messages that each distribution has, and code that uses it."""
PROBE_TIMEOUT_S = 180.0
LARGEST_DOMAIN_ID = 232
LEAST_FREE_BYTES = 1_000_000_000


@dataclass(frozen=True)
class Finding:
    """One line of the report. advice: what to do, empty where nothing is to be done."""

    subject: str
    state: State
    found: str
    advice: str = ""


@dataclass(frozen=True)
class Probe:
    """What a piece of Python said in a process of its own: a JSON object, or why it ended."""

    said: Mapping[str, Any]
    error: str = ""


def examine(
    segmentor: str,
    descriptor: str,
    cache_dir: Path | None = None,
    checkpoints_dir: Path | None = None,
    environment: Environment = os.environ,
) -> list[Finding]:
    """Every finding but the known answer, in the order in which to read them. The probes run two at a time.

    segmentor and descriptor: those that shall run. Folders that are None are left out.
    """
    required = {*SEGMENTORS.get(segmentor).requires, *DESCRIPTORS.get(descriptor).requires}
    checks: dict[str, Callable[[], list[Finding]]] = {
        "Python": lambda: [check_python()],
        "ROS 2": lambda: check_ros(environment),
        "PyTorch": check_torch,
        "torchvision": lambda: [check_torchvision()],
        "transformers": lambda: [check_transformers("transformers" in required)],
        "onnxruntime": lambda: [check_onnxruntime("onnxruntime" in required)],
        "embreex": lambda: [check_embree()],
        "cache": lambda: [] if cache_dir is None else [check_folder("cache", cache_dir, "cache_dir")],
        "checkpoints": lambda: [] if checkpoints_dir is None else check_checkpoints_dir(checkpoints_dir),
    }
    with ThreadPoolExecutor(2) as pool:
        return [finding for findings in pool.map(checked, checks, checks.values()) for finding in findings]


def checked(subject: str, check: Callable[[], list[Finding]]) -> list[Finding]:
    """What `check` finds; where it fails itself, that is a finding too."""
    try:
        return check()
    except Exception as error:
        return [
            Finding(subject, "failed", f"cannot be looked at ({type(error).__name__}: {error})", "please report this")
        ]


def probe(code: str, environment: Environment | None = None) -> Probe:
    """Runs `code` in a fresh interpreter; the last line that it prints is a JSON object."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            timeout=PROBE_TIMEOUT_S,
            env=None if environment is None else dict(environment),
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Probe({}, f"no answer within {PROBE_TIMEOUT_S:.0f} s")
    except OSError as error:
        return Probe({}, str(error))
    lines = done.stdout.strip().splitlines()
    if done.returncode == 0 and lines:
        return Probe(json.loads(lines[-1]))
    words = done.stderr.strip().splitlines()
    return Probe({}, words[-1] if words else f"the process ended with status {done.returncode}")


def check_python() -> Finding:
    """The interpreter."""
    found = f"{platform.python_version()}, {sys.executable}"
    if sys.version_info < LEAST_PYTHON:
        return Finding("Python", "failed", found, f"install Python {_dotted(LEAST_PYTHON)} or newer")
    return Finding("Python", "passed", found)


def check_ros(environment: Environment = os.environ) -> list[Finding]:
    """Distribution, middleware and domain, and whether this package's messages are built."""
    distro = environment.get("ROS_DISTRO", "")
    if not distro or not environment.get("AMENT_PREFIX_PATH"):
        advice = "source /opt/ros/DISTRIBUTION/setup.bash; or, without one, `make setup`, then source .ros2/setup.bash"
        return [Finding("ROS 2", "warning", "not sourced: the command line works, the node does not", advice)]
    rclpy = probe(
        "import json, rclpy.utilities as u; print(json.dumps({'rmw': u.get_rmw_implementation_identifier()}))",
        environment,
    )
    if rclpy.error:
        advice = f"use the Python that {distro} was built for, in the shell in which it was sourced"
        if environment.get("RMW_IMPLEMENTATION"):
            advice += f"; or unset RMW_IMPLEMENTATION (now {environment['RMW_IMPLEMENTATION']})"
        return [Finding("ROS 2", "failed", f"{distro}, but rclpy does not import ({rclpy.error})", advice)]
    findings = [Finding("ROS 2", "passed", f"{distro}, {rclpy.said['rmw']}"), check_domain(environment)]
    if rclpy.said["rmw"].startswith("rmw_fastrtps"):
        findings.append(check_shared_memory(environment))
    findings += check_ros_packages(environment)
    messages = probe("import ism_ros.msg as m; m.InstanceMaskArray; print('{}')", environment)
    if messages.error:
        advice = "colcon build this package in a workspace, then source its install/setup.bash"
        return [*findings, Finding("ROS messages", "warning", f"do not import ({messages.error})", advice)]
    return [*findings, Finding("ROS messages", "passed", "ism_ros")]


def check_ros_packages(environment: Environment = os.environ) -> list[Finding]:
    """Checks the packages of ROS that the node needs, each by using it."""
    with ThreadPoolExecutor(2) as pool:
        probes = list(pool.map(lambda code: probe(code, environment), ROS_PACKAGES.values()))
    distro = environment.get("ROS_DISTRO") or "DISTRIBUTION"
    return [
        Finding(package, "failed", f"does not work ({used.error})", _ros_package_advice(package, used.error, distro))
        if used.error
        else Finding(package, "passed", "works")
        for package, used in zip(ROS_PACKAGES, probes, strict=True)
    ]


def _ros_package_advice(package: str, error: str, distro: str) -> str:
    """What to do where `package` fails with `error`."""
    debian = f"ros-{distro}-{package.replace('_', '-')}"
    if error.endswith(f"No module named '{package}'"):
        return f"apt install {debian}, in the shell with ROS sourced; or `make setup`, then source .ros2/setup.bash"
    if "numpy" in error.lower() or "_ARRAY_API" in error:
        return (
            "it is made for another NumPy than the one here: pip install -c constraints.txt . in the folder of this "
            "package, in a virtual environment (README, With a RealSense), and pip uninstall numpy outside of it"
        )
    return f"apt install --reinstall {debian}; and see that pip has put no other NumPy or OpenCV in its way"


def check_domain(environment: Environment) -> Finding:
    """ROS_DOMAIN_ID, which nodes must share to see each other."""
    text = environment.get("ROS_DOMAIN_ID", "") or "0"
    if not text.isdigit() or int(text) > LARGEST_DOMAIN_ID:
        advice = f"set it to a number from 0 to {LARGEST_DOMAIN_ID}, the same for all that shall see each other"
        return Finding("ROS_DOMAIN_ID", "failed", f"'{text}' is no domain", advice)
    return Finding("ROS_DOMAIN_ID", "passed", text + ("" if environment.get("ROS_DOMAIN_ID") else ", the default"))


def check_shared_memory(environment: Environment) -> Finding:
    """Whether Fast DDS has a profile: without one, its shared memory is too small for camera images."""
    for name in ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"):
        profile = environment.get(name, "")
        if profile and not Path(profile).is_file():
            advice = f"set {name} to config/fastdds.xml of this package"
            return Finding("Fast DDS", "failed", f"{name} names {profile}, which is not there", advice)
        if profile:
            return Finding("Fast DDS", "passed", f"profile {profile}")
    advice = "the launch files set one; for other processes set it as the README says (config/fastdds.xml)"
    return Finding("Fast DDS", "warning", "no profile in this shell: images above 500 KB may be lost", advice)


def check_torch() -> list[Finding]:
    """PyTorch, and the GPU as PyTorch sees it."""
    torch = probe(
        "import json, torch; c = torch.cuda; ok = c.is_available(); p = ok and c.get_device_properties(0); "
        "print(json.dumps({'version': torch.__version__, 'cuda': torch.version.cuda, "
        "'gpus': c.device_count() if ok else 0, 'name': p and p.name, 'memory': p and p.total_memory}))"
    )
    if torch.error:
        return [Finding("PyTorch", "failed", f"does not import ({torch.error})", "pip install torch")]
    version, cuda = torch.said["version"], torch.said["cuda"]
    if leading_numbers(version) < LEAST_TORCH:
        advice = f"pip install 'torch>={_dotted(LEAST_TORCH)}'"
        return [Finding("PyTorch", "failed", f"{version} is too old", advice)]
    pytorch = Finding("PyTorch", "passed", version)
    if torch.said["gpus"]:
        found = f"{torch.said['name']}, {torch.said['memory'] / 1e9:.0f} GB, CUDA {cuda}"
        return [pytorch, Finding("GPU", "passed", found)]
    if shutil.which("nvidia-smi") and not cuda:
        advice = "install a PyTorch with CUDA (pytorch.org, Get Started); until then models run on the CPU"
        return [
            pytorch,
            Finding("GPU", "warning", f"NVIDIA's driver is here, but PyTorch {version} has no CUDA", advice),
        ]
    if shutil.which("nvidia-smi"):
        advice = "run nvidia-smi: the driver may be too old for this CUDA, or the GPU not be free to use"
        return [pytorch, Finding("GPU", "warning", f"PyTorch has CUDA {cuda}, but sees no GPU", advice)]
    return [pytorch, Finding("GPU", "passed", "none: models run on the CPU")]


def check_transformers(needed: bool) -> Finding:
    """The transformers library, which has the architectures of the neural models."""
    install = f"pip install '{NEEDED}'"
    repair = f"put PyTorch right first, where it has failed; then {install}"
    if find_spec("transformers") is None:
        if needed:
            return Finding("transformers", "failed", "not installed, and the chosen models need it", install)
        return Finding("transformers", "passed", "not installed: only neural models need it")
    library = probe(
        "import json; from ism_ros.checkpoints.loaders.transformers_library import without_torchvision; "
        "without_torchvision(); import transformers; from transformers import SamModel, Dinov2Model; "
        "print(json.dumps({'version': transformers.__version__}))"
    )
    if library.error:
        return Finding("transformers", "failed" if needed else "warning", f"broken ({library.error})", repair)
    version = library.said["version"]
    if not FIRST <= leading_numbers(version) < BEYOND:
        found = f"{version} is outside of what is supported, {_dotted(FIRST)} to below {_dotted(BEYOND)}"
        return Finding("transformers", "failed" if needed else "warning", found, install)
    return Finding("transformers", "passed", version)


def check_torchvision() -> Finding:
    """torchvision: not needed, and left aside where it is of another PyTorch; other programs would break on it."""
    if find_spec("torchvision") is None:
        return Finding("torchvision", "passed", "not installed, and not needed")
    library = probe("import json, torchvision; print(json.dumps({'version': torchvision.__version__}))")
    if library.error:
        advice = "pip uninstall torchvision, or install the one made for this PyTorch, where something else uses it"
        found = f"does not match PyTorch ({library.error}); it is not needed here, but breaks what does need it"
        return Finding("torchvision", "warning", found, advice)
    return Finding("torchvision", "passed", f"{library.said['version']}, not needed")


def check_onnxruntime(needed: bool) -> Finding:
    """onnxruntime, for FastSAM exported to ONNX."""
    if find_spec("onnxruntime") is None:
        if needed:
            advice = "pip install onnxruntime (onnxruntime-gpu with CUDA), for FastSAM-x.onnx"
            return Finding("onnxruntime", "warning", "not installed", advice)
        return Finding("onnxruntime", "passed", "not installed: only fastsam needs it")
    library = probe(
        "import json, onnxruntime as o; "
        "print(json.dumps({'version': o.__version__, 'providers': o.get_available_providers()}))"
    )
    if library.error:
        advice = "pip install --force-reinstall onnxruntime"
        return Finding("onnxruntime", "failed" if needed else "warning", f"broken ({library.error})", advice)
    providers = ", ".join(name.removesuffix("ExecutionProvider") for name in library.said["providers"])
    return Finding("onnxruntime", "passed", f"{library.said['version']} ({providers})")


def check_embree() -> Finding:
    """embreex, the ray tracer that renders templates."""
    library = probe("from embreex import mesh_construction, rtcore_scene; print('{}')")
    if not library.error:
        return Finding("embreex", "passed", "ray tracer for templates")
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return Finding("embreex", "passed", "not to be had for this processor: templates are rendered more slowly")
    advice = "pip install embreex"
    return Finding("embreex", "warning", f"does not import ({library.error}): templates render more slowly", advice)


def check_folder(subject: str, folder: Path, setting: str) -> Finding:
    """Whether files can be put into `folder`, or it can be made; and how much room there is."""
    nearest = folder
    while not nearest.exists() and nearest != nearest.parent:
        nearest = nearest.parent
    advice = f"make it writable, or set {setting} (ISM_{setting.upper()}) to another folder"
    if not nearest.is_dir():
        return Finding(subject, "failed", f"{folder}: {nearest} is a file", advice)
    if not os.access(nearest, os.W_OK | os.X_OK):
        return Finding(subject, "warning", f"{folder} cannot be written", advice)
    free = shutil.disk_usage(nearest).free
    found = f"{folder}, {free / 1e9:.0f} GB free" + ("" if nearest == folder else ", not made yet")
    if free < LEAST_FREE_BYTES:
        return Finding(subject, "warning", found, f"make room, or set {setting} to another folder")
    return Finding(subject, "passed", found)


def check_checkpoints_dir(checkpoints_dir: Path) -> list[Finding]:
    """The folder of checkpoints and what is in it."""
    return [
        check_folder("checkpoints", checkpoints_dir, "checkpoints_dir"),
        check_checkpoints(checkpoints_dir),
    ]


def check_checkpoints(checkpoints_dir: Path) -> Finding:
    """Which official checkpoints are here; those half fetched are told."""
    try:
        here = [name for name, checkpoint in CHECKPOINTS.items() if installed_path(checkpoint, checkpoints_dir)]
    except OSError as error:
        return Finding("models", "failed", f"{checkpoints_dir} cannot be read: {error.strerror}", "make it readable")
    begun = [
        name
        for name, checkpoint in CHECKPOINTS.items()
        if name not in here and partial_path(checkpoints_dir / checkpoint.file_name).is_file()
    ]
    found = ", ".join(here) if here else "no checkpoint: tiny needs none"
    if begun:
        advice = f"ism weights download {' '.join(begun)}"
        return Finding("models", "warning", f"{found}; half fetched: {', '.join(begun)}", advice)
    return Finding("models", "passed", found)


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
