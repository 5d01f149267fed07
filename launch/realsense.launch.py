"""A RealSense camera, the node, and rviz2.

    ros2 launch ism_ros realsense.launch.py objects_file:=/path/to/objects.yaml

The camera needs the package realsense2_camera, the display rviz2. With a camera that is running already:
camera:=false. It should have been started with align_depth.enable:=true and, so that images are not lost
on the way, with the Fast DDS profile in this package's config/fastdds.xml.
"""

from launch.actions import DeclareLaunchArgument, GroupAction, IncludeLaunchDescription, OpaqueFunction
from launch.conditions import IfCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.substitutions import FindPackageShare

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity

ARGUMENTS = {
    "camera": ("true", "true: start the camera driver realsense2_camera, where it is installed"),
    "rviz": ("true", "true: show the results in rviz2, where it is installed"),
    "camera_namespace": ("camera", "Namespace of the camera driver"),
    "camera_name": ("camera", "Name of the camera driver"),
    "serial_no": ("''", "Serial number of the camera, in single quotes; empty: the only one"),
    "color_profile": ("640x480x30", "Width, height and rate (Hz) of the color image"),
    "depth_profile": ("640x480x30", "Width, height and rate (Hz) of the depth image"),
    "objects_file": ("", "YAML file with the objects to find; empty: as in params_file"),
    "device": ("", "auto, cpu or cuda:0, where models run; empty: as in params_file"),
    "namespace": ("", "Namespace of the node"),
    "name": ("ism", "Name of the node"),
    "log_level": ("info", "Least severity that the node logs: debug, info, warn, error or fatal"),
    "autostart": ("", "true: configure and activate the node at start; empty: as in params_file"),
}


def share(package: str, *parts: str) -> PathJoinSubstitution:
    """Return a path in the share folder of a package."""
    return PathJoinSubstitution([FindPackageShare(package), *parts])


def include(package: str, file: str, arguments: dict[str, object]) -> IncludeLaunchDescription:
    """Include a launch file of a package, with arguments."""
    source = PythonLaunchDescriptionSource(share(package, "launch", file))
    return IncludeLaunchDescription(source, launch_arguments=arguments.items())


def camera_topic(*parts: str) -> PathJoinSubstitution:
    """Return a topic of the camera driver."""
    return PathJoinSubstitution(
        ["/", LaunchConfiguration("camera_namespace"), LaunchConfiguration("camera_name"), *parts]
    )


def start_camera(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Start the camera driver; the rest goes on where it is missing or its launch file fails."""
    from ism_ros.node.launching.launch_parts import OptionalPart, is_missing

    what, argument = "the camera driver is not started", "camera:=false"
    if is_missing("realsense2_camera", "share/realsense2_camera/launch/rs_launch.py", what, argument):
        return []
    camera = include(
        "realsense2_camera",
        "rs_launch.py",
        {
            "camera_namespace": LaunchConfiguration("camera_namespace"),
            "camera_name": LaunchConfiguration("camera_name"),
            "serial_no": LaunchConfiguration("serial_no"),
            "enable_color": "true",
            "enable_depth": "true",
            "align_depth.enable": "true",
            "enable_sync": "true",
            "rgb_camera.color_profile": LaunchConfiguration("color_profile"),
            "depth_module.depth_profile": LaunchConfiguration("depth_profile"),
        },
    )
    # Grouped, so that the camera's arguments do not become the node's.
    return [OptionalPart(GroupAction([camera]), what, argument)]


def start_rviz(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Start rviz2 on the topics of the node and the camera, whatever their names."""
    from ism_ros.node.launching.launch_parts import rviz
    from ism_ros.node.launching.rviz_config import node_path

    namespace, name, camera_namespace, camera_name = (
        LaunchConfiguration(argument).perform(context)
        for argument in ("namespace", "name", "camera_namespace", "camera_name")
    )
    node, camera = node_path(namespace, name), node_path(camera_namespace, camera_name)
    return rviz(node, camera, f"{camera_name}_color_optical_frame")


def generate_launch_description() -> LaunchDescription:
    """Return transports, camera, node and rviz2."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in ARGUMENTS.items()
    ]
    params_file = DeclareLaunchArgument(
        "params_file",
        default_value=share("ism_ros", "config", "ism.yaml"),
        description="YAML file with the node's parameters",
    )
    camera = OpaqueFunction(function=start_camera, condition=IfCondition(LaunchConfiguration("camera")))
    passed_on = ("objects_file", "device", "namespace", "name", "log_level", "autostart", "params_file")
    node = include(
        "ism_ros",
        "ism.launch.py",
        {
            **{name: LaunchConfiguration(name) for name in passed_on},
            "rgb": camera_topic("color", "image_raw"),
            "depth": camera_topic("aligned_depth_to_color", "image_raw"),
            "camera_info": camera_topic("color", "camera_info"),
        },
    )
    rviz = OpaqueFunction(function=start_rviz, condition=IfCondition(LaunchConfiguration("rviz")))
    return LaunchDescription(
        [*declared, params_file, include("ism_ros", "transport.launch.py", {}), camera, node, rviz]
    )
