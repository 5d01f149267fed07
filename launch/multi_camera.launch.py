"""One node for each of several cameras, spread over the GPUs.

    ros2 launch ism_ros multi_camera.launch.py cameras:=left,right objects_file:=/path/to/objects.yaml

Each node runs in the namespace of its camera (/left/ism, /right/ism), on the visible GPUs in turn. The topics are
those of realsense2_camera's rs_multi_camera_launch.py with camera_name1:=left camera_namespace1:=left; give others
with {camera} in the place of the name: rgb:='/{camera}/rgb/image_rect_color'.
"""

from launch.actions import DeclareLaunchArgument, GroupAction, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.substitutions import FindPackageShare

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity

ARGUMENTS = {
    "cameras": ("camera1,camera2", "Names of the cameras, separated by commas: the namespaces of the nodes"),
    "devices": ("", "Devices, assigned in turn, as cuda:0,cuda:1 or cpu; empty: all visible GPUs, cpu without one"),
    "rgb": ("/{camera}/{camera}/color/image_raw", "Topic of the color image; {camera}: the camera's name"),
    "depth": (
        "/{camera}/{camera}/aligned_depth_to_color/image_raw",
        "Topic of the depth image, registered to the color image; {camera}: the camera's name",
    ),
    "camera_info": (
        "/{camera}/{camera}/color/camera_info",
        "Topic of the color image's calibration; {camera}: the camera's name",
    ),
    "objects_file": ("", "YAML file with the objects that all look for; empty: as in params_file"),
    "profile": ("", "embedded, fast, balanced or accurate models; empty: as in params_file"),
    "autostart": ("", "true: configure and activate the nodes at start; empty: as in params_file"),
    "use_sim_time": ("", "true: take the time from /clock; empty: as in params_file"),
    "respawn": ("false", "true: start a node again when it ends by itself"),
    "log_level": ("info", "Least severity that the nodes log: debug, info, warn, error or fatal"),
}
TOPICS = ("rgb", "depth", "camera_info")
PASSED_ON = ("objects_file", "profile", "autostart", "use_sim_time", "respawn", "log_level", "params_file")


def share(*parts: str) -> PathJoinSubstitution:
    """Return a path in the package's share folder."""
    return PathJoinSubstitution([FindPackageShare("ism_ros"), *parts])


def start_nodes(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Start one node for each camera, each with arguments of its own."""
    from ism_ros.node.launching.camera_placement import assign_devices, camera_topic, split_names, visible_devices

    given = {name: LaunchConfiguration(name).perform(context) for name in (*TOPICS, *PASSED_ON, "cameras", "devices")}
    placements = assign_devices(split_names(given["cameras"]), split_names(given["devices"]) or visible_devices())
    nodes = []
    for placement in placements:
        arguments = {
            **{name: given[name] for name in PASSED_ON},
            **{topic: camera_topic(given[topic], placement.camera) for topic in TOPICS},
            "namespace": placement.camera,
            "device": placement.device,
        }
        source = PythonLaunchDescriptionSource(share("launch", "ism.launch.py"))
        # grouped, so that the arguments of one node do not become those of the next
        nodes.append(GroupAction([IncludeLaunchDescription(source, launch_arguments=arguments.items())]))
    return nodes


def generate_launch_description() -> LaunchDescription:
    """Return the actions: transports first, so that they reach the nodes."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in ARGUMENTS.items()
    ]
    params_file = DeclareLaunchArgument(
        "params_file", default_value=share("config", "ism.yaml"), description="YAML file with the nodes' parameters"
    )
    transport = IncludeLaunchDescription(PythonLaunchDescriptionSource(share("launch", "transport.launch.py")))
    return LaunchDescription([*declared, params_file, transport, OpaqueFunction(function=start_nodes)])
