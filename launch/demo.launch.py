"""A fake camera over a simulated table, the node, and rviz2: all of it without a camera.

    ros2 launch ism_ros demo.launch.py

The first start simulates and renders, which takes some minutes; both are kept for the next one.
"""

from pathlib import Path

from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.conditions import IfCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity

ARGUMENTS = {
    "rviz": ("true", "true: show the results in rviz2, where it is installed"),
    "output": ("out/demo", "Folder for the CAD files of the objects on the table"),
    "scene": ("33", "Number of the simulated table"),
    "object_set": ("4", "Number of the set of known objects on it"),
    "rate": ("10.0", "Frames a second that the camera sends (Hz)"),
    "device": ("", "auto, cpu or cuda:0, where models run; empty: as in params_file"),
    "namespace": ("", "Namespace of the node"),
    "name": ("ism", "Name of the node"),
    "log_level": ("info", "Least severity that the node logs: debug, info, warn, error or fatal"),
}
CAMERA = "/camera/camera"
CAMERA_FRAME = "camera_color_optical_frame"


def share(*parts: str) -> PathJoinSubstitution:
    """Return a path in the package's share folder."""
    return PathJoinSubstitution([FindPackageShare("ism_ros"), *parts])


def include(file: str, arguments: dict[str, object]) -> IncludeLaunchDescription:
    """Include a launch file of this package, with arguments."""
    return IncludeLaunchDescription(
        PythonLaunchDescriptionSource(share("launch", file)), launch_arguments=arguments.items()
    )


def start_camera_and_node(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Write the objects' CAD files, then start both."""
    from ism_ros.node.launching.launch_parts import end_with_launch
    from ism_ros.sim.demo.camera_and_node import write_objects

    scene, object_set, rate, output = (
        LaunchConfiguration(name).perform(context) for name in ("scene", "object_set", "rate", "output")
    )
    objects_file = write_objects(Path(output).expanduser().resolve() / "cad", int(object_set))
    camera = Node(
        package="ism_ros",
        executable="fake_camera",
        # The names it has by itself: those of the RealSense driver.
        parameters=[{"scene": int(scene), "object_set": int(object_set), "rate": float(rate)}],
        prefix=end_with_launch(),
        exec_name="fake_camera",  # in the log, instead of the prefix's
        output="screen",
    )
    node = include(
        "ism.launch.py",
        {
            **{name: LaunchConfiguration(name) for name in ("device", "namespace", "name", "log_level", "params_file")},
            "objects_file": str(objects_file),
            "autostart": "true",
            "rgb": f"{CAMERA}/color/image_raw",
            "depth": f"{CAMERA}/aligned_depth_to_color/image_raw",
            "camera_info": f"{CAMERA}/color/camera_info",
        },
    )
    return [camera, node]


def start_rviz(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Start rviz2 on the topics of the node, whatever its name."""
    from ism_ros.node.launching.launch_parts import rviz
    from ism_ros.node.launching.rviz_config import node_path

    namespace, name = (LaunchConfiguration(argument).perform(context) for argument in ("namespace", "name"))
    return rviz(node_path(namespace, name), CAMERA, CAMERA_FRAME)


def generate_launch_description() -> LaunchDescription:
    """Return transports, camera, node and rviz2."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in ARGUMENTS.items()
    ]
    params_file = DeclareLaunchArgument(
        "params_file", default_value=share("config", "ism.yaml"), description="YAML file with the node's parameters"
    )
    rviz = OpaqueFunction(function=start_rviz, condition=IfCondition(LaunchConfiguration("rviz")))
    camera_and_node = OpaqueFunction(function=start_camera_and_node)
    return LaunchDescription([*declared, params_file, include("transport.launch.py", {}), camera_and_node, rviz])
