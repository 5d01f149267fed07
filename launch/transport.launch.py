"""Give Fast DDS transports that hold an image, for this launch and all that it starts.

Included by the other launch files; a profile that the user has set is left alone.
"""

import os

from launch.actions import SetEnvironmentVariable
from launch.substitutions import PathJoinSubstitution
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescription

# Fast DDS 3 (Kilted) has renamed the variable; it still reads the old one, with a warning.
OLD_NAME, NEW_NAME = "FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"
DISTRIBUTIONS_WITH_OLD_NAME = ("humble", "iron", "jazzy")


def generate_launch_description() -> LaunchDescription:
    """Set the variable of this distribution, unless one is set."""
    if os.environ.get(OLD_NAME) or os.environ.get(NEW_NAME):
        return LaunchDescription([])
    name = OLD_NAME if os.environ.get("ROS_DISTRO") in DISTRIBUTIONS_WITH_OLD_NAME else NEW_NAME
    profile = PathJoinSubstitution([FindPackageShare("ism_ros"), "config", "fastdds.xml"])
    return LaunchDescription([SetEnvironmentVariable(name, profile)])
