"""Checks of ROS 2: distribution, middleware, domain, packages and messages."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ism_ros.selftest.findings import Environment, Finding, probe

ROS_PACKAGES = {
    # what is compiled in it is loaded by the first conversion
    "cv_bridge": (
        "import numpy; from cv_bridge import CvBridge; b = CvBridge(); "
        "b.imgmsg_to_cv2(b.cv2_to_imgmsg(numpy.zeros((2, 2, 3), 'uint8'), 'bgr8'), 'rgb8'); print('{}')"
    ),
    "message_filters": "import message_filters as m; m.ApproximateTimeSynchronizer, m.SimpleFilter; print('{}')",
    "vision_msgs": "from vision_msgs.msg import Detection2DArray; Detection2DArray(); print('{}')",
}
"""Packages that the node needs besides rclpy and the messages of each distribution, and code that uses them."""
MAX_DOMAIN_ID = 232
"""Largest ROS_DOMAIN_ID."""


def check_ros(environment: Environment = os.environ) -> list[Finding]:
    """Check distribution, middleware and domain, and whether this package's messages are built.

    Args:
        environment: Of the shell.

    Returns:
        One or more findings.
    """
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
    findings = [Finding("ROS 2", "passed", f"{distro}, {rclpy.output['rmw']}"), check_domain(environment)]
    if rclpy.output["rmw"].startswith("rmw_fastrtps"):
        findings.append(check_shared_memory(environment))
    findings += check_ros_packages(environment)
    messages = probe("import ism_ros.msg as m; m.InstanceMaskArray; print('{}')", environment)
    if messages.error:
        advice = "colcon build this package in a workspace, then source its install/setup.bash"
        return [*findings, Finding("ROS messages", "warning", f"do not import ({messages.error})", advice)]
    return [*findings, Finding("ROS messages", "passed", "ism_ros")]


def check_ros_packages(environment: Environment = os.environ) -> list[Finding]:
    """Check the packages of ROS that the node needs, each by using it.

    Args:
        environment: Of the shell.

    Returns:
        One finding for each of ROS_PACKAGES.
    """
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
    """Say what to do where `package` fails with `error`."""
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
    """Check ROS_DOMAIN_ID, which nodes must share to communicate.

    Args:
        environment: Of the shell.

    Returns:
        One finding.
    """
    text = environment.get("ROS_DOMAIN_ID", "") or "0"
    if not text.isdigit() or int(text) > MAX_DOMAIN_ID:
        advice = f"set it to a number from 0 to {MAX_DOMAIN_ID}, the same for all that shall see each other"
        return Finding("ROS_DOMAIN_ID", "failed", f"'{text}' is no domain", advice)
    return Finding("ROS_DOMAIN_ID", "passed", text + ("" if environment.get("ROS_DOMAIN_ID") else ", the default"))


def check_shared_memory(environment: Environment) -> Finding:
    """Check whether Fast DDS has a profile: without one, its shared memory is too small for camera images.

    Args:
        environment: Of the shell.

    Returns:
        One finding.
    """
    for name in ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"):
        profile = environment.get(name, "")
        if profile and not Path(profile).is_file():
            advice = f"set {name} to config/fastdds.xml of this package"
            return Finding("Fast DDS", "failed", f"{name} names {profile}, which is not there", advice)
        if profile:
            return Finding("Fast DDS", "passed", f"profile {profile}")
    advice = "the launch files set one; for other processes set it as the README says (config/fastdds.xml)"
    return Finding("Fast DDS", "warning", "no profile in this shell: images above 500 KB may be lost", advice)
